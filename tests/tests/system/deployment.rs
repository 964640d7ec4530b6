//! A deployment to another chain: nobody keeps a key, and the code changes by upgrades alone.

use crate::{
    Chain,
    running::{refuse, said, succeed},
};
use serde_json::{Value, json};
use starling_contract_api::rpc::RpcClient;
use starling_tests::{CONTRACTS, contract_wasm, marked};
use std::{fs, path::Path};

/// The chain takes each block that is skipped for a second.
const NINE_DAYS_OF_BLOCKS: u64 = 9 * 86_400;

/// What `starling upgrade show` says of the contract at an account.
fn shown(home: &Path, args: &[&str], account: &str) -> Value {
    let output = succeed(home, args);
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|line| line["account"] == account).unwrap_or_else(|| panic!("no {account} in {text}"))
}

#[test]
fn deployment__should_leave_no_key_and_change_by_approved_upgrades_alone() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let (home, chain) = (home.path(), Chain::start(home.path(), "another-chain"));
    let network = home.join("network.toml");
    let text = format!(
        "chain_id = \"another-chain\"\nrpc_url = \"{}\"\nowner = \"owner.near\"\nowner_key_file = \"keys/owner.near.json\"\nfee = 200\nmin_stake = \"1\"\n",
        chain.rpc
    );
    fs::write(&network, text).expect("a file is written");
    let network = network.display().to_string();
    succeed(home, &["deploy", "--network", &network, "--yes"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rpc = RpcClient::new(&chain.rpc);
    for name in CONTRACTS {
        let account = format!("{name}.owner.near").parse().expect("a name");
        assert_eq!(runtime.block_on(rpc.keys(&account)).expect("keys"), [""; 0], "{name}");
    }

    let built = home.join("built");
    fs::create_dir(&built).expect("a folder");
    for name in CONTRACTS {
        let code = marked(contract_wasm(name).expect("wasm"), "new").expect("a mark");
        fs::write(built.join(format!("{name}.wasm")), code).expect("a file is written");
    }
    let built = built.display().to_string();
    let step = |step| ["upgrade", step, "--network", &network, "--contracts", &built, "--yes"];
    let billing = shown(home, &step("show"), "billing.owner.near");
    assert!(billing["approval"].is_null() && billing["running"] != billing["built"], "{billing}");
    assert!(refuse(home, &step("run")).contains("nothing to do"));
    succeed(home, &step("approve"));
    assert!(refuse(home, &step("approve")).contains("nothing to do"));
    assert_eq!(shown(home, &step("show"), "billing.owner.near")["approval"]["new_hash"], billing["built"]);
    assert!(refuse(home, &step("run")).contains("the upgrade is possible from"));
    succeed(home, &step("cancel"));
    assert!(refuse(home, &step("run")).contains("nothing to do"));
    succeed(home, &step("approve"));
    runtime.block_on(rpc.request("sandbox_fast_forward", json!({"delta_height": NINE_DAYS_OF_BLOCKS}))).expect("time passes");
    let done = said(&succeed(home, &step("run")), "done");
    assert_eq!(done["account"], "market.owner.near");
    for name in CONTRACTS {
        let contract = shown(home, &step("show"), &format!("{name}.owner.near"));
        assert!(contract["approval"].is_null() && contract["running"] == contract["built"], "{contract}");
    }
}
