//! Tests of the HTTP side in process: logins, rights to artifacts, bad input, nodes that are not registered.
//! Long because each test asks the whole service, which stands here.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::{
    artifacts::{Access, Artifacts},
    board::Board,
    chain::{Chain, Observer, fake::FakeChain, observe::read_listings},
    clock,
    compute::Compute,
    db::{Db, WorkKind},
    engine::Engine,
    hub::Hub,
    outbox::Outbox,
    streams::Streams,
};
use axum::{
    body::Body,
    http::{Request, Response, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use starling_contract_api::{
    billing::EscrowView,
    hub::{Licence, MeteredUse},
    rpc::Signer,
};
use starling_http_api::{
    artifact::{CHUNK_BYTES, Manifest, UploadState},
    login::{Challenge, nep413_bytes},
    node::{FromNode, ToNode},
    run::RoundView,
};
use starling_primitives::{
    Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, NodeId, PublicKey, RunId, Signature, Text, TimestampMs,
};
use starling_protocol::{
    escrow::{Authority, Bounds, Escrow, Event, OpenTerms, Posting},
    listing::{Category, File, Kind, Listing, Ratings, Version},
    node::{Capability, DeviceKind, Node},
    run::RunState,
    signing::{Commitment, NodeHello, SignedCommitment},
};
use starling_rounds::recipe::Recipe;
use tower::ServiceExt as _;

const ORIGIN: &str = "http://127.0.0.1:8700";

struct World {
    _dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    chain: Arc<FakeChain>,
    app: App,
}

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

fn alice() -> Signer {
    Signer::from_seed(account("alice.starling"), [1; 32])
}

fn hash_of(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\npublic_origin = \"{ORIGIN}\"\nrpc_url = \"http://127.0.0.1:1\"\npublic_rpc_url = \"http://127.0.0.1:1\"\nnetwork_name = \"test\"\nkey_file = \"k\"\ndata_dir = \"d\"\ndashboard_dir = {:?}\n\
             [deployment]\nchain_id = \"starling-test\"\ninstance = 1\nbilling = \"billing.starling\"\ncompute = \"compute.starling\"\nhub = \"hub.starling\"\nmarket = \"market.starling\"\n",
            dir.path()
        );
        std::fs::write(dir.path().join("c.toml"), text).unwrap();
        std::fs::write(dir.path().join("index.html"), "<html><head></head></html>").unwrap();
        let config = Arc::new(Config::load(&dir.path().join("c.toml")).unwrap());
        let db = Db::open(&dir.path().join("db.sqlite")).await.unwrap();
        let chain = Arc::new(FakeChain::default());
        for (signer, full) in [
            (alice(), true),
            (Signer::from_seed(account("bob.starling"), [2; 32]), true),
            (Signer::from_seed(account("carol.starling"), [3; 32]), false),
        ] {
            chain.0.lock().unwrap().keys.push((signer.account().clone(), signer.public_key(), full));
        }
        let port: Arc<dyn Chain> = chain.clone();
        let wake = Arc::default();
        let (mut observer, facts) =
            Observer::new(port.clone(), db.clone(), [account("hub.starling"), account("market.starling")], Arc::clone(&wake))
                .await
                .unwrap();
        observer.read().await.unwrap();
        let (hub, nodes) = Hub::new(8);
        let artifacts = Artifacts::local(dir.path(), db.clone()).unwrap();
        let tools = Tools {
            compute: Compute::new(artifacts.clone(), db.clone()),
            artifacts,
            access: Access::new(db.clone(), port.clone(), facts.clone()),
            outbox: Outbox::new(db.clone(), port.clone(), wake),
            streams: Streams::new(|| clock::now().0),
            board: Board::default(),
            deployment: config.deployment.clone(),
            hub: hub.clone(),
            chain: port.clone(),
            db: db.clone(),
            facts,
        };
        let (_engine, ear) = Engine::new(tools.clone(), nodes);
        let auth = Auth::new(db, port, hub, ORIGIN, "starling-test", 1_000);
        let (stop, stopping) = watch::channel(false);
        let app = App::new(tools, auth, ear, config, ORIGIN, account("coordinator.starling"), stopping.clone(), stopping);
        Self { _dir: dir, stop, chain, app }
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        router(self.app.clone()).oneshot(request).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Vec<u8>) -> (u16, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = self.send(request.body(Body::from(body)).unwrap()).await;
        let status = response.status().as_u16();
        (status, axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec())
    }

    /// Status and stable code of a refusal.
    async fn refusal(&self, method: &str, path: &str, token: Option<&str>, body: Value) -> (u16, String) {
        let (status, answer) = self.ask(method, path, token, body.to_string().into_bytes()).await;
        let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn challenge(&self) -> Challenge {
        let (status, body) = self.ask("POST", path::LOGIN_CHALLENGE, None, b"{\"account_id\":null}".to_vec()).await;
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    async fn login(&self, signer: &Signer) -> String {
        let (status, body) = self.ask("POST", path::LOGIN, None, signed(signer, &self.challenge().await).to_string().into_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice::<Value>(&body).unwrap()["token"].as_str().unwrap().to_owned()
    }

    async fn upload(&self, token: &str, bytes: &[u8]) -> Hash32 {
        let hash = hash_of(bytes);
        let (status, _) = self.ask("PUT", &path::fill(path::ARTIFACT, &[&hash]), Some(token), bytes.to_vec()).await;
        assert_eq!(status, 200);
        hash
    }

    async fn read(&self, token: Option<&str>, hash: Hash32) -> u16 {
        self.ask("GET", &path::fill(path::ARTIFACT, &[&hash]), token, Vec::new()).await.0
    }
}

fn signed(signer: &Signer, challenge: &Challenge) -> Value {
    let nonce: [u8; 32] = STANDARD.decode(&challenge.nonce).unwrap().try_into().unwrap();
    let digest = Hash32::sha256(&nep413_bytes(&challenge.message, nonce, &challenge.recipient));
    json!({"account_id": signer.account(), "public_key": signer.public_key(), "signature": signer.sign_bytes(&digest.0), "nonce": challenge.nonce})
}

#[tokio::test]
async fn login__should_open_a_session_and_be_used_once() {
    let world = World::new().await;
    let challenge = world.challenge().await;
    assert!(challenge.message.contains(ORIGIN) && challenge.message.contains("starling-test") && challenge.message.contains("Valid until"));
    let request = signed(&alice(), &challenge);
    let (status, body) = world.ask("POST", path::LOGIN, None, request.to_string().into_bytes()).await;
    assert_eq!(status, 200);
    let token = serde_json::from_slice::<Value>(&body).unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(world.ask("GET", path::SESSION, Some(&token), Vec::new()).await.0, 200);
    assert_eq!(world.refusal("POST", path::LOGIN, None, request).await, (401, "login_replayed".to_owned()));
    assert_eq!(world.ask("POST", path::LOGOUT, Some(&token), Vec::new()).await.0, 204);
    assert_eq!(world.refusal("GET", path::SESSION, Some(&token), Value::Null).await, (401, "login_needed".to_owned()));
}

#[tokio::test]
async fn login__should_refuse_what_is_not_a_full_key_of_this_account_site_and_chain() {
    let world = World::new().await;
    let limited = Signer::from_seed(account("carol.starling"), [3; 32]);
    let stranger = Signer::from_seed(account("alice.starling"), [4; 32]);
    for (signer, code) in [(&limited, "login_key_limited"), (&stranger, "login_key_unknown")] {
        let request = signed(signer, &world.challenge().await);
        assert_eq!(world.refusal("POST", path::LOGIN, None, request).await, (401, code.to_owned()));
    }
    let changes: [fn(&mut Challenge); 2] = [
        |challenge| challenge.message = challenge.message.replace("starling-test", "mainnet"),
        |challenge| challenge.recipient = "http://evil.example".to_owned(),
    ];
    for change in changes {
        let mut challenge = world.challenge().await;
        change(&mut challenge);
        assert_eq!(world.refusal("POST", path::LOGIN, None, signed(&alice(), &challenge)).await, (401, "login_signature_wrong".to_owned()));
    }
    let foreign = Challenge { nonce: STANDARD.encode([5; 32]), ..world.challenge().await };
    assert_eq!(world.refusal("POST", path::LOGIN, None, signed(&alice(), &foreign)).await, (401, "login_unknown".to_owned()));
}

#[tokio::test]
async fn login__should_refuse_an_expired_challenge() {
    let world = World::new().await;
    let nonce = [6; 32];
    let now = clock::now();
    world.app.tools.db.add_challenge(&nonce, "text", None, TimestampMs(now.0 - 1), now).await.unwrap();
    let challenge = Challenge { message: "text".to_owned(), recipient: ORIGIN.to_owned(), nonce: STANDARD.encode(nonce), expires_at: now };
    assert_eq!(world.refusal("POST", path::LOGIN, None, signed(&alice(), &challenge)).await, (401, "login_expired".to_owned()));
}

#[tokio::test]
async fn cookie__should_change_things_only_from_our_own_origin() {
    let world = World::new().await;
    let request = Request::post(path::LOGIN)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(signed(&alice(), &world.challenge().await).to_string()))
        .unwrap();
    let response = world.send(request).await;
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Path=/") && !cookie.contains("Secure"));
    let pair = cookie.split(';').next().unwrap().to_owned();
    let hash = hash_of(b"bytes");
    for (origin, expect) in [(None, 403), (Some("http://evil.example"), 403), (Some(ORIGIN), 200)] {
        let mut request = Request::put(path::fill(path::ARTIFACT, &[&hash])).header(header::COOKIE, &pair);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        assert_eq!(world.send(request.body(Body::from("bytes")).unwrap()).await.status().as_u16(), expect, "{origin:?}");
    }
    let read = Request::get(path::SESSION).header(header::COOKIE, &pair).body(Body::empty()).unwrap();
    assert_eq!(world.send(read).await.status().as_u16(), 200);
}

#[tokio::test]
async fn artifact__should_be_for_its_owner_and_whole() {
    let world = World::new().await;
    let (alice, bob) = (world.login(&alice()).await, world.login(&Signer::from_seed(account("bob.starling"), [2; 32])).await);
    let hash = world.upload(&alice, b"0123456789").await;
    assert_eq!((world.read(Some(&alice), hash).await, world.read(Some(&bob), hash).await, world.read(None, hash).await), (200, 404, 404));
    let request = Request::get(path::fill(path::ARTIFACT, &[&hash]))
        .header(header::AUTHORIZATION, format!("Bearer {alice}"))
        .header(header::RANGE, "bytes=2-4")
        .body(Body::empty())
        .unwrap();
    let response = world.send(request).await;
    assert_eq!((response.status().as_u16(), response.headers()[header::CONTENT_RANGE].to_str().unwrap()), (206, "bytes 2-4/10"));
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "234");
    let other = path::fill(path::ARTIFACT, &[&hash_of(b"other")]);
    assert_eq!(world.refusal("PUT", &other, Some(&alice), json!("damaged")).await, (422, "chunk_damaged".to_owned()));
    assert_eq!(world.refusal("PUT", &other, None, json!("other")).await, (401, "login_needed".to_owned()));
    assert_eq!(world.refusal("PUT", "/api/v1/artifacts/xyz", Some(&alice), json!("x")).await, (400, "hash_malformed".to_owned()));
}

#[tokio::test]
async fn operator__should_see_requests_by_route_and_an_end_that_comes() {
    let world = World::new().await;
    let alice = world.login(&alice()).await;
    for hash in [hash_of(b"one"), hash_of(b"two")] {
        assert_eq!(world.read(Some(&alice), hash).await, 404);
    }
    assert_eq!(world.ask("GET", "/api/v1/nothing/like/this", None, Vec::new()).await.0, 404);
    let ask = async |path: &str| {
        let response = operator_router(world.app.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    };
    let (status, text) = ask("/metrics").await;
    assert_eq!(status, 200);
    let seconds = "starling_http_request_seconds_count{route=\"/api/v1/artifacts/{}\",method=\"GET\",status=\"404\"} 2";
    assert!(text.contains(seconds) && text.contains("starling_nodes_connected 0") && text.contains("starling_outbox_waiting 0"), "{text}");
    assert!(!text.contains("nothing/like/this"), "a stranger's path is no entry: {text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(world.refusal("GET", path::READY, None, json!(null)).await, (503, "not_ready".to_owned()), "its chain has no block");
    world.stop.send_replace(true);
    assert_eq!((ask("/health").await.0, ask("/ready").await.0), (200, 503));
    assert_eq!(world.refusal("GET", path::READY, None, json!(null)).await, (503, "stopping".to_owned()));
    let public = String::from_utf8(world.ask("GET", "/metrics", None, Vec::new()).await.1).unwrap();
    assert!(!public.contains("starling_"), "the public sees none of it: {public}");
}

#[tokio::test]
async fn address__should_be_refused_when_it_asks_too_much() {
    let world = World::new().await;
    let (router, mut last) = (router(world.app.clone()), 0);
    for _ in 0..20_000 {
        let mut request = Request::get(path::HEALTH).body(Body::empty()).unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(std::net::SocketAddr::from(([9, 9, 9, 9], 1))));
        let response = router.clone().oneshot(request).await.unwrap();
        last = response.status().as_u16();
        if last == 429 {
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            break;
        }
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn download__should_follow_ranges_and_the_validator() {
    let world = World::new().await;
    let alice = world.login(&alice()).await;
    let hash = world.upload(&alice, b"0123456789").await;
    let (tag, other) = (format!("\"{hash}\""), format!("\"{}\"", hash_of(b"other")));
    let empty = world.upload(&alice, b"").await;
    for (hash, range, validator, expect) in [
        (hash, "bytes=2-4", None, (206, "bytes 2-4/10", "234")),
        (hash, "bytes=8-99", None, (206, "bytes 8-9/10", "89")),
        (hash, "bytes=7-", None, (206, "bytes 7-9/10", "789")),
        (hash, "bytes=-3", None, (206, "bytes 7-9/10", "789")),
        (hash, "bytes=2-4", Some((header::IF_RANGE, &tag)), (206, "bytes 2-4/10", "234")),
        (hash, "bytes=2-4", Some((header::IF_RANGE, &other)), (200, "", "0123456789")),
        (hash, "bytes=2-4", Some((header::IF_NONE_MATCH, &tag)), (304, "", "")),
        (hash, "bytes=0-1,4-5", None, (200, "", "0123456789")),
        (hash, "lines=0-1", None, (200, "", "0123456789")),
        (hash, "bytes=10-", None, (416, "bytes */10", "")),
        (empty, "bytes=0-7", None, (200, "", "")),
    ] {
        let mut request = Request::get(path::fill(path::ARTIFACT, &[&hash]))
            .header(header::AUTHORIZATION, format!("Bearer {alice}"))
            .header(header::RANGE, range);
        if let Some((name, value)) = &validator {
            request = request.header(name, value.as_str());
        }
        let response = world.send(request.body(Body::empty()).unwrap()).await;
        let status = response.status().as_u16();
        let told = response.headers().get(header::CONTENT_RANGE).map_or("", |range| range.to_str().unwrap()).to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        let body = if status == 416 { "" } else { std::str::from_utf8(&body).unwrap() };
        assert_eq!((status, told.as_str(), body), expect, "{range} {validator:?}");
    }
}

#[tokio::test]
async fn upload__should_go_on_over_many_interruptions_with_one_chunk_sent_again_each() {
    let world = World::new().await;
    let (alice, bob) = (world.login(&alice()).await, world.login(&Signer::from_seed(account("bob.starling"), [2; 32])).await);
    let size = usize::try_from(CHUNK_BYTES).unwrap();
    let whole: Vec<u8> = (0..4 * size + 99).map(|i| u8::try_from(i % 249).unwrap()).collect();
    let (manifest, hash) = (Manifest::of(&whole), hash_of(&whole));
    let begin = path::fill(path::ARTIFACT_UPLOAD, &[&hash]);
    let announced = serde_json::to_vec(&manifest).unwrap();
    let (mut chunks_sent, mut interruptions) = (0, 0);
    loop {
        let (status, answer) = world.ask("POST", &begin, Some(&alice), announced.clone()).await;
        assert_eq!(status, 200);
        let state: UploadState = serde_json::from_slice(&answer).unwrap();
        let Some(&number) = state.missing.first() else { break };
        let range = manifest.range(number);
        let chunk = &whole[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        chunks_sent += 1;
        let chunk_path = path::fill(path::ARTIFACT_CHUNK, &[&hash, &number]);
        // Each chunk breaks off three times: before its first byte, in the middle, and just before its end.
        for kept in [0, chunk.len() / 2, chunk.len() - 1] {
            let parts = [Ok(axum::body::Bytes::copy_from_slice(&chunk[..kept])), Err("the line broke")];
            let request = Request::put(&chunk_path).header(header::AUTHORIZATION, format!("Bearer {alice}"));
            let broken = world.send(request.body(Body::from_stream(futures_util::stream::iter(parts))).unwrap()).await;
            assert_eq!(broken.status().as_u16(), 400);
            interruptions += 1;
        }
        let mut damaged = chunk.to_vec();
        damaged[chunk.len() / 2] ^= 4;
        let (status, problem) = world.ask("PUT", &chunk_path, Some(&alice), damaged).await;
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!((status, &problem["code"]), (422, &json!("chunk_damaged")));
        assert!(problem["detail"].as_str().unwrap().contains(&format!("chunk {number} ")), "{problem}");
        assert_eq!(world.ask("PUT", &chunk_path, Some(&alice), chunk.to_vec()).await.0, 204);
    }
    assert_eq!((chunks_sent, interruptions), (5, 15));
    assert_eq!(world.read(Some(&alice), hash).await, 404, "it is not there before it is whole");
    assert_eq!(world.ask("POST", &path::fill(path::ARTIFACT_FINISH, &[&hash]), Some(&alice), Vec::new()).await.0, 200);
    let manifest_path = path::fill(path::ARTIFACT_MANIFEST, &[&hash]);
    assert_eq!((world.read(Some(&alice), hash).await, world.read(Some(&bob), hash).await, world.read(None, hash).await), (200, 404, 404));
    assert_eq!(world.ask("GET", &manifest_path, Some(&bob), Vec::new()).await.0, 404);
    assert_eq!(serde_json::from_slice::<Manifest>(&world.ask("GET", &manifest_path, Some(&alice), Vec::new()).await.1).unwrap(), manifest);
    // Too much for one request, and given up.
    assert_eq!(world.refusal("PUT", &path::fill(path::ARTIFACT_CHUNK, &[&hash, &0]), None, json!("x")).await.0, 401);
    assert_eq!(world.ask("PUT", &path::fill(path::ARTIFACT, &[&hash]), Some(&alice), whole).await.0, 413);
    assert_eq!(world.ask("DELETE", &path::fill(path::ARTIFACT, &[&hash]), Some(&bob), Vec::new()).await.0, 404);
    assert_eq!(world.ask("DELETE", &path::fill(path::ARTIFACT, &[&hash]), Some(&alice), Vec::new()).await.0, 204);
    assert_eq!(world.read(Some(&alice), hash).await, 404);
}

fn listing(name: &str, price: u128, hash: Hash32) -> Listing {
    Listing {
        name: name.parse::<AssetName>().unwrap(),
        kind: Kind::Model,
        category: Category::TextGeneration,
        title: Text::default(),
        summary: Text::default(),
        licence: Text::default(),
        asset: Asset::Near,
        price: Amount(price),
        price_per_use: None,
        parents: Vec::new(),
        shares: Vec::new(),
        royalty: BasisPoints::ZERO,
        versions: vec![Version {
            files: vec![File { name: Text::default(), hash, bytes: 4 }],
            run_id: None,
            note: Text::default(),
            published_at: TimestampMs(0),
        }],
        sold: 0,
        ratings: Ratings::default(),
        delisted: false,
        published_at: TimestampMs(0),
    }
}

#[tokio::test]
async fn listed_artifact__should_be_readable_by_licence_and_only_if_it_is_the_publishers() {
    let world = World::new().await;
    let (alice, bob) = (world.login(&alice()).await, world.login(&Signer::from_seed(account("bob.starling"), [2; 32])).await);
    let (paid, free, stolen) =
        (world.upload(&alice, b"paid").await, world.upload(&alice, b"free").await, world.upload(&alice, b"private").await);
    let last = world.upload(&alice, b"last").await;
    world.chain.0.lock().unwrap().listings = vec![
        listing("alice.starling/paid", 5, paid),
        listing("alice.starling/free", 0, free),
        listing("mallory.starling/stolen", 0, stolen),
        listing("alice.starling/last", 0, last),
    ];
    assert_eq!(
        (world.read(Some(&bob), paid).await, world.read(Some(&bob), free).await, world.read(Some(&bob), stolen).await),
        (404, 200, 404)
    );
    assert_eq!(world.read(Some(&bob), last).await, 200, "the list is read to its end, page by page");
    let licence = Licence {
        holder: account("bob.starling"),
        name: "alice.starling/paid".parse().unwrap(),
        asset: Asset::Near,
        price: Amount(5),
        escrow_id: Some(EscrowId(1)),
        bought_at: TimestampMs(0),
    };
    world.chain.0.lock().unwrap().licences.push(licence);
    assert_eq!((world.read(Some(&bob), paid).await, world.read(None, paid).await), (200, 404));
}

/// Bob's metered use of a listing of Alice's at 5 yoctoNEAR a use, of whose deposit so much was brought by vouchers.
pub(crate) fn use_of_bob(posted: u128, until: TimestampMs) -> (MeteredUse, EscrowView) {
    let (bob, shop, publisher) = (account("bob.starling"), account("hub.starling"), account("alice.starling"));
    let (now, deposit, authority) = (clock::now(), Amount(50), Authority::Voucher(PublicKey([8; 32])));
    let bounds = Bounds {
        expires_by: now.after(DurationMs::from_days(6)),
        post_at_once: Amount::ZERO,
        fee: BasisPoints::ZERO,
        holdback: BasisPoints::ZERO,
        voucher: Some(PublicKey([8; 32])),
        objection_window: DurationMs(0),
    };
    let expires_at = bounds.expires_by;
    let held = Escrow::hold(bob.clone(), shop, Asset::Near, deposit, bounds, BasisPoints::ZERO, now).unwrap();
    let terms = OpenTerms {
        authority,
        expires_at,
        grace: DurationMs::from_days(1),
        holdback: BasisPoints::ZERO,
        availability: DurationMs(0),
        max_payees: 1,
        parts: Vec::new(),
        postings: vec![Posting { payee: publisher.clone(), total: Amount::ZERO }],
        close: false,
        objection_window: DurationMs(0),
    };
    let open = held.apply(Event::Open(terms), now, |_| true).unwrap().0;
    let voucher = Event::Post { by: authority, seq: 1, postings: vec![Posting { payee: publisher, total: Amount(posted) }], close: false };
    let escrow = open.apply(voucher, now, |_| true).unwrap().0;
    let name = "alice.starling/paid".parse().unwrap();
    let metered = MeteredUse {
        holder: bob,
        name,
        asset: Asset::Near,
        price_per_use: Amount(5),
        escrow_id: EscrowId(7),
        paid_at: TimestampMs(0),
        until,
    };
    let view = EscrowView {
        id: EscrowId(7),
        available: Amount(50 - posted),
        pending: Amount::ZERO,
        posted: Amount(posted),
        storage: Amount::ZERO,
        escrow,
    };
    (metered, view)
}

#[tokio::test]
async fn metered_use__should_lend_a_file_to_as_many_leases_as_its_vouchers_pay_and_never_to_its_holder() {
    let world = World::new().await;
    let (alice, bob) = (world.login(&alice()).await, world.login(&Signer::from_seed(account("bob.starling"), [2; 32])).await);
    let paid = world.upload(&alice, b"paid").await;
    world.chain.0.lock().unwrap().listings = vec![listing("alice.starling/paid", 20, paid)];
    // The gate learns of a listing's files from the chain.
    let tools = &world.app.tools;
    read_listings(&*tools.chain, &tools.db, &[account("hub.starling")]).await.unwrap();
    let tenant = account("bob.starling");
    let lent = async |lease: u64| tools.access.may_work_with(&tenant, paid, LeaseId(lease)).await.unwrap();
    let pay = |posted: u128, until: TimestampMs| {
        let (metered, escrow) = use_of_bob(posted, until);
        let mut answers = world.chain.0.lock().unwrap();
        (answers.uses, answers.escrows) = (vec![metered], vec![escrow]);
    };
    let open = clock::now().after(DurationMs::from_days(1));
    assert!(!lent(1).await, "without a use");
    pay(4, open);
    assert!(!lent(1).await, "a voucher of less than a use");
    pay(10, open);
    assert!(lent(1).await && lent(1).await && lent(2).await && !lent(3).await, "two uses, a lease each");
    assert_eq!(world.read(Some(&bob), paid).await, 404, "a use is no licence");
    pay(15, open);
    assert!(lent(3).await && !lent(4).await, "one voucher more, one lease more");
    pay(50, TimestampMs(1));
    assert!(!lent(4).await, "a use that is over");
}

type Change<'a> = &'a dyn Fn(&mut Value);

#[tokio::test]
async fn prepare__should_say_what_is_wrong() {
    let world = World::new().await;
    let token = world.login(&alice()).await;
    let (data, empty) = (world.upload(&token, b"some text").await, world.upload(&token, b"").await);
    let recipe = Recipe::preset("tiny").unwrap().to_toml().unwrap();
    let request = |change: &dyn Fn(&mut Value)| {
        let mut request = json!({"recipe": recipe, "data": data, "held_out": null, "base": "fresh", "max_nodes": 3, "min_nodes": 1, "price_per_million_tokens": "5", "meter": PublicKey([9; 32])});
        change(&mut request);
        request
    };
    let unknown = Hash32([1; 32]);
    let cases: [(&str, u16, Change<'_>); 8] = [
        ("no_nodes_connected", 503, &|_| {}),
        ("data_empty", 422, &|request| request["data"] = json!(empty)),
        ("data_unknown", 422, &|request| request["data"] = json!(unknown)),
        ("model_unknown", 422, &|request| request["base"] = json!({"model": {"model": unknown, "name": null}})),
        ("recipe_invalid", 422, &|request| request["recipe"] = json!(format!("sped = 1\n{recipe}"))),
        ("recipe_invalid", 422, &|request| request["recipe"] = json!(recipe.replace("heads = 2", "heads = 3"))),
        ("nodes_invalid", 422, &|request| request["min_nodes"] = json!(4)),
        ("held_out_is_data", 422, &|request| request["held_out"] = request["data"].clone()),
    ];
    for (code, status, change) in cases {
        assert_eq!(world.refusal("POST", path::PREPARE_RUN, Some(&token), request(change)).await, (status, code.to_owned()));
    }
    assert_eq!(world.refusal("POST", path::PREPARE_RUN, Some(&token), json!({"sped": 1})).await, (400, "body_malformed".to_owned()));
    // A record is an object, at the top and within.
    assert_eq!(world.refusal("POST", path::LOGIN_CHALLENGE, None, json!([null])).await, (400, "body_malformed".to_owned()));
    let within: Change<'_> = &|request| request["base"] = json!({"model": [unknown, null]});
    assert_eq!(world.refusal("POST", path::PREPARE_RUN, Some(&token), request(within)).await, (400, "body_malformed".to_owned()));
    assert_eq!(world.refusal("GET", "/api/v1/runs/seven", None, Value::Null).await, (400, "path_malformed".to_owned()));
    assert_eq!(world.refusal("POST", path::PREPARE_RUN, None, request(&|_| {})).await, (401, "login_needed".to_owned()));
}

#[tokio::test]
async fn page__should_answer_unknown_paths_with_a_fresh_nonce_and_the_api_with_problems() {
    let world = World::new().await;
    let mut policies = Vec::new();
    for uri in ["/", "/runs/3"] {
        let response = world.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status().as_u16(), 200, "{uri}");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let page = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap().to_owned();
        assert!(String::from_utf8_lossy(&page).contains(&nonce) && policy.contains("default-src 'self'"));
        policies.push(policy);
    }
    assert_ne!(policies[0], policies[1]);
    for uri in ["/missing-file.js", "/api/v1/nothing"] {
        assert_eq!(world.send(Request::get(uri).body(Body::empty()).unwrap()).await.status().as_u16(), 404, "{uri}");
    }
}

#[tokio::test]
async fn node__should_be_let_in_only_with_its_registered_key() {
    let world = World::new().await;
    let signer = Signer::from_seed(account("bob.starling"), [7; 32]);
    let capability = Capability { kind: DeviceKind::Cpu, device: Text::default(), memory_bytes: 1, threads: 1, matrix_gflops: 1 };
    let node = Node {
        id: NodeId(1),
        provider: account("bob.starling"),
        payout: account("bob.starling"),
        key: signer.public_key(),
        capability,
        stake: None,
        registered_at: TimestampMs(0),
        retired: false,
    };
    world.chain.0.lock().unwrap().nodes.push(node);
    let direct = served(router(world.app.clone())).await;
    // The same over another program on the same database.
    let leader = watch::Sender::new(Leader::At(served(replica_router(world.app.clone())).await));
    let following = world.app.clone().with_leader(leader.subscribe());
    let over_another = served(router(following)).await;
    let stranger = Signer::from_seed(account("bob.starling"), [8; 32]);
    for (address, node_id, key, chain_id, expect) in [
        (direct, 1, &signer, "starling-test", "welcome"),
        (over_another, 1, &signer, "starling-test", "welcome"),
        (direct, 1, &stranger, "starling-test", "node_key_unregistered"),
        (direct, 1, &signer, "mainnet", "node_key_unregistered"),
        (over_another, 2, &signer, "starling-test", "node_unregistered"),
    ] {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}{}", path::NODE_CONNECT)).await.unwrap();
        let challenge = socket.next().await.unwrap().unwrap().into_text().unwrap();
        let ToNode::Challenge { nonce, origin, expires_at } = serde_json::from_str(&challenge).unwrap() else { panic!("no challenge") };
        assert_eq!(origin, ORIGIN);
        let hello = NodeHello { node_id: NodeId(node_id), origin, nonce, expires_at };
        let mut domain = world.app.config.deployment.compute_domain();
        domain.chain_id = chain_id.to_owned();
        let signature = key.sign_bytes(&hello.signing_bytes(&domain));
        let text = serde_json::to_string(&FromNode::Hello {
            hello,
            signature,
            version: "1".to_owned(),
            scripts: false,
            lacks: Vec::new(),
            data: Vec::new(),
        })
        .unwrap();
        socket.send(tokio_tungstenite::tungstenite::Message::text(text)).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
        match serde_json::from_str(&answer).unwrap() {
            ToNode::Welcome { token } => assert_eq!((expect, world.app.tools.hub.token_owner(&token)), ("welcome", Some(NodeId(1)))),
            ToNode::Refused { code, .. } => assert_eq!(code, expect),
            other => panic!("{other:?}"),
        }
    }
}

/// Serves until the test ends, and says where.
async fn served(router: Router) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

#[tokio::test]
async fn request__should_be_passed_on_once_to_the_leading_program_where_that_alone_knows() {
    let (leading, following) = (World::new().await, World::new().await);
    let leader = watch::Sender::new(Leader::Nobody);
    let app = following.app.clone().with_leader(leader.subscribe());
    let ask = async |router: Router, method: &str, uri: &str, token: &str| {
        let request = Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.extension(axum::extract::ConnectInfo(std::net::SocketAddr::from(([10, 0, 0, 7], 1))));
        let response = router.oneshot(request.body(Body::from("bytes")).unwrap()).await.unwrap();
        (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER))
    };
    assert_eq!(ask(router(app.clone()), "GET", path::NODES, "").await, (503, true), "nobody leads");
    assert_eq!(ask(router(app.clone()), "GET", path::NETWORK, "").await.0, 200, "the others need no leader");
    leader.send_replace(Leader::At(served(replica_router(leading.app.clone())).await));
    assert_eq!(ask(router(app.clone()), "GET", path::NODES, "").await.0, 200);
    assert_eq!(ask(replica_router(app.clone()), "GET", path::NODES, "").await, (503, true), "it goes no further");
    // A node's token is known where its connection is.
    let line = leading.app.tools.hub.join(NodeId(1)).await.unwrap();
    let stored = path::ARTIFACT.replace("{hash}", &Hash32(*blake3::hash(b"bytes").as_bytes()).to_string());
    assert!((200..300).contains(&ask(router(app.clone()), "PUT", &stored, &line.token).await.0));
    assert!(leading.app.tools.db.artifact_bytes(Hash32(*blake3::hash(b"bytes").as_bytes())).await.unwrap().is_some());
    leader.send_replace(Leader::At(([127, 0, 0, 1], 1).into()));
    assert_eq!(ask(router(app), "GET", path::NODES, "").await, (503, true), "the leading one is gone");
}

#[tokio::test]
async fn refusal__should_be_a_problem_whatever_refuses() {
    let world = World::new().await;
    for (method, path, status, code) in [
        ("DELETE", path::NETWORK, 405, "method_not_allowed"),
        ("GET", path::NODE_CONNECT, 400, "upgrade_needed"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/runs/x", 400, "path_malformed"),
        ("GET", "/api/v1/runs?limit=x", 400, "query_malformed"),
    ] {
        let response = world.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{path}");
        assert_eq!(response.headers().contains_key(header::ALLOW), status == 405, "{path}");
        assert_eq!(world.refusal(method, path, None, json!({})).await, (status, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn answers__should_ask_browsers_to_stay_with_tls_where_the_origin_has_it() {
    let mut world = World::new().await;
    let ask = async |world: &World| {
        let response = world.send(Request::builder().uri(path::HEALTH).body(Body::empty()).unwrap()).await;
        response.headers().get(header::STRICT_TRANSPORT_SECURITY).is_some()
    };
    assert!(!ask(&world).await);
    Arc::make_mut(&mut world.app.0).origin = "https://starling.example".into();
    assert!(ask(&world).await);
}

#[tokio::test]
async fn checkpoint__should_come_from_its_node_for_the_tenant_alone() {
    let world = World::new().await;
    let run = crate::runs::tests::run_of(RunState::Training { round: 1, deadline: TimestampMs(u64::MAX) });
    world.chain.0.lock().unwrap().runs.push(run);
    let bytes = b"a checkpoint".to_vec();
    let (checkpoint, other) = (hash_of(&bytes), Hash32([8; 32]));
    let commitment = Commitment {
        run_id: RunId(7),
        round: 1,
        node_id: NodeId(2),
        update: other,
        steps: 5,
        began_with: Some(checkpoint),
        checkpoint: other,
    };
    let round = RoundView {
        round: 1,
        statement: None,
        record: None,
        updates: Vec::new(),
        refused: Vec::new(),
        scores: Vec::new(),
        commitments: vec![None, Some(SignedCommitment { commitment, signature: Signature([1; 64]) })],
        rolled_back: false,
        bytes: 0,
        tx: None,
        at: None,
    };
    world.app.tools.db.set_round(RunId(7), &round).await.unwrap();
    let (tenant, bob) = (world.login(&alice()).await, world.login(&Signer::from_seed(account("bob.starling"), [2; 32])).await);
    let ask = async |token: Option<&str>, hash: Hash32| {
        world.refusal("POST", &path::fill(path::RUN_CHECKPOINT, &[&RunId(7), &hash]), token, Value::Null).await
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(ask(None, checkpoint).await, refused(401, "login_needed"));
    assert_eq!(ask(Some(&bob), checkpoint).await, refused(404, "not_found"));
    assert_eq!(ask(Some(&tenant), other).await, refused(404, "not_found"), "no round began with it");
    assert_eq!(ask(Some(&tenant), checkpoint).await, refused(503, "node_away"));

    let hub = world.app.tools.hub.clone();
    let mut line = hub.join(NodeId(2)).await.unwrap();
    let token = line.token.clone();
    let answers = tokio::spawn(async move {
        let mut heard = Vec::new();
        for outcome in [Err("it is gone".to_owned()), Ok(()), Ok(())] {
            let message = *line.queue.recv().await.unwrap();
            let ToNode::ShowCheckpoint { request_id, run_id, checkpoint } = message else { panic!("{message:?}") };
            heard.push((run_id, checkpoint));
            hub.hear(NodeId(2), FromNode::CheckpointShown { request_id, outcome }).await;
        }
        heard
    });
    assert_eq!(ask(Some(&tenant), checkpoint).await, refused(409, "checkpoint_not_shown"), "the node has it no more");
    assert_eq!(ask(Some(&tenant), checkpoint).await, refused(409, "checkpoint_not_shown"), "it says so and brought nothing");
    let (status, _) = world.ask("PUT", &path::fill(path::ARTIFACT, &[&checkpoint]), Some(&token), bytes).await;
    assert_eq!((status, world.read(Some(&tenant), checkpoint).await), (200, 404), "it is the node's own until it is asked for");
    assert_eq!(ask(Some(&tenant), checkpoint).await, refused(204, ""), "it lies here already: nobody is asked");
    let uses = world.app.tools.db.uses(checkpoint).await.unwrap();
    assert!(uses.iter().any(|used| (used.work, used.id, used.made) == (WorkKind::Run, 7, true)), "its tenant may read what the run made");
    answers.abort();
}
