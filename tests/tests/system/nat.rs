//! A provider at home: behind a router that translates addresses, with nothing but TLS between its node and the coordinator.

use crate::{
    Chain, PATIENCE,
    running::{Guarded, Training, program, said, succeed, take_turn, top},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use starling_contract_api::{
    billing::Billing,
    rpc::{RpcClient, Signer},
};
use starling_primitives::{AccountId, Amount};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

/// Says that this process stands where the coordinator does.
const INSIDE: &str = "STARLING_TESTS_ON_SITE";
const SITE: &str = "198.51.100.1";
const COORDINATOR: &str = "198.51.100.1:8443";
const RPC: &str = "198.51.100.1:3443";
const HOME: &str = "192.168.77.2:22";

/// The site is the namespace that this runs in; the router and the home are two more. The router lets out and translates, and lets nobody in.
const NETWORK: [&str; 17] = [
    "ip link set lo up",
    "ip netns add router",
    "ip netns add home",
    "ip link add outside type veth peer name wan netns router",
    "ip addr add 198.51.100.1/24 dev outside",
    "ip link set outside up",
    "ip -n router addr add 198.51.100.2/24 dev wan",
    "ip -n router link set wan up",
    "ip -n router link add lan type veth peer name eth0 netns home",
    "ip -n router addr add 192.168.77.1/24 dev lan",
    "ip -n router link set lan up",
    "ip -n home addr add 192.168.77.2/24 dev eth0",
    "ip -n home link set eth0 up",
    "ip -n home link set lo up",
    "ip -n home route add default via 192.168.77.1",
    "ip netns exec router sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
    "ip netns exec router nft 'table ip home {
        chain out { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }
        chain in { type filter hook forward priority 0; policy drop; ct state established,related accept; iifname \"lan\" accept; }
    }'",
];

/// Repeats this test in a network of its own, where it may make others; what is made there goes with its last process.
fn step_inside(test: &str) {
    let _turn = take_turn();
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let mut enter = Command::new("unshare");
    // Where Debian keeps what administrators use.
    let path = std::env::var("PATH").unwrap_or_default();
    enter.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(["--net", "--mount"]);
    if !is_root {
        enter.args(["--user", "--map-root-user"]);
    }
    let allowed = Command::new(enter.get_program()).args(enter.get_args()).arg("true").output().expect("unshare starts");
    if !allowed.status.success() {
        println!("not shown here: this account may not make a network: {}", String::from_utf8_lossy(&allowed.stderr));
        return;
    }
    // Where the names of networks are kept is private too, so that nothing has to be cleaned up.
    enter.args(["sh", "-c", "mount -t tmpfs none /run && exec \"$@\"", "sh"]).arg(std::env::current_exe().expect("a test has a path"));
    let status = enter.args([test, "--exact", "--nocapture"]).env(INSIDE, "1").status().expect("unshare starts");
    assert!(status.success(), "inside: {status}");
}

/// Coordinator and chain as an operator starts them, with certificates of a private authority.
struct Site {
    folder: tempfile::TempDir,
    chain: Chain,
    _coordinator: Guarded,
}

impl Site {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path();
        let path = |name: &str| home.join(name).display().to_string();
        certificates(home);
        let tls = ["--tls-listen", RPC, "--tls-certificate", &path("certificate.pem"), "--tls-key", &path("key.pem")];
        let chain = Chain::start_with(home, "private", &tls);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(accounts(&chain.rpc, home));
        let network = format!(
            "chain_id = \"private\"\nrpc_url = \"{}\"\nowner = \"owner.near\"\nowner_key_file = \"keys/owner.near.json\"\nfee = 200\nmin_stake = \"1000000000000000000000000\"\n",
            chain.rpc
        );
        fs::write(home.join("network.toml"), network).expect("a file is written");
        let mut deployed = said(&succeed(home, &["deploy", "--network", &path("network.toml"), "--yes"]), "done");
        deployed.as_object_mut().expect("an object").remove("event");
        let settings = json!({
            "listen": COORDINATOR, "public_origin": format!("https://{COORDINATOR}"), "tls_certificate": path("certificate.pem"), "tls_key": path("key.pem"),
            "rpc_url": chain.rpc, "public_rpc_url": format!("https://{RPC}"), "network_name": "private", "key_file": path("coordinator.json"),
            "data_dir": path("coordinator"), "deployment": deployed,
        });
        fs::write(home.join("coordinator.toml"), toml::to_string(&settings).expect("TOML")).expect("a file is written");
        let log = fs::File::create(home.join("coordinator.log")).expect("a log");
        let mut command = Command::new(program("starling-coordinator"));
        let coordinator = Guarded(command.args(["--config", &path("coordinator.toml")]).stderr(log).spawn().expect("it starts"));
        wait_for("the coordinator", || home.join("coordinator/address").exists());
        Self { folder, chain, _coordinator: coordinator }
    }
}

/// A private authority, and certificate and key of the site.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([SITE.to_owned()]).expect("a name").signed_by(&key, &authority).expect("a certificate");
    let authority: &rcgen::Certificate = authority.as_ref();
    for (name, text) in [("ca.pem", authority.pem()), ("certificate.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
        fs::write(folder.join(name), text).expect("a file is written");
    }
}

/// Gives coordinator, provider and tenant accounts of their own.
async fn accounts(rpc: &str, folder: &Path) {
    let rpc = RpcClient::new(rpc);
    let owner = Signer::from_file(&folder.join("keys/owner.near.json")).expect("the owner's key");
    for name in ["coordinator", "provider", "tenant"] {
        let account = owner.account().sub_account(name).expect("a name");
        let signer = Signer::generate(account.clone()).expect("a key");
        signer.write_file(&folder.join(format!("{name}.json"))).expect("a file is written");
        let made = rpc.create_account(&owner, &account, &signer.public_key(), Amount::from_near(1_000)).await;
        made.unwrap_or_else(|error| panic!("{account}: {error}"));
    }
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_there() {
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A command of the provider, at home.
fn at_home(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "home"]).arg(program("starling")).arg("node").args(args);
    command.current_dir(top()).env("XDG_STATE_HOME", folder.join("provider"));
    command
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn nat__should_let_a_provider_at_home_earn_by_three_commands() {
    if std::env::var_os(INSIDE).is_none() {
        return step_inside("nat::nat__should_let_a_provider_at_home_earn_by_three_commands");
    }
    for line in NETWORK {
        let status = Command::new("sh").args(["-c", line]).status().expect("sh starts");
        assert!(status.success(), "{line}: {status}; iproute2 and nftables are installed by `./bootstrap setup test`");
    }
    let site = Site::start();
    let folder = site.folder.path();
    let path = |name: &str| folder.join(name).display().to_string();
    let (origin, rpc_url) = (format!("https://{COORDINATOR}"), format!("https://{RPC}"));
    let login = ["login", "--coordinator", &origin, "--key-file", &path("tenant.json"), "--ca", &path("ca.pem")];
    succeed(folder, &login);
    // The router lets nobody in: the node must dial out, and is seen by the router's address.
    let inwards = TcpStream::connect_timeout(&HOME.parse().expect("an address"), Duration::from_secs(2));
    assert!(inwards.is_err(), "the home can be reached from outside");

    let (ca, key) = (path("ca.pem"), path("provider.json"));
    let setup = |origin: &str| {
        let setup = ["setup", "--coordinator", origin, "--rpc", &rpc_url, "--provider-key", &key, "--ca", &ca];
        at_home(folder, &setup).output().expect("it starts")
    };
    let open = setup(&origin.replace("https", "http"));
    assert!(!open.status.success() && words(&open).contains("write https://"), "{}", words(&open));

    let recipe = starling_rounds::recipe::Recipe::preset("tiny").expect("the preset is there").to_toml().expect("TOML");
    fs::write(folder.join("recipe.toml"), recipe).expect("a file is written");
    let text = top().join("crates/protocol/src").display().to_string();
    let mut tenant = Training::start(folder, &["train", &text, "--recipe", &path("recipe.toml"), "--nodes", "1", "--min-nodes", "1"]);
    let began = Instant::now();
    let said = setup(&origin);
    assert!(said.status.success(), "{}", words(&said));
    let set_up = began.elapsed();
    let said = at_home(folder, &["doctor"]).output().expect("it starts");
    assert!(said.status.success(), "{}", words(&said));
    let examined = began.elapsed();
    let log = fs::File::create(folder.join("node.log")).expect("a log");
    let _node = Guarded(at_home(folder, &["run"]).stderr(log).spawn().expect("it starts"));
    tenant.wait_for_round(1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (rpc, billing) = (RpcClient::new(&site.chain.rpc), Billing("billing.owner.near".parse().expect("a name")));
    let provider: AccountId = "provider.owner.near".parse().expect("a name");
    let account = runtime.block_on(rpc.view(&billing.account(&provider))).expect("the chain answers");
    let paid = began.elapsed();
    let earned = account.iter().flat_map(|account| &account.balances).any(|(_, amount)| !amount.is_zero());
    assert!(earned, "a round was posted and the provider has nothing");
    assert!(paid < Duration::from_secs(120), "{paid:?}");
    println!("measured provider's commands: 3 (setup, doctor, run)");
    println!("measured setup: {:.1} s", set_up.as_secs_f64());
    println!("measured doctor: {:.1} s", (examined - set_up).as_secs_f64());
    println!("measured from the first command to the first payment: {:.1} s", paid.as_secs_f64());
    tenant.finish();
}
