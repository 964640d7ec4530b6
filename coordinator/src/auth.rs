//! Logins by NEP-413: a message with a server nonce that is used once, bound to this site, chain and an expiry, signed by a full-access key of the account.

use crate::{artifacts::Who, chain::Chain, clock, db::Db, hub::Hub, problem::Fault, secret};
use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use starling_contract_api::rpc::verify;
use starling_http_api::login::{Challenge, LoginRequest, Session, nep413_bytes};
use starling_primitives::{AccountId, DurationMs, Hash32, TimestampMs};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// How long a challenge lives.
const CHALLENGE_LIFE: DurationMs = DurationMs::from_secs(300);
/// How long a session lives.
const SESSION_LIFE: DurationMs = DurationMs::from_days(7);
/// The session cookie's name.
pub const COOKIE: &str = "starling_session";
/// Addresses that are counted at once.
const MAX_COUNTED: usize = 10_000;

/// Since when, and how many logins each address began.
type Counted = HashMap<Option<IpAddr>, (TimestampMs, u32)>;

/// Opens and checks sessions. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    db: Db,
    chain: Arc<dyn Chain>,
    hub: Hub,
    origin: Arc<str>,
    chain_id: Arc<str>,
    per_minute: u32,
    counted: Arc<Mutex<Counted>>,
}

impl Auth {
    /// Logins for this origin and chain.
    pub fn new(db: Db, chain: Arc<dyn Chain>, hub: Hub, origin: &str, chain_id: &str, per_minute: u32) -> Self {
        Self { db, chain, hub, origin: origin.into(), chain_id: chain_id.into(), per_minute, counted: Arc::default() }
    }

    /// Something to sign.
    pub async fn challenge(&self, account: Option<&AccountId>, from: Option<IpAddr>) -> Result<Challenge, Fault> {
        let now = clock::now();
        self.count(from, now)?;
        let nonce: [u8; 32] = secret::random_bytes();
        let expires_at = now.after(CHALLENGE_LIFE);
        let who = account.map_or_else(String::new, |account| format!(" as {account}"));
        let message = format!(
            "Sign in to Starling at {}{who}.\n\nNetwork: {}\nValid until: {} UTC\n\nThis costs nothing and moves no money.",
            self.origin,
            self.chain_id,
            utc(expires_at)
        );
        self.db.add_challenge(&nonce, &message, account, expires_at, now).await?;
        Ok(Challenge { message, recipient: self.origin.to_string(), nonce: STANDARD.encode(nonce), expires_at })
    }

    /// Checks what the wallet signed, and opens a session.
    pub async fn login(&self, request: &LoginRequest) -> Result<Session, Fault> {
        let refused = |code, detail: &str| Fault::new(StatusCode::UNAUTHORIZED, code, "The sign-in was refused", detail);
        let now = clock::now();
        let nonce: [u8; 32] = STANDARD
            .decode(&request.nonce)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Fault::bad("nonce_malformed", "The nonce must be 32 bytes in base64."))?;
        let challenge = self
            .db
            .take_challenge(&nonce, now)
            .await?
            .ok_or_else(|| refused("login_unknown", "This sign-in was not begun here, or on another network. Begin again."))?;
        if challenge.used {
            return Err(refused("login_replayed", "This sign-in was used already. Begin again."));
        }
        if now >= challenge.expires_at {
            return Err(refused("login_expired", "This sign-in took too long. Begin again."));
        }
        if challenge.account_id.as_deref().is_some_and(|account| account != request.account_id.as_str()) {
            return Err(refused("login_other_account", "This sign-in was begun for another account. Begin again."));
        }
        let signed = Hash32::sha256(&nep413_bytes(&challenge.message, nonce, &self.origin));
        if !verify(&request.public_key, &signed.0, &request.signature) {
            return Err(refused(
                "login_signature_wrong",
                "The signature is not one of this message for this site and network. Check which network your wallet is on, and begin again.",
            ));
        }
        match self.chain.access_key(&request.account_id, &request.public_key).await? {
            Some(key) if key.full_access => {}
            Some(_) => {
                return Err(refused(
                    "login_key_limited",
                    "The key that signed may only call some contracts. Sign with a full-access key of the account.",
                ));
            }
            None => return Err(refused("login_key_unknown", "The key that signed does not belong to this account on this network.")),
        }
        let (token, expires_at) = (secret::random_hex::<32>(), now.after(SESSION_LIFE));
        self.db.add_session(secret::token_hash(&token), &request.account_id, expires_at, now).await?;
        tracing::info!(account = %request.account_id, "signed in");
        Ok(Session { token, account_id: request.account_id.clone(), expires_at })
    }

    /// Whose session the request carries, and until when. A cookie counts for a change only from our own origin.
    pub async fn session(&self, headers: &HeaderMap, method: &Method) -> Result<Option<(AccountId, TimestampMs)>, Fault> {
        let Some(token) = self.token(headers, method)? else { return Ok(None) };
        Ok(self.db.session(secret::token_hash(&token), clock::now()).await?)
    }

    /// The account of the session, or a refusal.
    pub async fn account(&self, headers: &HeaderMap, method: &Method) -> Result<AccountId, Fault> {
        self.session(headers, method).await?.map(|(account, _)| account).ok_or_else(Fault::unauthorized)
    }

    /// Who asks: an account, a connected node, or anyone. A token that is nobody's is refused: what its bearer may see is not known, so nothing is said of what is there.
    pub async fn who(&self, headers: &HeaderMap, method: &Method) -> Result<Who, Fault> {
        if let Some(node) = bearer(headers).and_then(|token| self.hub.token_owner(token)) {
            return Ok(Who::Node(node));
        }
        match self.session(headers, method).await? {
            Some((account, _)) => Ok(Who::Account(account)),
            None if bearer(headers).is_some() => Err(Fault::unauthorized()),
            None => Ok(Who::Anyone),
        }
    }

    /// Ends the session of the request.
    pub async fn logout(&self, headers: &HeaderMap, method: &Method) -> Result<(), Fault> {
        if let Some(token) = self.token(headers, method)? {
            self.db.end_session(secret::token_hash(&token)).await?;
        }
        Ok(())
    }

    /// Ends all sessions of the request's account.
    pub async fn logout_everywhere(&self, headers: &HeaderMap, method: &Method) -> Result<(), Fault> {
        let account = self.account(headers, method).await?;
        self.db.end_sessions_of(&account).await?;
        tracing::info!(%account, "signed out everywhere");
        Ok(())
    }

    /// The cookie of a session; `None` takes it away.
    pub fn cookie(&self, session: Option<&Session>) -> String {
        let secure = if self.origin.starts_with("https://") { "; Secure" } else { "" };
        let (value, age) = session.map_or(("", 0), |session| (session.token.as_str(), SESSION_LIFE.0 / 1_000));
        format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}")
    }

    fn token(&self, headers: &HeaderMap, method: &Method) -> Result<Option<String>, Fault> {
        if let Some(token) = bearer(headers) {
            return Ok(Some(token.to_owned()));
        }
        let Some(token) = cookie(headers) else { return Ok(None) };
        let ours = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes() == self.origin.as_bytes());
        if !method.is_safe() && !ours {
            let detail = "A change by a browser's session must come from this site itself.";
            return Err(Fault::new(StatusCode::FORBIDDEN, "origin_foreign", "The request comes from another site", detail));
        }
        Ok(Some(token.to_owned()))
    }

    fn count(&self, from: Option<IpAddr>, now: TimestampMs) -> Result<(), Fault> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MAX_COUNTED {
            counted.retain(|_, (since, _)| now.since(*since).0 < 60_000);
        }
        let (since, count) = counted.entry(from).or_insert((now, 0));
        if now.since(*since).0 >= 60_000 {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > self.per_minute {
            return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "too_many_logins", "Too many sign-ins", "Wait a minute and try again."));
        }
        Ok(())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE);
    let pairs = all.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, value)| *name == COOKIE && !value.is_empty()).map(|(_, value)| value)
}

/// `2026-11-21 02:20`, by the civil calendar (Howard Hinnant, days_from_civil).
fn utc(at: TimestampMs) -> String {
    let minutes = at.0 / 60_000;
    let (days, minute) = (minutes / 1_440, minutes % 1_440);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn utc__should_follow_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_400_000, "2000-02-29 00:00"),
            (1_795_227_600_000, "2026-11-21 02:20"),
            (4_102_444_799_000, "2099-12-31 23:59"),
        ] {
            assert_eq!(utc(TimestampMs(ms)), text);
        }
    }
}
