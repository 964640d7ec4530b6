//! The lead: of several programs on one database one works at the chain and the nodes. The others stand by, or serve what the database alone answers and pass the rest on.

use crate::{
    clock,
    db::{Db, DbError},
    secret,
};
use starling_primitives::DurationMs;
use std::{net::SocketAddr, time::Duration};
use tokio::{sync::watch, time::Instant};

/// A program that died holds its lead for so long.
pub const SPAN: DurationMs = DurationMs::from_secs(4);
/// Who waits for the lead asks so often.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Who leads, as far as this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This program, and what was stored is taken up.
    Here,
    /// Another, which takes what others pass on at this address.
    At(SocketAddr),
    /// Nobody that can be reached.
    Nobody,
}

/// This program's part in it. Cheap to clone.
#[derive(Clone)]
pub struct Lead {
    db: Db,
    /// A name of its own, and behind `@` where it is reached.
    holder: String,
    reached_at: Option<SocketAddr>,
    is_alone: bool,
    leader: watch::Sender<Leader>,
}

impl Lead {
    /// The lead of a file, which has one program: nothing is written of it.
    pub fn alone(db: Db) -> Self {
        Self { db, holder: String::new(), reached_at: None, is_alone: true, leader: watch::Sender::new(Leader::Nobody) }
    }

    /// A program of several on one database; from now on it writes nothing of the leading one's until it leads.
    pub fn one_of_several(db: Db, reached_at: Option<SocketAddr>) -> Self {
        db.fence(None);
        let address = reached_at.map_or_else(String::new, |address| address.to_string());
        let holder = format!("{}@{address}", secret::random_hex::<8>());
        Self { db, holder, reached_at, is_alone: false, leader: watch::Sender::new(Leader::Nobody) }
    }

    /// Who leads, and when it changes.
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.leader.subscribe()
    }

    /// Waits until this program has the lead.
    pub async fn wait(&self) {
        if self.is_alone {
            return;
        }
        let mut said = false;
        loop {
            match self.db.take_lead(&self.holder, clock::now(), SPAN).await {
                Ok(Some(number)) => {
                    self.db.fence(Some(number));
                    self.stop_standing_by().await;
                    tracing::info!(number, "this program leads");
                    return;
                }
                Ok(None) => {
                    let holder = self.db.leader(clock::now()).await.unwrap_or_default();
                    let address = holder.and_then(|holder| holder.rsplit_once('@')?.1.parse().ok());
                    self.is(address.map_or(Leader::Nobody, Leader::At));
                    self.stand_by().await;
                    if !said {
                        said = true;
                        tracing::info!("another program leads on this database");
                    }
                }
                Err(error) => {
                    self.is(Leader::Nobody);
                    tracing::warn!(%error, "the database cannot be asked who leads");
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Lets the leading program know whom it may ask to compute.
    async fn stand_by(&self) {
        let Some(address) = self.reached_at else { return };
        if let Err(error) = self.db.stand_by(&address.to_string(), clock::now(), SPAN).await {
            tracing::warn!(%error, "the leading program does not learn of this one");
        }
    }

    async fn stop_standing_by(&self) {
        let Some(address) = self.reached_at else { return };
        if let Err(error) = self.db.stop_standing_by(&address.to_string()).await {
            tracing::warn!(%error, "this program is asked to compute for a moment longer");
        }
    }

    /// What was stored is taken up: requests that want the leading program are answered here.
    pub fn begin(&self) {
        self.is(Leader::Here);
    }

    /// Renews the lead; ends when another has it, and the service with it. While the database is away nobody can take it, and what is written is fenced.
    pub async fn keep(self) {
        if self.is_alone {
            return std::future::pending().await;
        }
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(SPAN.0 / 4)).await;
            match self.db.take_lead(&self.holder, clock::now(), SPAN).await {
                Ok(Some(_)) => renewed = Instant::now(),
                Ok(None) => {
                    self.is(Leader::Nobody);
                    tracing::error!("another program has taken the lead");
                    return;
                }
                Err(error) => tracing::warn!(%error, seconds = renewed.elapsed().as_secs(), "the lead cannot be renewed"),
            }
        }
    }

    /// Gives it up, so that another takes it at once.
    pub async fn leave(&self) -> Result<(), DbError> {
        if self.is_alone {
            return Ok(());
        }
        self.stop_standing_by().await;
        self.db.leave_lead(&self.holder).await
    }

    fn is(&self, leader: Leader) {
        self.leader.send_if_modified(|known| std::mem::replace(known, leader) != leader);
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::db::{WorkKind, cluster};
    use starling_primitives::TimestampMs;

    /// Longer than anything takes that happens by itself.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn program__should_wait_until_the_one_that_leads_is_gone() {
        let url = cluster::new_database().await;
        let (one, other) = (Db::open_postgres(&url).await.unwrap(), Db::open_postgres(&url).await.unwrap());
        let address = "10.0.0.1:81".parse().unwrap();
        let leading = Lead::one_of_several(one.clone(), Some(address));
        leading.wait().await;
        one.set_work(WorkKind::Run, 1, &"first", TimestampMs(1)).await.unwrap();
        // The lead lasts until times that are given, so that no pause of this machine ends it.
        let began = clock::now();
        let far = TimestampMs(began.0 + 3_600_000);
        assert_eq!(one.take_lead(&leading.holder, far, SPAN).await.unwrap(), Some(1));
        let following = Lead::one_of_several(other.clone(), None);
        let mut waiting = tokio::spawn({
            let following = following.clone();
            async move { following.wait().await }
        });
        let mut leader = following.leader();
        tokio::time::timeout(PATIENCE, leader.wait_for(|known| *known == Leader::At(address))).await.expect("it asks").unwrap();
        assert!(tokio::time::timeout(ASK_EVERY * 3, &mut waiting).await.is_err(), "it waits while the other leads");
        assert_eq!(other.take_lead(&following.holder, far.after(SPAN), SPAN).await.unwrap(), None, "to the last moment of the span");
        assert!(other.set_work(WorkKind::Run, 1, &"early", TimestampMs(1)).await.is_err(), "who does not lead writes nothing of it");
        // As by SIGSTOP: it renews nothing any more and says nothing, and its span is over.
        assert_eq!(one.take_lead(&leading.holder, TimestampMs(1), SPAN).await.unwrap(), Some(1));
        tokio::time::timeout(PATIENCE, waiting).await.expect("it takes over").unwrap();
        assert_eq!(other.take_lead(&following.holder, far, SPAN).await.unwrap(), Some(2));
        other.set_work(WorkKind::Run, 1, &"second", TimestampMs(2)).await.unwrap();
        // One that comes to itself again writes nothing, neither in groups nor else, and its service ends.
        let late = one.set_work(WorkKind::Run, 1, &"late", TimestampMs(3)).await;
        assert!(late.unwrap_err().to_string().contains("leads"), "it is fenced");
        assert!(one.add_history("blocks", 9, &[]).await.is_err());
        assert!(one.set_facts(crate::db::FactKind::Run, vec![(1, &"late")]).await.is_err());
        tokio::time::timeout(PATIENCE, leading.keep()).await.expect("it ends");
        assert_eq!(other.works::<String>(WorkKind::Run).await.unwrap(), ["second"]);
        following.leave().await.unwrap();
        let third = Lead::one_of_several(Db::open_postgres(&url).await.unwrap(), None);
        tokio::time::timeout(PATIENCE, third.wait()).await.expect("it is given up long before its span is over");
        // Who leads renews: what is over by given times lasts again.
        assert_eq!(other.take_lead(&third.holder, TimestampMs(1), SPAN).await.unwrap(), Some(3));
        assert_eq!(other.leader(began).await.unwrap(), None);
        let keeping = tokio::spawn(third.clone().keep());
        let renewed = async {
            while other.leader(began).await.unwrap().as_ref() != Some(&third.holder) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, renewed).await.expect("it is renewed");
        assert!(!keeping.is_finished(), "it goes on");
        keeping.abort();
    }

    #[tokio::test]
    async fn lead__should_wait_for_a_leading_programs_transaction_but_not_for_one_that_stopped_within() {
        let url = cluster::new_database().await;
        let (one, other) = (Db::open_postgres(&url).await.unwrap(), Db::open_postgres(&url).await.unwrap());
        let leading = Lead::one_of_several(one.clone(), None);
        leading.wait().await;
        let stopped = one.begin_leading().await.unwrap();
        let far = TimestampMs(clock::now().0 + 60_000);
        let taken = tokio::time::timeout(PATIENCE, other.take_lead("other", far, SPAN)).await;
        assert_eq!(taken.expect("the database ends the stopped one's transaction").unwrap(), Some(2));
        assert!(stopped.commit().await.is_err());
    }
}
