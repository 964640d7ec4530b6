//! Records as they were stored before bonds and before delegates of runs: they are read as what they were.
//!
//! `second_forms.txt` holds an offer, a run and a lease as `tests/snapshots/records.txt` had them then.

use anyhow::Context as _;
use near_primitives::state_record::StateRecord;
use starling_primitives::{Amount, DurationMs, LeaseId, OfferId, RunId};
use starling_protocol::{
    lease::{Cause, LeaseState},
    run::{Ending, RunState},
};
use starling_tests::{Harness, work::run_terms};

/// Table, form, key and value of each line.
fn records() -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let lines = include_str!("second_forms.txt").lines();
    lines
        .map(|line| {
            let (head, record) = line.split_once(" bytes: ").context("a line without a record")?;
            anyhow::ensure!(head.contains("form 2"), "{head}");
            let (key, value) = record.split_once(" = ").context("a record without a value")?;
            Ok((hex::decode(key)?, [vec![2], hex::decode(value)?].concat()))
        })
        .collect()
}

#[tokio::test]
async fn second_forms__should_be_read_as_what_they_were() -> anyhow::Result<()> {
    let harness = Harness::start_with(&["billing", "compute"]).await?;
    let compute = harness.compute();
    let stored = records()?
        .into_iter()
        .map(|(key, value)| Ok(StateRecord::Data { account_id: compute.0.as_str().parse()?, data_key: key.into(), value: value.into() }));
    harness.chain.patch_state(stored.collect::<anyhow::Result<_>>()?)?;

    let offer = harness.view(&compute.offer(OfferId(1))).await?.context("no offer")?;
    assert_eq!((offer.terms.price_per_hour, offer.terms.objection_window), (Amount::from_near(3), DurationMs::from_hours(1)));
    assert_eq!((offer.terms.sla, offer.closed), (None, false));

    let run = harness.run(RunId(1)).await?;
    let expect = run_terms(run.terms.meter, 3, 2);
    assert_eq!(
        (run.terms.delegate.clone(), run.terms.objection_window, run.terms.availability),
        (None, DurationMs(0), expect.availability)
    );
    assert_eq!((run.roster.len(), run.rounds_done, run.roster[0].tokens), (2, 1, 1_000));
    assert!(matches!(run.state, RunState::Ended { ending: Ending::Stopped, settled: true, .. }), "{:?}", run.state);

    let lease = harness.view(&compute.lease(LeaseId(1))).await?.context("no lease")?;
    assert_eq!((lease.cover.clone(), lease.deposit, lease.metered, lease.seq), (None, Amount::from_near(3), DurationMs(9_000), 1));
    assert!(matches!(lease.state, LeaseState::Closed { cause: Cause::TenantClosed, .. }), "{:?}", lease.state);
    Ok(())
}
