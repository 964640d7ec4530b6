//! One run of a schedule, from its time to its outputs. Its payment is signed and stored before it is sent, and only ever sent as it was stored: it pays once, however
//! often this program is killed on the way.

use super::store::{Order, Store, read, write_durably};
use crate::{
    api::Api,
    job::{follow::follow, receive::Receiver, rent},
    output::Output,
    pay,
    profile::Context,
    train::{acknowledge, now},
};
use anyhow::{Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_contract_api::rpc::{RpcError, SignedTx, Signer};
use starling_http_api::{lease::LeaseView, path};
use starling_primitives::{Amount, DurationMs, EscrowId, LeaseId, TimestampMs};
use starling_schedules::Outcome;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How long an idle node is waited for.
const NODE_PATIENCE: DurationMs = DurationMs::from_secs(600);
/// How long after its end a lease is asked for that nobody tells of.
const END_PATIENCE: DurationMs = DurationMs::from_hours(2);
/// The wait before anything is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a payment is signed anew because another program took its nonce.
const NONCE_TRIES: u32 = 5;
/// Leases that are looked through for one that is paid.
const MAX_LEASES: u32 = 200;

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
    /// When its lease ends at the latest.
    until: TimestampMs,
    /// What it opened, once that is known.
    paid: Option<(LeaseId, EscrowId)>,
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
        let mut sent = if self.record().exists() { read(&self.record())? } else { self.pay(context, api, &order, &meter).await? };
        let (lease_id, escrow_id) = match sent.paid {
            Some(paid) => paid,
            None => {
                let paid = self.settled(context, api, &sent, &meter).await?;
                sent.paid = Some(paid);
                write_durably(&self.record(), &sent)?;
                out.say(
                    "schedule_paid",
                    &json!({"name": self.name, "at": self.at, "lease_id": paid.0, "escrow_id": paid.1}),
                    &format!("{}: lease {} is paid.", self.name, paid.0),
                );
                paid
            }
        };
        let mut receiver = Receiver::new(&folder)?;
        let view = loop {
            match follow(context, api, &meter, lease_id, &mut receiver, false, out).await {
                Ok(view) => break view,
                Err(error) if now() > sent.until.after(END_PATIENCE) => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let exit = receiver.exit().cloned();
        if exit.is_some()
            && let Err(error) = acknowledge(context, escrow_id, out).await
        {
            // It vests by itself.
            out.note(&format!("{}: the result could not be acknowledged: {error:#}", self.name));
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

    /// Chooses a node, and stores the signed payment. What is not stored was not sent.
    async fn pay(&self, context: &Context, api: &Api, order: &Order, meter: &Signer) -> Result<Sent> {
        let each = self.store.read(&self.name)?.spending.each;
        let wish = rent::wish(&order.file, Some(each), order.hours, None)?;
        let began = now();
        let choice = loop {
            match rent::choose(context, api, &wish).await {
                Ok(choice) => break choice,
                Err(error) if now().since(began) > NODE_PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let _turn = self.signing.lock().await;
        for attempt in 1.. {
            let payment = rent::payment(context, &choice, order.job, meter);
            let until = payment.expires_by;
            let signed = pay::sign(context, &payment.args(context).await?).await?;
            let sent =
                Sent { hash: signed.hash.clone(), bytes: STANDARD.encode(&signed.bytes), at_most: choice.quote.at_most, until, paid: None };
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
    async fn settled(&self, context: &Context, api: &Api, sent: &Sent, meter: &Signer) -> Result<(LeaseId, EscrowId)> {
        let signed = SignedTx { hash: sent.hash.clone(), bytes: STANDARD.decode(&sent.bytes)? };
        let outcome = loop {
            match context.rpc.submit(&signed, context.signer.account()).await {
                Ok(outcome) => break outcome,
                Err(error) if error.is_passing() => tokio::time::sleep(PAUSE).await,
                // Too old to be sent, and perhaps too old for the RPC to know: then the lease tells.
                Err(error @ RpcError::Refused { .. }) => match self.lease_of(context, api, meter).await? {
                    Some(paid) => return Ok(paid),
                    None => bail!("the payment did not come in: {error}"),
                },
                Err(error) => return Err(error.into()),
            }
        };
        let escrow_id = pay::opened(context, &context.profile.deployment.compute, &outcome)?;
        Ok((rent::lease_of(context, escrow_id).await?, escrow_id))
    }

    /// The lease whose meter is this run's own key.
    async fn lease_of(&self, context: &Context, api: &Api, meter: &Signer) -> Result<Option<(LeaseId, EscrowId)>> {
        let query = format!("{}?tenant={}&limit={MAX_LEASES}", path::LEASES, context.signer.account());
        let leases: Vec<LeaseView> = api.get(&query).await?;
        let found = leases.into_iter().find(|view| view.lease.terms.meter == meter.public_key());
        Ok(found.map(|view| (view.lease.id, view.lease.escrow_id)))
    }
}
