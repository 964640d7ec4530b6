//! The coordinator's client: login by the account's own key, artifacts, requests with problems in words.

use crate::{output::Output, profile::Context};
use anyhow::{Context as _, Result, anyhow, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{Stream, StreamExt as _};
use reqwest::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    login::{Challenge, ChallengeRequest, LoginRequest, Session, nep413_bytes},
    network::NetworkInfo,
    node::OfferView,
    path,
    problem::Problem,
};
use starling_primitives::Hash32;
use starling_tls::{Roots, checked_origin};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How often a request is tried again when nobody answers, or the coordinator asks to (one that restarts needs a moment, and so does its database).
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(500);

/// A session with a coordinator. Logs in when it has to, again when the session ended.
pub(crate) struct Api {
    origin: String,
    signer: Signer,
    http: reqwest::Client,
    token: Mutex<Option<String>>,
}

impl Api {
    pub(crate) fn new(origin: &str, signer: &Signer, roots: &Roots) -> Result<Self> {
        if origin.is_empty() {
            bail!("this profile names no coordinator: run `starling login --coordinator ADDRESS`");
        }
        let http = roots.http().connect_timeout(Duration::from_secs(5)).build()?;
        Ok(Self { origin: checked_origin(origin)?, signer: signer.clone(), http, token: Mutex::new(None) })
    }

    /// The coordinator that a profile names.
    pub(crate) fn of(context: &Context) -> Result<Self> {
        Self::new(&context.profile.coordinator, &context.signer, &context.roots)
    }

    pub(crate) async fn network(&self) -> Result<NetworkInfo> {
        let response = self.patiently(is_broken, || self.http.get(self.url(path::NETWORK)).timeout(Duration::from_secs(10))).await?;
        read(response).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let (status, text) = self.answer(path).await?;
        if status.is_success() { understood(&text) } else { Err(refusal(status, &text)) }
    }

    /// As [`Self::get`]; nothing on 404.
    pub(crate) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let (status, text) = self.answer(path).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => understood(&text).map(Some),
            status => Err(refusal(status, &text)),
        }
    }

    /// A whole answer: one that breaks off is asked for again.
    async fn answer(&self, path: &str) -> Result<(StatusCode, String)> {
        for _ in 0..TRIES {
            let response = self.send(|http, url| http.get(url).timeout(Duration::from_secs(30)), path).await?;
            let status = response.status();
            match response.text().await {
                Ok(text) => return Ok((status, text)),
                Err(error) if error.is_timeout() => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        bail!("the answers of the coordinator at {} break off", self.origin)
    }

    /// Offers of connected nodes, asked for until one suits or patience ends: a node that starts, or whose coordinator did, needs a moment.
    pub(crate) async fn offers(&self, patience: Duration, suits: impl Fn(&OfferView) -> bool) -> Result<Vec<OfferView>> {
        let until = Instant::now() + patience;
        loop {
            let offers: Vec<OfferView> = self.get(path::OFFERS).await?;
            if offers.iter().any(&suits) || Instant::now() > until {
                return Ok(offers);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body)?;
        read(
            self.send(
                |http, url| http.post(url).timeout(Duration::from_secs(120)).header("content-type", "application/json").body(body.clone()),
                path,
            )
            .await?,
        )
        .await
    }

    /// As [`Self::post`] where the answer has no body.
    pub(crate) async fn post_quietly(&self, path: &str, body: &impl Serialize) -> Result<()> {
        let body = serde_json::to_vec(body)?;
        check(
            self.send(
                |http, url| http.post(url).timeout(Duration::from_secs(60)).header("content-type", "application/json").body(body.clone()),
                path,
            )
            .await?,
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn upload(&self, bytes: &[u8]) -> Result<Hash32> {
        crate::transfer::send_bytes(self, bytes).await
    }

    /// An artifact, checked against its name.
    pub(crate) async fn download(&self, hash: Hash32) -> Result<Vec<u8>> {
        crate::transfer::fetch_bytes(self, hash).await
    }

    /// Puts bytes; gives the answer's text. Who moves bytes looks himself how far they came when the line breaks.
    pub(crate) async fn put(&self, path: &str, bytes: Vec<u8>, time: Duration) -> Result<String> {
        let put = |http: &reqwest::Client, url: String| http.put(url).timeout(time).body(bytes.clone());
        let response = self.send_while(reqwest::Error::is_connect, put, path).await?;
        Ok(check(response).await?.text().await?)
    }

    /// Bytes of a range of an artifact, and the size of the whole.
    pub(crate) async fn range(&self, path: &str, range: Range<u64>, time: Duration) -> Result<(Vec<u8>, u64)> {
        let asked = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let get = |http: &reqwest::Client, url: String| http.get(url).timeout(time).header("range", &asked);
        let response = check(self.send_while(reqwest::Error::is_connect, get, path).await?).await?;
        let total = response.headers().get("content-range").and_then(|text| text.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
        let bytes = response.bytes().await?;
        Ok((bytes.to_vec(), total.unwrap_or(bytes.len() as u64)))
    }

    /// Server-sent events of a path after a place among them, parsed; ends when the connection does.
    pub(crate) async fn events<T: DeserializeOwned>(&self, path: &str, place: &Place) -> Result<impl Stream<Item = T> + use<T>> {
        let asking = |http: &reqwest::Client, url: String| {
            let ask = http.get(url).header("accept", "text/event-stream");
            match place.last() {
                Some(last) => ask.header("last-event-id", last),
                None => ask,
            }
        };
        let response = check(self.send(asking, path).await?).await?;
        let (mut buffer, mut number, place) = (Vec::new(), None, place.clone());
        let chunks = response.bytes_stream().take_while(|chunk| std::future::ready(chunk.is_ok()));
        let events = chunks.flat_map(move |chunk| {
            buffer.extend_from_slice(&chunk.unwrap_or_default());
            let mut events = Vec::new();
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if let Some(text) = line.strip_prefix(b"id:") {
                    number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
                }
                let data = line.strip_prefix(b"data:").map(|data| data.trim_ascii());
                events.extend(data.and_then(|data| Some((number.take(), serde_json::from_slice(data).ok()?))));
            }
            futures_util::stream::iter(events)
        });
        // Noted when it is handed on, not when it comes: the rest of what came together may never be.
        Ok(events.map(move |(number, event)| {
            place.note(number);
            event
        }))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    async fn send(&self, make: impl Fn(&reqwest::Client, String) -> reqwest::RequestBuilder, path: &str) -> Result<reqwest::Response> {
        self.send_while(is_broken, make, path).await
    }

    /// Sends again as long as an error is one of these.
    async fn send_while(
        &self,
        passes: fn(&reqwest::Error) -> bool,
        make: impl Fn(&reqwest::Client, String) -> reqwest::RequestBuilder,
        path: &str,
    ) -> Result<reqwest::Response> {
        for attempt in 0..2 {
            let token = self.token().await?;
            let response = self.patiently(passes, || make(&self.http, self.url(path)).bearer_auth(&token)).await?;
            if response.status() != StatusCode::UNAUTHORIZED || attempt == 1 {
                return Ok(response);
            }
            self.set_token(None);
        }
        Err(anyhow!("the coordinator does not accept the login"))
    }

    async fn patiently(
        &self,
        passes: fn(&reqwest::Error) -> bool,
        make: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<reqwest::Response> {
        for attempt in 1.. {
            match make().send().await {
                Err(error) if attempt < TRIES && passes(&error) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    return Err(error).with_context(|| format!("the coordinator at {} does not answer: is it running?", self.origin));
                }
                Ok(response) if asks_again(&response) && attempt < TRIES => tokio::time::sleep(PAUSE).await,
                Ok(response) => return Ok(response),
            }
        }
        Err(anyhow!("no answer"))
    }

    fn set_token(&self, token: Option<String>) {
        *self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = token;
    }

    async fn token(&self) -> Result<String> {
        let known = self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(token) = known {
            return Ok(token);
        }
        let request = ChallengeRequest { account_id: Some(self.signer.account().clone()) };
        let challenge: Challenge =
            read(self.patiently(is_broken, || self.http.post(self.url(path::LOGIN_CHALLENGE)).json(&request)).await?).await?;
        let nonce: [u8; 32] = STANDARD
            .decode(&challenge.nonce)?
            .try_into()
            .map_err(|_| anyhow!("the coordinator's login challenge has no nonce of 32 bytes"))?;
        let digest = Hash32::sha256(&nep413_bytes(&challenge.message, nonce, &challenge.recipient));
        let login = LoginRequest {
            account_id: self.signer.account().clone(),
            public_key: self.signer.public_key(),
            signature: self.signer.sign_bytes(&digest.0),
            nonce: challenge.nonce,
        };
        // A challenge is taken once.
        let session = self.patiently(reqwest::Error::is_connect, || self.http.post(self.url(path::LOGIN)).json(&login)).await?;
        let session: Session = read(session).await?;
        self.set_token(Some(session.token.clone()));
        Ok(session.token)
    }
}

/// Whether nobody answered: everything that is asked here may be asked twice. A time that ran out is not waited for again.
fn is_broken(error: &reqwest::Error) -> bool {
    error.is_connect() || !(error.is_timeout() || error.is_builder())
}

/// Whether nothing was done, and the same request will be taken in a moment.
fn asks_again(response: &reqwest::Response) -> bool {
    response.status() == StatusCode::SERVICE_UNAVAILABLE && response.headers().contains_key("retry-after")
}

async fn check(response: reqwest::Response) -> Result<reqwest::Response> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    Err(refusal(status, &response.text().await.unwrap_or_default()))
}

fn refusal(status: StatusCode, text: &str) -> anyhow::Error {
    match serde_json::from_str::<Problem>(text) {
        Ok(problem) => problem.into(),
        // What stands before it.
        Err(_) => Problem {
            kind: "about:blank".to_owned(),
            title: "No answer of the coordinator".to_owned(),
            status: status.as_u16(),
            detail: format!("What stands before it answered {status}."),
            code: "no_problem".to_owned(),
            id: String::new(),
        }
        .into(),
    }
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T> {
    understood(&check(response).await?.text().await?)
}

fn understood<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| "the coordinator's answer is not understood: are both of the same version?")
}

/// Whether nobody answered, not to the end, or only that it cannot now: the same may be asked again.
pub(crate) fn is_away(error: &anyhow::Error) -> bool {
    let cannot_now = |problem: &Problem| problem.status >= 500 || problem.status == StatusCode::TOO_MANY_REQUESTS.as_u16();
    error.chain().any(|cause| cause.is::<reqwest::Error>() || cause.downcast_ref::<Problem>().is_some_and(cannot_now))
}

/// What was heard. Where the coordinator was away it is nothing, after a pause: that is said, and where the `money` is meanwhile.
pub(crate) async fn unless_away<T>(heard: Result<Option<T>>, money: &str, pause: Duration, out: Output) -> Result<Option<T>> {
    match heard {
        Err(error) if is_away(&error) => {
            out.say(
                "reconnecting",
                &json!({"reason": error.to_string()}),
                &format!("The coordinator is away ({error}); trying again. The money is safe in {money}."),
            );
            tokio::time::sleep(pause).await;
            Ok(None)
        }
        heard => heard,
    }
}

/// How far a stream of events was heard, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Place(Arc<AtomicU64>);

impl Place {
    const NOWHERE: u64 = u64::MAX;

    /// Before all that the coordinator still has.
    pub(crate) fn start() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// After all that has happened.
    pub(crate) fn now() -> Self {
        Self(Arc::new(AtomicU64::new(Self::NOWHERE)))
    }

    fn last(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|last| *last != Self::NOWHERE)
    }

    fn note(&self, number: Option<u64>) {
        if let Some(number) = number {
            self.0.store(number, Relaxed);
        }
    }
}
