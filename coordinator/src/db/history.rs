//! History: events of final blocks and whom they concern.

use super::{Db, DbError, from_json, signed, to_json, unsigned};
use starling_http_api::network::{BalanceChange, HistoryEntry};
use starling_primitives::{AccountId, EscrowId};

/// An event to be kept; `entry.seq` is given by the database.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What is shown, without the changes.
    pub entry: HistoryEntry,
    /// Its place among the events of its transaction.
    pub place: u32,
    /// Whom it concerns, and what it did to those balances.
    pub accounts: Vec<(AccountId, Vec<BalanceChange>)>,
}

impl Db {
    /// Keeps the events of a block and moves the cursor past it, both or neither. Events that are there already are left alone.
    pub async fn add_history(&self, cursor: &str, height: u64, events: &[NewEvent]) -> Result<(), DbError> {
        let mut tx = self.begin_leading().await?;
        for event in events {
            let sql = "INSERT INTO history (tx, place, height, json) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING seq";
            let added: Option<(i64,)> = sqlx::query_as(sql)
                .bind(&event.entry.tx)
                .bind(i64::from(event.place))
                .bind(signed(height))
                .bind(to_json("event", &event.entry)?)
                .fetch_optional(&mut *tx)
                .await?;
            let Some((seq,)) = added else { continue };
            for (account, changes) in &event.accounts {
                sqlx::query("INSERT INTO history_accounts (account_id, seq, changes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                    .bind(account.as_str())
                    .bind(seq)
                    .bind(to_json("change", changes)?)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        sqlx::query("INSERT INTO cursors (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(cursor)
            .bind(signed(height))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Payer and purpose of the newest escrows that were seen, from the payments that opened them.
    pub async fn payments(&self) -> Result<Vec<(EscrowId, AccountId, String)>, DbError> {
        let sql = "SELECT a.account_id, h.json FROM history h JOIN history_accounts a ON a.seq = h.seq WHERE h.json LIKE '%\"event\":\"payment_held\"%' ORDER BY h.seq DESC LIMIT 10000";
        let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let mut payments = Vec::with_capacity(rows.len());
        for (account, json) in rows {
            let entry: HistoryEntry = from_json("event", &json)?;
            payments.extend(
                entry
                    .escrow_id
                    .zip(AccountId::new(account).ok())
                    .map(|(escrow, account)| (escrow, account, entry.purpose.unwrap_or_default())),
            );
        }
        Ok(payments)
    }

    /// An account's history, newest first; all of it, or what concerns one escrow.
    pub async fn history(
        &self,
        account: &AccountId,
        escrow: Option<EscrowId>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, DbError> {
        let sql = "SELECT a.seq, h.json, a.changes FROM history_accounts a JOIN history h ON h.seq = a.seq WHERE a.account_id = $1 AND a.seq < $2 AND h.json LIKE $3 ORDER BY a.seq DESC LIMIT $4";
        let pattern = escrow.map_or_else(|| "%".to_owned(), |escrow| format!("%\"escrow_id\":{escrow},%"));
        let rows: Vec<(i64, String, Option<String>)> = sqlx::query_as(sql)
            .bind(account.as_str())
            .bind(before.map_or(i64::MAX, signed))
            .bind(pattern)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|(seq, json, changes)| {
                let entry: HistoryEntry = from_json("event", &json)?;
                let changes = changes.map_or(Ok(Vec::new()), |changes| from_json("change", &changes))?;
                Ok(HistoryEntry { seq: unsigned(seq), changes, ..entry })
            })
            .collect()
    }
}
