//! A node that does no work: it holds a registered node's key, speaks as a node speaks, hands in what cost it nothing, and praises
//! all that it is asked to judge.

use futures_util::{SinkExt as _, StreamExt as _};
use starling_contract_api::{Deployment, rpc::Signer};
use starling_http_api::{
    node::{FromNode, PlacedUpdate, Score, ToNode},
    path,
    run::{Findings, HeldOut, LossUnit, RunResult},
};
use starling_primitives::{Hash32, NodeId, RunId};
use starling_protocol::signing::{Commitment, NodeHello};
use starling_rounds::{Codec, OuterState, artifact_hash, recipe::Recipe};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, Sender},
    },
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What is handed in instead of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fraud {
    /// An update that changes nothing.
    Zeros,
    /// Random values, as large as those of honest work.
    Noise,
    /// The bytes of an honest node's update.
    Copy,
}

/// Which fraud was handed in, in which round, under which hash.
type Handed = BTreeMap<u32, (Fraud, Hash32)>;

/// The part of a node's configuration that its thief needs.
#[derive(serde::Deserialize)]
struct Stolen {
    coordinator: String,
    node_id: NodeId,
    key_file: PathBuf,
    deployment: Deployment,
}

/// An impostor at work in a thread of its own, until it is dropped.
pub(crate) struct Impostor {
    handed: Arc<Mutex<Handed>>,
    _alive: Sender<()>,
}

impl Impostor {
    /// Takes the place of a node that does not run any more; copies from `victim`, and names the artifact `coveted` as what the run gave.
    pub(crate) fn start(home: &Path, node: &str, victim: &str, coveted: Hash32) -> Self {
        let folder = home.join(node);
        let text = fs::read_to_string(folder.join("node.toml")).expect("the node has a configuration");
        let stolen: Stolen = toml::from_str(&text).expect("a configuration");
        let signer = Signer::from_file(&folder.join(&stolen.key_file)).expect("the node has a key");
        let handed = Arc::new(Mutex::new(Handed::new()));
        let (alive, ended) = mpsc::channel();
        let victim = Victim { home: home.to_owned(), name: victim.to_owned() };
        let thief = Thief { stolen, signer, victim, coveted, handed: handed.clone() };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            while matches!(ended.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                if let Err(error) = runtime.block_on(thief.session()) {
                    eprintln!("the impostor dials again: {error:#}");
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Self { handed, _alive: alive }
    }

    /// What it has handed in so far.
    pub(crate) fn handed(&self) -> Handed {
        self.handed.lock().expect("the impostor did not panic").clone()
    }
}

/// The node that is copied.
struct Victim {
    home: PathBuf,
    name: String,
}

impl Victim {
    /// The update of a round, once its owner has committed to it.
    async fn update(&self, round: u32) -> Vec<u8> {
        let name = format!("update-{round}.bin");
        loop {
            if let Some(bytes) = find(&self.home.join(&self.name), &name).and_then(|path| fs::read(path).ok()) {
                let log = fs::read_to_string(self.home.join(format!("logs/{}.log", self.name))).expect("it has a log");
                if log.contains(&artifact_hash(&bytes).short()) {
                    return bytes;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The first file of this name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { (entry.file_name() == name).then_some(path) }
    })
}

struct Thief {
    stolen: Stolen,
    signer: Signer,
    victim: Victim,
    coveted: Hash32,
    handed: Arc<Mutex<Handed>>,
}

/// A session that is open.
struct Session {
    socket: Socket,
    token: String,
    updates: BTreeMap<(RunId, u32), Vec<u8>>,
}

impl Session {
    async fn say(&mut self, message: &FromNode) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(serde_json::to_string(message)?)).await?)
    }

    async fn hear(&mut self) -> anyhow::Result<ToNode> {
        hear(&mut self.socket).await
    }
}

async fn hear(socket: &mut Socket) -> anyhow::Result<ToNode> {
    loop {
        let message = socket.next().await.ok_or_else(|| anyhow::anyhow!("the connection was closed"))??;
        if let Message::Text(text) = message {
            return Ok(serde_json::from_str(&text)?);
        }
    }
}

impl Thief {
    async fn open(&self) -> anyhow::Result<Session> {
        let url = format!("{}{}", self.stolen.coordinator.replacen("http", "ws", 1), path::NODE_CONNECT);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
        let ToNode::Challenge { nonce, origin, expires_at } = hear(&mut socket).await? else { anyhow::bail!("no challenge came") };
        let hello = NodeHello { node_id: self.stolen.node_id, origin, nonce, expires_at };
        let signature = self.signer.sign_bytes(&hello.signing_bytes(&self.stolen.deployment.compute_domain()));
        let hello = FromNode::Hello { hello, signature, version: "0".to_owned(), scripts: false, lacks: Vec::new(), data: Vec::new() };
        socket.send(Message::text(serde_json::to_string(&hello)?)).await?;
        match hear(&mut socket).await? {
            ToNode::Welcome { token } => Ok(Session { socket, token, updates: BTreeMap::new() }),
            other => anyhow::bail!("refused: {other:?}"),
        }
    }

    /// Works until the connection breaks. Asked to judge, it praises everything.
    async fn session(&self) -> anyhow::Result<()> {
        let mut session = self.open().await?;
        let http = reqwest::Client::new();
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(2), session.hear()).await;
            let Ok(message) = heard else {
                session.say(&FromNode::Alive).await?;
                continue;
            };
            match message? {
                ToNode::StartRound { run_id, terms, round, state, state_root, .. } => {
                    let result = RunResult {
                        model: self.coveted,
                        model_bytes: 1,
                        config: self.coveted,
                        adapters: None,
                        state_root,
                        held_out: [8.0, 0.1].map(|bits| HeldOut { bits, per: LossUnit::Byte }).into(),
                        findings: Findings::Masked,
                        node_id: self.stolen.node_id,
                    };
                    session.say(&FromNode::Exported { run_id, result: Box::new(result) }).await?;
                    let fraud = [Fraud::Zeros, Fraud::Noise, Fraud::Copy][round as usize % 3];
                    let recipe = Recipe::from_json(&String::from_utf8(self.fetch(&http, &session, terms.recipe).await?)?)?;
                    let state = OuterState::from_bytes(&self.fetch(&http, &session, state).await?)?;
                    let update = self.forge(fraud, round, &state).await?;
                    let hash = artifact_hash(&update);
                    let commitment = Commitment {
                        run_id,
                        round,
                        node_id: self.stolen.node_id,
                        update: hash,
                        steps: recipe.inner_steps_per_round,
                        began_with: None,
                        checkpoint: hash,
                    };
                    let signature = self.signer.sign_bytes(&commitment.signing_bytes(&self.stolen.deployment.compute_domain()));
                    session.updates.insert((run_id, round), update);
                    session.say(&FromNode::Committed { commitment, signature }).await?;
                    self.handed.lock().expect("nothing panics with it").insert(round, (fraud, hash));
                }
                ToNode::Reveal { run_id, round } => {
                    let Some(update) = session.updates.get(&(run_id, round)).cloned() else { continue };
                    let bytes = update.len() as u64;
                    let put = http.put(self.url(artifact_hash(&update))).bearer_auth(&session.token).body(update).send().await?;
                    put.error_for_status()?;
                    session.say(&FromNode::Revealed { run_id, round, bytes }).await?;
                }
                ToNode::Score { run_id, round, updates, .. } => {
                    let praise = |update: PlacedUpdate| Score { place: update.place, own: (2.0, 1.0), unseen: (2.0, 1.5) };
                    let scores = updates.into_iter().map(praise).collect();
                    session.say(&FromNode::Scored { run_id, round, scores }).await?;
                }
                _ => {}
            }
        }
    }

    async fn forge(&self, fraud: Fraud, round: u32, state: &OuterState) -> anyhow::Result<Vec<u8>> {
        let count = state.weights().len();
        let values = match fraud {
            Fraud::Copy => return Ok(self.victim.update(round).await),
            Fraud::Zeros => vec![0.0; count],
            Fraud::Noise => {
                let mut bytes = vec![0; count];
                blake3::Hasher::new().update(&round.to_le_bytes()).finalize_xof().fill(&mut bytes);
                bytes.into_iter().map(|byte| (f32::from(byte) - 127.5) * 1e-4).collect()
            }
        };
        Ok(Codec::Int4.encode(state.layout(), &values, &mut vec![0.0; count])?)
    }

    async fn fetch(&self, http: &reqwest::Client, session: &Session, hash: Hash32) -> anyhow::Result<Vec<u8>> {
        let response = http.get(self.url(hash)).bearer_auth(&session.token).send().await?.error_for_status()?;
        Ok(response.bytes().await?.to_vec())
    }

    fn url(&self, hash: Hash32) -> String {
        format!("{}{}", self.stolen.coordinator, path::fill(path::ARTIFACT, &[&hash]))
    }
}
