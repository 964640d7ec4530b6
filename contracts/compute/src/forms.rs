//! The forms in which records were stored before.

use borsh::BorshDeserialize;
use starling_contract_api::compute::Offer;
use starling_contract_common::Forms;
use starling_primitives::{Asset, DurationMs};
use starling_protocol::{
    lease::{Lease, LeaseTerms},
    meter::Metering,
    node::OfferTerms,
    run::{Run, RunTerms},
};
use std::io;

/// The form of what is written here.
const VERSION: u8 = 3;

/// A run's forms: the second brought tokens, the third delegates.
pub(crate) struct RunForms;

/// A lease's forms: the second brought delegates and tokens, the third bonds.
pub(crate) struct LeaseForms;

/// An offer's forms: the second brought objection windows and tokens, the third bonds.
pub(crate) struct OfferForms;

impl Forms<Lease> for LeaseForms {
    const VERSION: u8 = VERSION;

    fn read(version: u8, bytes: &[u8]) -> Option<Lease> {
        whole(version, bytes, lease)
    }
}

impl Forms<Run> for RunForms {
    const VERSION: u8 = VERSION;

    fn read(version: u8, bytes: &[u8]) -> Option<Run> {
        whole(version, bytes, run)
    }
}

impl Forms<Offer> for OfferForms {
    const VERSION: u8 = VERSION;

    fn read(version: u8, bytes: &[u8]) -> Option<Offer> {
        whole(version, bytes, offer)
    }
}

/// A record in one of its forms, which all are read by the same code: derived besides, the last one would be in the contract twice.
fn whole<T>(version: u8, mut bytes: &[u8], record: fn(u8, &mut &[u8]) -> io::Result<T>) -> Option<T> {
    if !(1..=VERSION).contains(&version) {
        return None;
    }
    let record = record(version, &mut bytes).ok()?;
    bytes.is_empty().then_some(record)
}

fn read<T: BorshDeserialize>(from: &mut &[u8]) -> io::Result<T> {
    T::deserialize(from)
}

/// A field that a later form than the first brought.
fn since<T: BorshDeserialize>(form: u8, version: u8, from: &mut &[u8], before: T) -> io::Result<T> {
    if version < form { Ok(before) } else { read(from) }
}

fn lease(version: u8, from: &mut &[u8]) -> io::Result<Lease> {
    Ok(Lease {
        id: read(from)?,
        tenant: read(from)?,
        node_id: read(from)?,
        payout: read(from)?,
        node_key: read(from)?,
        escrow_id: read(from)?,
        deposit: read(from)?,
        price_per_hour: read(from)?,
        terms: LeaseTerms {
            offer_id: read(from)?,
            duration: read(from)?,
            job: read(from)?,
            meter: read(from)?,
            availability: read(from)?,
            delegate: since(2, version, from, None)?,
        },
        seq: read(from)?,
        metered: read(from)?,
        units: read(from)?,
        output: read(from)?,
        created_at: read(from)?,
        state: read(from)?,
        metering: since(2, version, from, Metering::default())?,
        asset: since(2, version, from, Asset::Near)?,
        cover: since(3, version, from, None)?,
    })
}

fn run(version: u8, from: &mut &[u8]) -> io::Result<Run> {
    Ok(Run {
        id: read(from)?,
        tenant: read(from)?,
        escrow_id: read(from)?,
        deposit: read(from)?,
        terms: RunTerms {
            recipe: read(from)?,
            data: read(from)?,
            held_out: read(from)?,
            base: read(from)?,
            base_root: read(from)?,
            rounds: read(from)?,
            min_nodes: read(from)?,
            max_nodes: read(from)?,
            tokens_per_round: read(from)?,
            price_per_million_tokens: read(from)?,
            enroll_time: read(from)?,
            round_time: read(from)?,
            meter: read(from)?,
            availability: read(from)?,
            invited: read(from)?,
            asset: since(2, version, from, Asset::Near)?,
            delegate: since(3, version, from, None)?,
            objection_window: since(3, version, from, DurationMs(0))?,
        },
        roster: read(from)?,
        rounds_done: read(from)?,
        chain: read(from)?,
        state_root: read(from)?,
        post_seq: read(from)?,
        created_at: read(from)?,
        state: read(from)?,
    })
}

fn offer(version: u8, from: &mut &[u8]) -> io::Result<Offer> {
    Ok(Offer {
        id: read(from)?,
        node_id: read(from)?,
        provider: read(from)?,
        terms: OfferTerms {
            price_per_million_tokens: read(from)?,
            price_per_hour: read(from)?,
            min_lease: read(from)?,
            max_lease: read(from)?,
            objection_window: since(2, version, from, DurationMs(0))?,
            asset: since(2, version, from, Asset::Near)?,
            sla: since(3, version, from, None)?,
        },
        created_at: read(from)?,
        closed: read(from)?,
    })
}
