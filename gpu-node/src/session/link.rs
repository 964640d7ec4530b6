//! The connection: dials with a growing, jittered wait, proves the node's key, and carries messages. The node dials out, so it works behind NAT.

use super::may_be_lost;
use crate::{chain::ChainError, work::Context};
use futures_util::{SinkExt as _, StreamExt as _};
use starling_http_api::{
    machine::MachineState,
    network::NetworkInfo,
    node::{FromNode, MAX_MESSAGE_BYTES, SILENCE_MS, ToNode},
    path,
};
use starling_primitives::TimestampMs;
use starling_protocol::signing::NodeHello;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle, time::Instant};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

const FIRST_WAIT: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_secs(6);
/// After a refusal a person has to act; the node asks again rarely.
const REFUSED_WAIT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);
const SEND_TIME: Duration = Duration::from_secs(10);
/// A challenge may be meant for at most so long: a signature for a far day is not given.
const LONGEST_CHALLENGE_MS: u64 = 10 * 60 * 1_000;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The coordinator serves other contracts or another chain.
    #[error("the coordinator {origin} serves {found}, this node is set up for {expected}: correct `coordinator`, or set the node up again")]
    WrongNetwork {
        /// Which coordinator.
        origin: String,
        /// Its deployment.
        found: String,
        /// The node's.
        expected: String,
    },
    /// The chain is another one, or the node is not registered there as configured.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The coordinator refused this node.
    #[error("the coordinator refused this node: {detail} ({code})")]
    Refused {
        /// Stable code.
        code: String,
        /// In words.
        detail: String,
    },
    /// No connection, or one that broke.
    #[error("no connection to the coordinator: {0}")]
    Broken(String),
    /// The other side does not speak as agreed.
    #[error("the coordinator does not speak as agreed: {0}")]
    Protocol(String),
}

impl SessionError {
    /// Whether no repetition mends it.
    fn is_final(&self) -> bool {
        match self {
            Self::WrongNetwork { .. } | Self::Chain(ChainError::WrongChain { .. } | ChainError::Deviates(_)) => true,
            Self::Chain(ChainError::Rpc(_)) | Self::Refused { .. } | Self::Broken(_) | Self::Protocol(_) => false,
        }
    }
}

/// What the link gives its owner.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A session is open.
    Opened,
    /// It broke; the link dials again by itself.
    Closed,
    /// A message.
    Message(Box<ToNode>),
}

/// The connection in whatever state it is.
pub(crate) struct Link {
    context: Arc<Context>,
    token: watch::Sender<Option<String>>,
    state: State,
    wait: Duration,
}

enum State {
    Down { until: Instant },
    Dialling(JoinHandle<Result<(Socket, String), SessionError>>),
    Up { socket: Box<Socket>, heard: Instant, told: Option<MachineState> },
}

impl Link {
    pub(crate) fn new(context: Arc<Context>, token: watch::Sender<Option<String>>) -> Self {
        Self { context, token, state: State::Down { until: Instant::now() }, wait: FIRST_WAIT }
    }

    /// The next thing that happens. Safe to drop while waiting.
    pub(crate) async fn next(&mut self) -> Result<Heard, SessionError> {
        loop {
            match &mut self.state {
                State::Down { until } => {
                    tokio::time::sleep_until(*until).await;
                    self.state = State::Dialling(tokio::spawn(dial(self.context.clone())));
                }
                State::Dialling(dialling) => {
                    let dialled = dialling.await.map_err(|error| SessionError::Broken(error.to_string())).and_then(|dialled| dialled);
                    match dialled {
                        Ok((socket, token)) => {
                            tracing::info!(coordinator = self.context.config.coordinator, "connected");
                            self.token.send_replace(Some(token));
                            self.wait = FIRST_WAIT;
                            self.state = State::Up { socket: Box::new(socket), heard: Instant::now(), told: None };
                            return Ok(Heard::Opened);
                        }
                        Err(error) if error.is_final() => return Err(error),
                        Err(error) => self.wait_after(&error),
                    }
                }
                State::Up { socket, heard, .. } => {
                    match tokio::time::timeout_at(*heard + Duration::from_millis(SILENCE_MS), socket.next()).await {
                        Ok(Some(Ok(message))) => {
                            *heard = Instant::now();
                            match read(&message) {
                                Ok(Some(message)) => return Ok(Heard::Message(Box::new(message))),
                                Ok(None) => {}
                                Err(error) => {
                                    self.wait_after(&error);
                                    return Ok(Heard::Closed);
                                }
                            }
                        }
                        gone => {
                            let why = match gone {
                                Err(_) => "silence".to_owned(),
                                Ok(Some(Err(error))) => error.to_string(),
                                Ok(_) => "closed by the coordinator".to_owned(),
                            };
                            self.wait_after(&SessionError::Broken(why));
                            return Ok(Heard::Closed);
                        }
                    }
                }
            }
        }
    }

    /// Sends a message if there is a session. What is lost is asked for again.
    pub(crate) async fn say(&mut self, message: &FromNode) {
        let State::Up { .. } = &self.state else {
            if !may_be_lost(message) {
                tracing::info!("no session; the coordinator will ask again");
            }
            return;
        };
        match serde_json::to_string(message) {
            Ok(text) if text.len() <= MAX_MESSAGE_BYTES => self.send(Message::text(text)).await,
            Ok(text) => tracing::error!(bytes = text.len(), "a message is larger than allowed and is left out"),
            Err(error) => tracing::error!(%error, "a message could not be written"),
        }
    }

    /// A sign of life, how the machine stands where that has changed, and a ping whose answer shows that the other side lives.
    pub(crate) async fn beat(&mut self, machine: MachineState) {
        if let State::Up { told, .. } = &mut self.state {
            let is_news = told.as_ref() != Some(&machine);
            let message = if is_news { FromNode::Machine { state: Box::new(machine.clone()) } } else { FromNode::Alive };
            *told = Some(machine);
            self.say(&message).await;
            self.send(Message::Ping(tungstenite::Bytes::new())).await;
        }
    }

    pub(crate) async fn close(&mut self) {
        match &mut self.state {
            State::Up { socket, .. } => drop(tokio::time::timeout(Duration::from_secs(2), socket.as_mut().close(None)).await),
            State::Dialling(dialling) => dialling.abort(),
            State::Down { .. } => {}
        }
    }

    async fn send(&mut self, message: Message) {
        let State::Up { socket, .. } = &mut self.state else { return };
        let why = match tokio::time::timeout(SEND_TIME, socket.send(message)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes no more".to_owned(),
        };
        self.wait_after(&SessionError::Broken(why));
    }

    fn wait_after(&mut self, error: &SessionError) {
        let wait = if matches!(error, SessionError::Refused { .. }) { REFUSED_WAIT } else { jittered(self.wait) };
        tracing::warn!(%error, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "dialling again");
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.state = State::Down { until: Instant::now() + wait };
    }
}

/// Half to the whole of a wait, so that nodes that lost one coordinator do not return in one moment.
fn jittered(wait: Duration) -> Duration {
    let mut byte = [0_u8];
    // Without random numbers all wait the whole time, which is safe.
    if getrandom::fill(&mut byte).is_err() {
        return wait;
    }
    wait / 2 + wait / 2 * u32::from(byte[0]) / 255
}

/// Refuses a coordinator of another chain or other contracts.
async fn check_coordinator(context: &Context) -> Result<NetworkInfo, SessionError> {
    let origin = &context.config.coordinator;
    let broken = |error: reqwest::Error| SessionError::Broken(error.to_string());
    let response = context.http.get(format!("{origin}{}", path::NETWORK)).send().await.map_err(broken)?;
    let network: NetworkInfo = response.error_for_status().map_err(broken)?.json().await.map_err(broken)?;
    let expected = &context.config.deployment;
    if network.deployment != *expected {
        let name = |deployment: &starling_contract_api::Deployment| {
            format!("{} on {} (instance {})", deployment.compute, deployment.chain_id, deployment.instance)
        };
        return Err(SessionError::WrongNetwork { origin: origin.clone(), found: name(&network.deployment), expected: name(expected) });
    }
    Ok(network)
}

async fn dial(context: Arc<Context>) -> Result<(Socket, String), SessionError> {
    context.chain.check_network().await?;
    context.chain.own_node().await?;
    check_coordinator(&context).await?;
    let url = format!("{}{}", context.config.coordinator.replacen("http", "ws", 1), path::NODE_CONNECT);
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
    let shake = async {
        let connector = Connector::Rustls(context.roots.config());
        let connecting = connect_async_tls_with_config(url, Some(limits), true, Some(connector));
        let (mut socket, _) = connecting.await.map_err(|error| SessionError::Broken(error.to_string()))?;
        let token = prove(&context, &mut socket).await?;
        Ok((socket, token))
    };
    tokio::time::timeout(HANDSHAKE_TIME, shake)
        .await
        .unwrap_or_else(|_| Err(SessionError::Broken("the coordinator did not greet in time".to_owned())))
}

/// Signs the challenge with the registered key; gives the session's token.
async fn prove(context: &Context, socket: &mut Socket) -> Result<String, SessionError> {
    let ToNode::Challenge { nonce, origin, expires_at } = hear(socket).await? else {
        return Err(SessionError::Protocol("it did not begin with a challenge".to_owned()));
    };
    check_challenge(&context.config.coordinator, &origin, expires_at, now())?;
    let hello = NodeHello { node_id: context.config.node_id, origin, nonce, expires_at };
    let signature = context.chain.sign(&hello.signing_bytes(&context.config.deployment.compute_domain()));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let lacks = context.scripts.as_ref().err().map(|no| no.lacks.clone()).unwrap_or_default();
    let data = context.config.data.iter().map(|data| data.name.clone()).collect();
    let text = serde_json::to_string(&FromNode::Hello { hello, signature, version, scripts: context.scripts.is_ok(), lacks, data })
        .map_err(|error| SessionError::Protocol(error.to_string()))?;
    socket.send(Message::text(text)).await.map_err(|error| SessionError::Broken(error.to_string()))?;
    match hear(socket).await? {
        ToNode::Welcome { token } => Ok(token),
        ToNode::Refused { code, detail } => Err(SessionError::Refused { code, detail }),
        _ => Err(SessionError::Protocol("neither welcome nor refusal came after the hello".to_owned())),
    }
}

/// A challenge of another site, or for a far day, is not signed: someone passes it on.
fn check_challenge(own: &str, origin: &str, expires_at: TimestampMs, now: TimestampMs) -> Result<(), SessionError> {
    if origin != own {
        return Err(SessionError::Protocol(format!("it challenges for {origin}, this node dialled {own}")));
    }
    if expires_at.0 > now.0.saturating_add(LONGEST_CHALLENGE_MS) {
        return Err(SessionError::Protocol("its challenge lives too long; is this machine's clock right?".to_owned()));
    }
    Ok(())
}

async fn hear(socket: &mut Socket) -> Result<ToNode, SessionError> {
    loop {
        let message = socket.next().await.ok_or_else(|| SessionError::Broken("closed during the greeting".to_owned()))?;
        if let Some(message) = read(&message.map_err(|error| SessionError::Broken(error.to_string()))?)? {
            return Ok(message);
        }
    }
}

/// A text is a message; control frames are none.
fn read(message: &Message) -> Result<Option<ToNode>, SessionError> {
    match message {
        Message::Text(text) => serde_json::from_str(text).map(Some).map_err(|error| SessionError::Protocol(error.to_string())),
        Message::Binary(_) => Err(SessionError::Protocol("it sent binary data".to_owned())),
        Message::Close(_) => Err(SessionError::Broken("closed by the coordinator".to_owned())),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

fn now() -> TimestampMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn challenge__should_be_of_the_dialled_site_and_short_lived() {
        let own = "http://127.0.0.1:8080";
        let now = TimestampMs(1_000_000);
        assert!(check_challenge(own, own, TimestampMs(1_060_000), now).is_ok());
        assert!(check_challenge(own, "http://evil.example", TimestampMs(1_060_000), now).is_err());
        assert!(check_challenge(own, own, TimestampMs(u64::MAX), now).is_err());
    }

    #[test]
    fn wait__should_stay_within_half_and_whole() {
        for _ in 0..100 {
            let wait = jittered(LONGEST_WAIT);
            assert!(wait >= LONGEST_WAIT / 2 && wait <= LONGEST_WAIT);
        }
    }

    #[test]
    fn read__should_refuse_what_is_no_message() {
        assert!(matches!(read(&Message::text("{\"say\":\"lease_ended\",\"lease_id\":1}")), Ok(Some(ToNode::LeaseEnded { .. }))));
        assert!(read(&Message::text("{\"say\":\"hold_up\"}")).is_err());
        assert!(read(&Message::Binary(vec![1].into())).is_err());
        assert!(matches!(read(&Message::Ping(tungstenite::Bytes::new())), Ok(None)));
    }
}
