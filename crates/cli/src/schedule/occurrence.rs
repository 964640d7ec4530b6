//! One run of a schedule, from its time to what it gave. Its payment is signed and stored before it is sent, and only ever sent as it was stored: it pays once, however
//! often this program is killed on the way.

use super::{
    deal::{Deal, Work},
    store::{Order, Store, read, write_durably},
};
use crate::{
    api::Api,
    commands::pull,
    job::{follow::follow, receive::Receiver},
    output::Output,
    pay,
    profile::Context,
    train::{Trained, Watched, acknowledge, now, watch},
};
use anyhow::{Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_contract_api::rpc::{RpcError, SignedTx, Signer};
use starling_http_api::lease::LeaseView;
use starling_primitives::{Amount, DurationMs, EscrowId, LeaseId, RunId, TimestampMs};
use starling_schedules::Outcome;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long after its end work is asked for that nobody tells of.
const END_PATIENCE: DurationMs = DurationMs::from_hours(2);
/// The wait before anything is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a payment is signed anew because another program took its nonce.
const NONCE_TRIES: u32 = 5;

/// The run that was due at a time.
pub(crate) struct Occurrence {
    pub(crate) store: Store,
    pub(crate) name: String,
    pub(crate) at: TimestampMs,
    /// One payment at a time takes the account's next nonce.
    pub(crate) signing: Arc<Mutex<()>>,
}

/// A payment that may have been sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    hash: String,
    /// The signed transaction in base64.
    bytes: String,
    /// What it can cost at most.
    at_most: Amount,
    /// When its work ends at the latest.
    until: TimestampMs,
    /// What it opened, once that is known.
    paid: Option<(Work, EscrowId)>,
}

impl Occurrence {
    /// Runs it to its end, or takes it up where it was, and notes how it ended.
    pub(crate) async fn run(&self, context: &Context, api: &Api, out: Output) {
        let (outcome, cost) = match self.go(context, api, out).await {
            Ok(ended) => ended,
            // What became of the money is not known: the budget is charged with the most.
            Err(error) => (Outcome::Failed(format!("{error:#}")), self.sent().map_or(Amount::ZERO, |sent| sent.at_most)),
        };
        let words = match &outcome {
            Outcome::Failed(why) => format!("{} failed: {why}", self.name),
            _ => format!("{} is done, {}; its files are in {}.", self.name, cost.display_near(), self.folder().display()),
        };
        let fields = json!({"name": self.name, "at": self.at, "outcome": outcome, "cost": cost, "folder": self.folder()});
        let noted = self.store.change(&self.name, |schedule| {
            schedule.end(outcome, cost);
            Ok(())
        });
        out.say("schedule_ended", &fields, &words);
        if let Err(error) = noted {
            out.note(&format!("{}: {error:#}", self.name));
        }
    }

    fn folder(&self) -> PathBuf {
        self.store.folder(&self.name).join("runs").join(self.at.0.to_string())
    }

    fn record(&self) -> PathBuf {
        self.folder().join("payment.json")
    }

    fn sent(&self) -> Option<Sent> {
        read(&self.record()).ok()
    }

    async fn go(&self, context: &Context, api: &Api, out: Output) -> Result<(Outcome, Amount)> {
        let (order, folder) = (self.store.order(&self.name)?, self.folder());
        std::fs::create_dir_all(&folder)?;
        let key_file = folder.join("meter.json");
        if !key_file.exists() {
            Signer::generate(context.signer.account().clone())?.write_file(&key_file)?;
        }
        let meter = Signer::from_file(&key_file)?;
        let mut sent = if self.record().exists() { read(&self.record())? } else { self.pay(context, api, &order, &meter, out).await? };
        let (work, escrow_id) = match sent.paid {
            Some(paid) => paid,
            None => {
                let paid = self.settled(context, api, &order, &sent, &meter).await?;
                sent.paid = Some(paid);
                write_durably(&self.record(), &sent)?;
                out.say(
                    "schedule_paid",
                    &json!({"name": self.name, "at": self.at, "work": paid.0, "escrow_id": paid.1}),
                    &format!("{}: {} is paid.", self.name, paid.0),
                );
                paid
            }
        };
        match work {
            Work::Lease(lease_id) => self.follow_lease(context, api, (lease_id, escrow_id), &meter, &sent, out).await,
            Work::Run(run_id) => self.follow_run(context, api, (run_id, escrow_id), &sent, out).await,
        }
    }

    async fn follow_lease(
        &self,
        context: &Context,
        api: &Api,
        (lease_id, escrow_id): (LeaseId, EscrowId),
        meter: &Signer,
        sent: &Sent,
        out: Output,
    ) -> Result<(Outcome, Amount)> {
        let mut receiver = Receiver::new(&self.folder())?;
        let view: LeaseView = loop {
            match follow(context, api, meter, lease_id, &mut receiver, false, out).await {
                Ok(view) => break view,
                Err(error) => sent.try_again(error).await?,
            }
        };
        let exit = receiver.exit().cloned();
        if exit.is_some() {
            self.acknowledge(context, escrow_id, out).await;
        }
        let outcome = match (view.failure, exit) {
            (Some(failure), _) => Outcome::Failed(failure),
            (None, None) => Outcome::Failed("the lease ended before the script did".to_owned()),
            (None, Some(exit)) if exit.reason.is_success() => Outcome::Done,
            (None, Some(exit)) => {
                Outcome::Failed(format!("{}: {}", exit.reason.words(), exit.last_lines.last().cloned().unwrap_or_default()))
            }
        };
        Ok((outcome, view.earned))
    }

    /// Co-signs the rounds of a run to its end, and downloads the model.
    async fn follow_run(
        &self,
        context: &Context,
        api: &Api,
        (run_id, escrow_id): (RunId, EscrowId),
        sent: &Sent,
        out: Output,
    ) -> Result<(Outcome, Amount)> {
        let trained = loop {
            match self.trained(context, api, run_id, escrow_id, out).await {
                Ok(trained) => break trained,
                Err(error) => sent.try_again(error).await?,
            }
        };
        let view = trained.view;
        if view.result.is_some() {
            self.acknowledge(context, escrow_id, out).await;
        }
        let is_whole = view.result.is_some() && view.run.rounds_done == view.run.terms.rounds;
        Ok((if is_whole { Outcome::Done } else { Outcome::Failed(view.sentence) }, view.earned))
    }

    async fn trained(&self, context: &Context, api: &Api, run_id: RunId, escrow_id: EscrowId, out: Output) -> Result<Trained> {
        // All rounds were asked for, within the schedule's budget.
        let watched = Watched { started: Instant::now(), patience: 0, audit_percent: 0 };
        let trained = watch(context, api, run_id, escrow_id, &watched, out).await?;
        if trained.view.result.is_some() {
            pull(context, run_id, &self.folder(), false, out).await?;
        }
        Ok(trained)
    }

    async fn acknowledge(&self, context: &Context, escrow_id: EscrowId, out: Output) {
        if let Err(error) = acknowledge(context, escrow_id, out).await {
            // It vests by itself.
            out.note(&format!("{}: the result could not be acknowledged: {error:#}", self.name));
        }
    }

    /// Finds out what is bought, and stores the signed payment. What is not stored was not sent.
    async fn pay(&self, context: &Context, api: &Api, order: &Order, meter: &Signer, out: Output) -> Result<Sent> {
        let each = self.store.read(&self.name)?.spending.each;
        let deal = Deal::make(context, api, order, each, meter, out).await?;
        let _turn = self.signing.lock().await;
        for attempt in 1.. {
            let payment = deal.payment(context, meter);
            let until = payment.expires_by;
            let signed = pay::sign(context, &payment.args(context).await?).await?;
            let sent =
                Sent { hash: signed.hash.clone(), bytes: STANDARD.encode(&signed.bytes), at_most: deal.at_most(), until, paid: None };
            write_durably(&self.record(), &sent)?;
            match context.rpc.submit(&signed, context.signer.account()).await {
                // It was sent for the first time and never came in: another takes its place.
                Err(RpcError::Refused { message, .. }) if message.contains("InvalidNonce") && attempt < NONCE_TRIES => {}
                _ => return Ok(sent),
            }
        }
        bail!("other programs use this account's key all the time: give schedules an account of their own")
    }

    /// What a stored payment opened. It is sent again as it is, which changes nothing where it came in before.
    async fn settled(&self, context: &Context, api: &Api, order: &Order, sent: &Sent, meter: &Signer) -> Result<(Work, EscrowId)> {
        let signed = SignedTx { hash: sent.hash.clone(), bytes: STANDARD.decode(&sent.bytes)? };
        let outcome = loop {
            match context.rpc.submit(&signed, context.signer.account()).await {
                Ok(outcome) => break outcome,
                Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
                // Too old to be sent, and perhaps too old for the RPC to know: then what it opened tells.
                Err(error @ RpcError::Refused { .. }) => match Work::of_meter(context, api, order, &meter.public_key()).await? {
                    Some(paid) => return Ok(paid),
                    None => bail!("the payment did not come in: {error}"),
                },
                Err(error) => return Err(error.into()),
            }
        };
        let escrow_id = pay::opened(context, &context.profile.deployment.compute, &outcome)?;
        Ok((Work::of_escrow(context, order, escrow_id).await?, escrow_id))
    }
}

impl Sent {
    /// Waits before what failed is tried again, as long as there may be work to follow.
    async fn try_again(&self, error: anyhow::Error) -> Result<()> {
        if now() > self.until.after(END_PATIENCE) {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
