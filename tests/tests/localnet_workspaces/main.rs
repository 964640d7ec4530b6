//! near-workspaces, unchanged, against the embedded chain: it believes that it talks to NEAR's sandbox.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod sandbox;
mod standards;

use near_workspaces::network::{Sandbox, ValidatorKey};
use near_workspaces::types::{AccountId, KeyType, NearToken, SecretKey};
use near_workspaces::{Contract, Worker};
use starling_localnet::{Localnet, RpcOptions, RpcServer, serve, testing};

struct Network {
    worker: Worker<Sandbox>,
    _server: RpcServer,
}

async fn network() -> anyhow::Result<Network> {
    let root: AccountId = "registrar".parse()?;
    let signer = testing::signer_from_seed(&root, "root");
    let chain = Localnet::builder()
        .chain_id("workspaces-test")
        .account(root.clone(), signer.public_key(), NearToken::from_near(1_000_000))
        .build()?;
    let server = serve(chain, "127.0.0.1:0".parse()?, RpcOptions::default()).await?;
    let key = SecretKey::from_seed(KeyType::ED25519, "root");
    let worker = near_workspaces::sandbox().rpc_addr(&server.url()).validator_key(ValidatorKey::Known(root, key)).await?;
    Ok(Network { worker, _server: server })
}

async fn deployed() -> anyhow::Result<(Network, Contract)> {
    let network = network().await?;
    let contract = network.worker.dev_deploy(&testing::tiny_contract()).await?;
    Ok((network, contract))
}

#[tokio::test]
async fn accounts__should_be_created_and_pay_each_other() -> anyhow::Result<()> {
    let network = network().await?;
    let alice = network.worker.dev_create_account().await?;
    let bob = alice.create_subaccount("bob").initial_balance(NearToken::from_near(10)).transact().await?.into_result()?;
    alice.transfer_near(bob.id(), NearToken::from_near(3)).await?.into_result()?;
    assert_eq!(bob.view_account().await?.balance, NearToken::from_near(13));
    let top_level = network.worker.dev_create_tla().await?;
    assert_eq!(top_level.view_account().await?.balance, NearToken::from_near(100));
    let too_much = alice.transfer_near(bob.id(), NearToken::from_near(1_000)).await;
    assert!(too_much.is_err_and(|error| format!("{error:?}").contains("NotEnoughBalance")));
    alice.clone().delete_account(bob.id()).await?.into_result()?;
    assert!(network.worker.view_account(alice.id()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn contract__should_be_deployed_called_and_viewed() -> anyhow::Result<()> {
    let (network, contract) = deployed().await?;
    let caller = network.worker.dev_create_account().await?;
    let result = caller.call(contract.id(), "set").args(b"hello".to_vec()).max_gas().transact().await?;
    assert_eq!(result.logs(), ["set"]);
    assert!(result.is_success() && result.total_gas_burnt.as_gas() > 0);
    assert_eq!(contract.view("get").await?.result, b"hello");
    assert_eq!(contract.call("chain").transact().await?.into_result()?.raw_bytes()?, b"workspaces-test");
    let asked = caller.call(contract.id(), "ask").args(contract.id().as_bytes().to_vec()).max_gas().transact().await?.into_result()?;
    assert_eq!(asked.raw_bytes()?, b"hello");
    let code = network.worker.view_code(contract.id()).await?;
    assert_eq!(code, testing::tiny_contract());
    Ok(())
}

#[tokio::test]
async fn failures__should_be_told_apart() -> anyhow::Result<()> {
    let (_network, contract) = deployed().await?;
    let failed = contract.call("fail").transact().await?;
    let error = failed.into_result().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("Smart contract panicked: as asked"), "{error}");
    let missing = contract.call("nothing").transact().await?;
    assert!(format!("{:?}", missing.failures()).contains("MethodNotFound"));
    let view = contract.view("fail").await;
    let error = view.err().map(|error| format!("{error:?}")).unwrap_or_default();
    assert!(error.contains("ProhibitedInView"), "{error}");
    Ok(())
}

#[tokio::test]
async fn time_and_state__should_be_in_the_tests_hands() -> anyhow::Result<()> {
    let (network, contract) = deployed().await?;
    let before = network.worker.view_block().await?;
    network.worker.fast_forward(10_000).await?;
    let after = network.worker.view_block().await?;
    assert!(after.height() >= before.height() + 10_000);
    assert!(after.timestamp() >= before.timestamp() + 9_000_000_000_000);
    for value in [b"patched".as_slice(), b"again"] {
        network.worker.patch_state(contract.id(), b"key", value).await?;
        assert_eq!(contract.view("get").await?.result, value);
    }
    let state = contract.view_state().await?;
    assert_eq!(state.get(b"key".as_slice()).map(Vec::as_slice), Some(b"again".as_slice()));
    Ok(())
}

#[tokio::test]
async fn transactions__should_be_sent_without_waiting_and_batched() -> anyhow::Result<()> {
    let (network, contract) = deployed().await?;
    let caller = network.worker.dev_create_account().await?;
    let status = caller.call(contract.id(), "set").args(b"later".to_vec()).transact_async().await?;
    status.await?.into_result()?;
    assert_eq!(contract.view("get").await?.result, b"later");
    let calls = (0..20).map(|_| caller.call(contract.id(), "set").args(b"many".to_vec()).transact());
    for result in futures_util::future::join_all(calls).await {
        let result = result?;
        assert!(result.is_success(), "{result:?}");
    }
    Ok(())
}
