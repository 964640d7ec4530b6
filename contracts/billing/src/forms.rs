//! The forms in which records were stored before.

use crate::EscrowRecord;
use borsh::BorshDeserialize;
use starling_contract_common::Forms;
use starling_primitives::DurationMs;
use starling_protocol::escrow::{Bounds, Escrow, Opened, State};
use std::io;

/// An escrow's forms: the second brought objection windows and by which session key an escrow was paid, the third what was forwarded.
pub(crate) struct EscrowForms;

impl Forms<EscrowRecord> for EscrowForms {
    const VERSION: u8 = 3;

    fn from_version(version: u8, mut bytes: &[u8]) -> Option<EscrowRecord> {
        let from = &mut bytes;
        let record = match version {
            1 => EscrowRecord { escrow: escrow(from).ok()?, storage: read(from).ok()?, opened_by: None, forwarded: None },
            2 => EscrowRecord { escrow: read(from).ok()?, storage: read(from).ok()?, opened_by: read(from).ok()?, forwarded: None },
            _ => return None,
        };
        bytes.is_empty().then_some(record)
    }
}

fn read<T: BorshDeserialize>(from: &mut &[u8]) -> io::Result<T> {
    T::deserialize(from)
}

fn escrow(from: &mut &[u8]) -> io::Result<Escrow> {
    Ok(Escrow {
        payer: read(from)?,
        arbiter: read(from)?,
        asset: read(from)?,
        bounds: bounds(from)?,
        fee: read(from)?,
        created_at: read(from)?,
        deposited: read(from)?,
        refunded: read(from)?,
        state: state(from)?,
    })
}

fn bounds(from: &mut &[u8]) -> io::Result<Bounds> {
    Ok(Bounds {
        expires_by: read(from)?,
        post_at_once: read(from)?,
        fee: read(from)?,
        holdback: read(from)?,
        voucher: read(from)?,
        objection_window: DurationMs(0),
    })
}

fn state(from: &mut &[u8]) -> io::Result<State> {
    Ok(match read(from)? {
        0_u8 => State::Held { hold_deadline: read(from)? },
        1 => State::Open(opened(from)?),
        2 => State::Settling { opened: opened(from)?, until: read(from)? },
        3 => State::Closed(opened(from)?),
        4 => State::Voided,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

fn opened(from: &mut &[u8]) -> io::Result<Opened> {
    Ok(Opened {
        authority: read(from)?,
        expires_at: read(from)?,
        grace: read(from)?,
        holdback: read(from)?,
        holdback_state: read(from)?,
        availability: read(from)?,
        max_payees: read(from)?,
        parts: Vec::new(),
        seq: read(from)?,
        payees: read(from)?,
        closing_asked_at: read(from)?,
        objection_window: DurationMs(0),
        batches: Vec::new(),
        objected_at: None,
    })
}
