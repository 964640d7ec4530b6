//! Login challenges and sessions.

use super::{Db, DbError, signed, unsigned};
use starling_primitives::{AccountId, Hash32, TimestampMs};

/// A challenge that was taken out, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeRow {
    /// The text that had to be signed.
    pub message: String,
    /// Who had to sign, if that was said.
    pub account_id: Option<String>,
    /// Dead after this.
    pub expires_at: TimestampMs,
    /// Whether it had been taken out before.
    pub used: bool,
}

impl Db {
    /// Keeps a new challenge, and forgets those that died an hour ago.
    pub async fn add_challenge(
        &self,
        nonce: &[u8; 32],
        message: &str,
        account: Option<&AccountId>,
        expires_at: TimestampMs,
        now: TimestampMs,
    ) -> Result<(), DbError> {
        sqlx::query("DELETE FROM login_challenges WHERE expires_at < $1")
            .bind(signed(now.0.saturating_sub(3_600_000)))
            .execute(&self.pool)
            .await?;
        sqlx::query("INSERT INTO login_challenges (nonce, message, account_id, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(nonce.as_slice())
            .bind(message)
            .bind(account.map(AccountId::as_str))
            .bind(signed(expires_at.0))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes a challenge out: whoever comes second sees it used.
    pub async fn take_challenge(&self, nonce: &[u8; 32], now: TimestampMs) -> Result<Option<ChallengeRow>, DbError> {
        let taken = sqlx::query("UPDATE login_challenges SET used_at = $1 WHERE nonce = $2 AND used_at IS NULL")
            .bind(signed(now.0))
            .bind(nonce.as_slice())
            .execute(&self.pool)
            .await?;
        let row: Option<(String, Option<String>, i64)> =
            sqlx::query_as("SELECT message, account_id, expires_at FROM login_challenges WHERE nonce = $1")
                .bind(nonce.as_slice())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(message, account_id, expires_at)| ChallengeRow {
            message,
            account_id,
            expires_at: TimestampMs(unsigned(expires_at)),
            used: taken.rows_affected() == 0,
        }))
    }

    /// Opens a session.
    pub async fn add_session(
        &self,
        token_hash: Hash32,
        account: &AccountId,
        expires_at: TimestampMs,
        now: TimestampMs,
    ) -> Result<(), DbError> {
        sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(signed(now.0)).execute(&self.pool).await?;
        sqlx::query("INSERT INTO sessions (token_hash, account_id, expires_at, created_at) VALUES ($1, $2, $3, $4)")
            .bind(token_hash.0.as_slice())
            .bind(account.as_str())
            .bind(signed(expires_at.0))
            .bind(signed(now.0))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whose session it is, while it lives.
    pub async fn session(&self, token_hash: Hash32, now: TimestampMs) -> Result<Option<(AccountId, TimestampMs)>, DbError> {
        let row: Option<(String, i64)> =
            sqlx::query_as("SELECT account_id, expires_at FROM sessions WHERE token_hash = $1 AND expires_at > $2")
                .bind(token_hash.0.as_slice())
                .bind(signed(now.0))
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.and_then(|(account, expires_at)| Some((AccountId::new(account).ok()?, TimestampMs(unsigned(expires_at))))))
    }

    /// Ends a session.
    pub async fn end_session(&self, token_hash: Hash32) -> Result<(), DbError> {
        sqlx::query("DELETE FROM sessions WHERE token_hash = $1").bind(token_hash.0.as_slice()).execute(&self.pool).await?;
        Ok(())
    }

    /// Ends all sessions of an account.
    pub async fn end_sessions_of(&self, account: &AccountId) -> Result<(), DbError> {
        sqlx::query("DELETE FROM sessions WHERE account_id = $1").bind(account.as_str()).execute(&self.pool).await?;
        Ok(())
    }
}
