//! NEAR's own tokens and calls between contracts, by near-contract-standards and near-sdk, on `near_workspaces::sandbox()`: they do what their documentation says.

use near_workspaces::{
    Account, Contract, Worker,
    network::Sandbox,
    result::{ExecutionFinalResult, ExecutionSuccess},
    types::{AccountId, Gas, NearToken},
};
use serde_json::{Value, json};
use starling_tests::contract_wasm;

const ONE_YOCTO: NearToken = NearToken::from_yoctonear(1);
const SUPPLY: u128 = 1_000_000;

struct Standards {
    worker: Worker<Sandbox>,
    contract: Contract,
    alice: Account,
}

/// The contract, whose account owns all coins, and Alice, who has nothing.
async fn standards() -> anyhow::Result<Standards> {
    let worker = near_workspaces::sandbox().await?;
    let contract = another(&worker, None).await?;
    let alice = worker.dev_create_account().await?;
    Ok(Standards { worker, contract, alice })
}

/// The same contract at another account.
async fn another(worker: &Worker<Sandbox>, owner: Option<&AccountId>) -> anyhow::Result<Contract> {
    let contract = worker.dev_deploy(&contract_wasm("standards")?).await?;
    let arguments = json!({"owner": owner.unwrap_or(contract.id()), "supply": SUPPLY.to_string()});
    contract.call("new").args_json(arguments).transact().await?.into_result()?;
    Ok(contract)
}

impl Standards {
    async fn call(&self, caller: &Account, method: &str, args: Value, deposit: NearToken) -> anyhow::Result<ExecutionFinalResult> {
        let call = caller.call(self.contract.id(), method).args_json(args).deposit(deposit);
        Ok(call.gas(Gas::from_tgas(200)).transact().await?)
    }

    async fn done(&self, caller: &Account, method: &str, args: Value, deposit: NearToken) -> anyhow::Result<ExecutionSuccess> {
        Ok(self.call(caller, method, args, deposit).await?.into_result()?)
    }

    /// A call that must fail for this reason.
    async fn refused(&self, caller: &Account, method: &str, args: Value, deposit: NearToken, why: &str) -> anyhow::Result<()> {
        let failure = self.call(caller, method, args, deposit).await?.into_result().err().map(|error| error.to_string());
        anyhow::ensure!(failure.as_ref().is_some_and(|said| said.contains(why)), "{method}: {failure:?}, not {why}");
        Ok(())
    }

    async fn view(&self, method: &str, args: Value) -> anyhow::Result<Value> {
        Ok(self.contract.view(method).args_json(args).await?.json()?)
    }

    async fn coins(&self, account: &AccountId) -> anyhow::Result<u128> {
        let balance: String = serde_json::from_value(self.view("ft_balance_of", json!({"account_id": account})).await?)?;
        Ok(balance.parse()?)
    }

    /// What registering costs; paid by the contract's account for another.
    async fn register(&self, account: &AccountId) -> anyhow::Result<NearToken> {
        let bounds = self.view("storage_balance_bounds", json!({})).await?;
        let price: NearToken = serde_json::from_value(bounds["min"].clone())?;
        self.done(self.contract.as_account(), "storage_deposit", json!({"account_id": account}), price).await?;
        Ok(price)
    }

    /// `ft_transfer_call` of the owner's coins; answers what was used.
    async fn transfer_call(&self, receiver: &AccountId, amount: u128, msg: &str) -> anyhow::Result<u128> {
        let args = json!({"receiver_id": receiver, "amount": amount.to_string(), "msg": msg});
        let used: String = self.done(self.contract.as_account(), "ft_transfer_call", args, ONE_YOCTO).await?.json()?;
        Ok(used.parse()?)
    }

    /// A deed of the contract's owner, minted to somebody.
    async fn mint(&self, token_id: &str, receiver: &AccountId) -> anyhow::Result<Value> {
        let args = json!({"token_id": token_id, "receiver_id": receiver, "token_metadata": {"title": "a deed"}});
        Ok(self.done(self.contract.as_account(), "nft_mint", args, NearToken::from_millinear(10)).await?.json()?)
    }

    async fn holder(&self, token_id: &str) -> anyhow::Result<Value> {
        Ok(self.view("nft_token", json!({"token_id": token_id})).await?["owner_id"].clone())
    }
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_fungible_token__should_register_and_transfer() -> anyhow::Result<()> {
    let chain = standards().await?;
    let (owner, alice) = (chain.contract.as_account(), &chain.alice);
    assert_eq!(chain.view("ft_total_supply", json!({})).await?, SUPPLY.to_string());
    let pay = |amount: u128| json!({"receiver_id": alice.id(), "amount": amount.to_string()});
    chain.refused(owner, "ft_transfer", pay(5), ONE_YOCTO, "is not registered").await?;

    let price: NearToken = serde_json::from_value(chain.view("storage_balance_bounds", json!({})).await?["min"].clone())?;
    let before = alice.view_account().await?.balance;
    let less = price.saturating_sub(ONE_YOCTO);
    chain.refused(alice, "storage_deposit", json!({}), less, "less than the minimum storage balance").await?;
    let more = price.saturating_add(NearToken::from_near(1));
    chain.done(alice, "storage_deposit", json!({}), more).await?;
    let spent = before.saturating_sub(alice.view_account().await?.balance);
    assert!(spent >= price && spent < price.saturating_add(NearToken::from_millinear(10)), "{spent}");

    chain.refused(owner, "ft_transfer", pay(5), NearToken::ZERO, "exactly 1 yoctoNEAR").await?;
    chain.refused(owner, "ft_transfer", pay(0), ONE_YOCTO, "should be a positive number").await?;
    chain.refused(owner, "ft_transfer", pay(SUPPLY + 1), ONE_YOCTO, "enough balance").await?;
    let sent = chain.done(owner, "ft_transfer", pay(5), ONE_YOCTO).await?;
    assert!(sent.logs().iter().any(|log| log.starts_with("EVENT_JSON:") && log.contains("ft_transfer")), "{:?}", sent.logs());
    assert_eq!((chain.coins(owner.id()).await?, chain.coins(alice.id()).await?), (SUPPLY - 5, 5));

    chain.refused(alice, "storage_unregister", json!({}), ONE_YOCTO, "positive balance without force").await?;
    assert_eq!(chain.done(alice, "storage_unregister", json!({"force": true}), ONE_YOCTO).await?.json::<Value>()?, true);
    assert_eq!(chain.done(alice, "storage_unregister", json!({}), ONE_YOCTO).await?.json::<Value>()?, false);
    assert_eq!(chain.view("ft_total_supply", json!({})).await?, (SUPPLY - 5).to_string());
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_fungible_token__should_return_what_a_receiver_does_not_use() -> anyhow::Result<()> {
    let chain = standards().await?;
    let shop = another(&chain.worker, None).await?;
    chain.register(shop.id()).await?;
    chain.register(chain.alice.id()).await?;
    let mut kept = 0;
    for (msg, used) in [("keep", 100), ("30", 70), ("100", 0), ("500", 0), ("no number", 0)] {
        assert_eq!(chain.transfer_call(shop.id(), 100, msg).await?, used, "{msg}");
        kept += used;
        assert_eq!(chain.coins(shop.id()).await?, kept, "{msg}");
    }
    // Who is no contract fails, and keeps nothing.
    assert_eq!(chain.transfer_call(chain.alice.id(), 100, "keep").await?, 0);
    assert_eq!(chain.coins(chain.contract.id()).await?, SUPPLY - kept);

    // A sender that ends its registration while the receiver is asked: what comes back is burned.
    chain.done(chain.contract.as_account(), "ft_transfer", json!({"receiver_id": chain.alice.id(), "amount": "90"}), ONE_YOCTO).await?;
    let call = |method: &str, args: Value| {
        near_workspaces::operations::Function::new(method).args_json(args).deposit(ONE_YOCTO).gas(Gas::from_tgas(100))
    };
    let args = json!({"receiver_id": shop.id(), "amount": "60", "msg": "20"});
    let both = chain
        .alice
        .batch(chain.contract.id())
        .call(call("ft_transfer_call", args))
        .call(call("storage_unregister", json!({"force": true})));
    assert!(both.transact().await?.is_success());
    assert_eq!((chain.coins(chain.alice.id()).await?, chain.coins(shop.id()).await?), (0, kept + 40));
    // 30 with the registration, 20 with the answer.
    assert_eq!(chain.view("ft_total_supply", json!({})).await?, (SUPPLY - 50).to_string());
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_non_fungible_token__should_be_minted_approved_and_transferred() -> anyhow::Result<()> {
    let chain = standards().await?;
    let (owner, alice) = (chain.contract.as_account(), &chain.alice);
    let bob = chain.worker.dev_create_account().await?;
    let mint = json!({"token_id": "1", "receiver_id": alice.id(), "token_metadata": {"title": "a deed"}});
    chain.refused(alice, "nft_mint", mint.clone(), NearToken::from_millinear(10), "only the owner").await?;
    chain.refused(owner, "nft_mint", mint, ONE_YOCTO, "to cover storage").await?;
    assert_eq!(chain.mint("1", alice.id()).await?["owner_id"], alice.id().as_str());
    chain.mint("2", alice.id()).await?;

    let hand_over = |approval: Option<u64>| json!({"receiver_id": bob.id(), "token_id": "1", "approval_id": approval});
    chain.refused(&bob, "nft_transfer", hand_over(None), ONE_YOCTO, "Sender not approved").await?;
    let approve = json!({"token_id": "1", "account_id": bob.id()});
    chain.refused(&bob, "nft_approve", approve.clone(), NearToken::from_millinear(5), "must be token owner").await?;
    chain.done(alice, "nft_approve", approve.clone(), NearToken::from_millinear(5)).await?;
    chain.done(alice, "nft_approve", approve, NearToken::from_millinear(5)).await?;
    let approved = json!({"token_id": "1", "approved_account_id": bob.id(), "approval_id": 2});
    assert_eq!(chain.view("nft_is_approved", approved).await?, true);
    chain.refused(&bob, "nft_transfer", hand_over(Some(1)), ONE_YOCTO, "different from the given approval_id").await?;
    chain.done(&bob, "nft_transfer", hand_over(Some(2)), ONE_YOCTO).await?;
    assert_eq!(chain.holder("1").await?, bob.id().as_str());

    assert_eq!(chain.view("nft_total_supply", json!({})).await?, "2");
    let of_alice = chain.view("nft_tokens_for_owner", json!({"account_id": alice.id()})).await?;
    assert_eq!(of_alice.as_array().map(Vec::len), Some(1));
    assert_eq!(of_alice[0]["token_id"], "2");
    let second = chain.view("nft_tokens", json!({"from_index": "1", "limit": 1})).await?;
    assert_eq!(second[0]["token_id"], "2");
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_non_fungible_token__should_come_back_unless_it_is_kept() -> anyhow::Result<()> {
    let chain = standards().await?;
    let alice = &chain.alice;
    let vault = another(&chain.worker, None).await?;
    chain.mint("1", alice.id()).await?;
    for (msg, kept) in [("return", false), ("what?", false), ("keep", true)] {
        let args = json!({"receiver_id": vault.id(), "token_id": "1", "msg": msg});
        let answer: bool = chain.done(alice, "nft_transfer_call", args, ONE_YOCTO).await?.json()?;
        assert_eq!(answer, kept, "{msg}");
        let holder = if kept { vault.id() } else { alice.id() };
        assert_eq!(chain.holder("1").await?, holder.as_str(), "{msg}");
    }
    chain.mint("2", alice.id()).await?;
    let args = json!({"token_id": "2", "account_id": vault.id(), "msg": "it is yours"});
    let told: String = chain.done(alice, "nft_approve", args, NearToken::from_millinear(5)).await?.json()?;
    assert_eq!(told, format!("2 of {}, 1: it is yours", alice.id()));
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_status__should_be_told_across_contracts() -> anyhow::Result<()> {
    let chain = standards().await?;
    let (alice, board) = (&chain.alice, another(&chain.worker, None).await?);
    let set = alice.call(board.id(), "set_status").args_json(json!({"message": "hello"})).transact().await?.into_result()?;
    assert_eq!(set.logs(), [format!("{} set the status hello", alice.id())]);
    let ask = |board: &AccountId, account: &AccountId| json!({"board": board, "account_id": account});
    let name = chain.contract.id();
    for (board, account, told) in [
        (board.id(), alice.id(), format!("{name}: hello")),
        (board.id(), name, format!("{name}: nothing")),
        (alice.id(), alice.id(), "the board failed".to_owned()),
    ] {
        assert_eq!(chain.done(alice, "ask_status", ask(board, account), NearToken::ZERO).await?.json::<String>()?, told);
    }
    assert_eq!(chain.done(alice, "factorial", json!({"n": 5}), NearToken::ZERO).await?.json::<String>()?, "120");
    chain.refused(alice, "told_status", json!({}), NearToken::ZERO, "private").await?;
    Ok(())
}

#[tokio::test]
#[ignore = "started by sandboxes__should_start_for_tests_of_others"]
async fn unchanged_factory__should_make_accounts_with_contracts() -> anyhow::Result<()> {
    let chain = standards().await?;
    let code = contract_wasm("standards")?;
    let make = || {
        let call = chain.alice.call(chain.contract.id(), "make_child").args(code.clone());
        call.deposit(NearToken::from_near(6)).gas(Gas::from_tgas(200)).transact()
    };
    make().await?.into_result()?;
    let child: AccountId = format!("child.{}", chain.contract.id()).parse()?;
    let status = json!({"account_id": chain.contract.id()});
    assert_eq!(chain.worker.view(&child, "get_status").args_json(status).await?.json::<Value>()?, "born");
    // A second one of that name is not made, and nothing of it stays.
    let again = make().await?.into_result().err().map(|error| error.to_string());
    assert!(again.as_ref().is_some_and(|said| said.contains("already exists")), "{again:?}");
    Ok(())
}
