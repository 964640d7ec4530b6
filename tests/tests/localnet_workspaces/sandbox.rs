//! `near_workspaces::sandbox()` as anybody writes it, with `starling-sandbox` in the place of NEAR's binary.

use near_workspaces::types::{AccountId, KeyType, NearToken, SecretKey};
use near_workspaces::{AccessKey, AccountDetailsPatch, Contract};
use starling_localnet::testing::tiny_contract;
use std::{path::PathBuf, process::Command, time::Duration};

/// Where `near_workspaces` looks for the program.
const PROGRAM: &str = "NEAR_SANDBOX_BIN_PATH";

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let path = test.ancestors().nth(2).expect("tests lie in target/debug/deps").join("starling-sandbox");
    assert!(path.is_file(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// Runs the tests below in a process that has the variable from its start: the environment of a running one is not to be changed.
#[test]
fn sandboxes__should_start_for_tests_of_others() {
    let tests = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["unchanged_", "--ignored"])
        .env(PROGRAM, program())
        .env("NEAR_RPC_TIMEOUT_SECS", "60")
        .output()
        .expect("the tests start");
    let said = String::from_utf8_lossy(&tests.stdout);
    assert!(tests.status.success(), "{said}{}", String::from_utf8_lossy(&tests.stderr));
    assert!(said.contains("10 passed"), "{said}");
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_contract__should_be_deployed_called_and_viewed() -> anyhow::Result<()> {
    let worker = near_workspaces::sandbox().await?;
    let contract = worker.dev_deploy(&tiny_contract()).await?;
    let caller = worker.dev_create_account().await?;
    let result = caller.call(contract.id(), "set").args(b"hello".to_vec()).max_gas().transact().await?;
    assert_eq!(result.logs(), ["set"]);
    assert_eq!(contract.view("get").await?.result, b"hello");
    assert!(caller.call(contract.id(), "fail").transact().await?.is_failure());
    let asked = caller.call(contract.id(), "ask").args(contract.id().as_bytes().to_vec()).max_gas().transact().await?.into_result()?;
    assert_eq!(asked.raw_bytes()?, b"hello");
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_accounts__should_be_made_by_root_and_registrar() -> anyhow::Result<()> {
    let worker = near_workspaces::sandbox().await?;
    let root = worker.root_account()?;
    assert_eq!(root.id(), "test.near");
    let alice = root.create_subaccount("alice").initial_balance(NearToken::from_near(50)).transact().await?.into_result()?;
    let top_level = worker.dev_create_tla().await?;
    assert!(top_level.id().is_top_level());
    alice.transfer_near(top_level.id(), NearToken::from_near(5)).await?.into_result()?;
    assert_eq!(top_level.view_account().await?.balance, NearToken::from_near(105));
    let (first, second) = (worker.dev_create_account(), near_workspaces::sandbox());
    let (first, second) = (first.await?, second.await?);
    assert!(second.view_account(first.id()).await.is_err(), "each sandbox is a chain of its own");
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_state__should_be_patched_and_imported() -> anyhow::Result<()> {
    let worker = near_workspaces::sandbox().await?;
    let contract = worker.dev_deploy(&tiny_contract()).await?;
    contract.call("set").args(b"before".to_vec()).transact().await?.into_result()?;
    worker.patch_state(contract.id(), b"key", b"patched").await?;
    assert_eq!(contract.view("get").await?.result, b"patched");

    let bob: AccountId = "bob.test.near".parse()?;
    let key = SecretKey::from_seed(KeyType::ED25519, "bob");
    let storage_usage = worker.view_account(contract.id()).await?.storage_usage;
    worker
        .patch(&bob)
        .account(AccountDetailsPatch::default().balance(NearToken::from_near(100)).storage_usage(storage_usage))
        .access_key(key.public_key(), AccessKey::full_access())
        .code(&tiny_contract())
        .state(b"key", b"of bob")
        .transact()
        .await?;
    let made_up = Contract::from_secret_key(bob, key, &worker);
    assert_eq!(made_up.view("get").await?.result, b"of bob");
    made_up.call("set").args(b"by bob".to_vec()).transact().await?.into_result()?;
    assert_eq!(made_up.view("get").await?.result, b"by bob");

    let elsewhere = near_workspaces::sandbox().await?;
    let imported = elsewhere.import_contract(contract.id(), &worker).with_data().transact().await?;
    assert_eq!(imported.view("get").await?.result, b"patched");
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_time__should_pass_by_itself_and_by_command() -> anyhow::Result<()> {
    let worker = near_workspaces::sandbox().await?;
    let before = worker.view_block().await?.height();
    let waited = async {
        while worker.view_block().await?.height() < before + 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await??;
    let before = worker.view_block().await?;
    worker.fast_forward(1_000).await?;
    let after = worker.view_block().await?;
    assert!(after.height() >= before.height() + 1_000);
    assert!(after.timestamp() > before.timestamp());
    Ok(())
}
