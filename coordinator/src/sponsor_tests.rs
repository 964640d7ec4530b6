//! Tests of what is sponsored, for whom, and how much.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

fn deployment() -> Deployment {
    Deployment {
        chain_id: "starling-test".to_owned(),
        instance: 1,
        billing: account("billing.starling"),
        compute: account("compute.starling"),
        hub: account("hub.starling"),
        market: account("market.starling"),
    }
}

fn withdraw() -> DelegatedCall {
    let call = Billing(deployment().billing).withdraw(None);
    DelegatedCall {
        sender: account("ada.start.starling"),
        contract: call.contract,
        method: call.method,
        args_bytes: 20,
        gas: call.gas,
        deposit: call.deposit,
    }
}

#[test]
fn judge__should_take_one_listed_call_with_little_gas_and_no_price() {
    let (list, ada) = (sponsored_calls(&deployment()), account("ada.start.starling"));
    let check = |call: DelegatedCall, expect: Result<u64, NotSponsored>| assert_eq!(judge(&call, &ada, &list), expect, "{call:?}");
    check(withdraw(), Ok(20));
    check(DelegatedCall { gas: 20 * TGAS + 1, ..withdraw() }, Ok(21));
    let most = list.iter().find(|call| call.method == "withdraw").unwrap().gas;
    check(DelegatedCall { gas: most + 1, ..withdraw() }, Err(NotSponsored::TooMuchGas { most: most / TGAS }));
    check(DelegatedCall { deposit: Amount(2), ..withdraw() }, Err(NotSponsored::Deposit(Amount(2))));
    check(DelegatedCall { args_bytes: MAX_ARGS_BYTES + 1, ..withdraw() }, Err(NotSponsored::TooLong));
    check(DelegatedCall { sender: account("eve.starling"), ..withdraw() }, Err(NotSponsored::OtherAccount(account("eve.starling"))));
    for (contract, method) in [("billing.starling", "pay"), ("billing.starling", "deposit"), ("token.starling", "withdraw")] {
        let (contract, method) = (account(contract), method.to_owned());
        check(
            DelegatedCall { contract: contract.clone(), method: method.clone(), ..withdraw() },
            Err(NotSponsored::NotListed { contract, method }),
        );
    }
}

#[test]
fn list__should_hold_no_call_that_wants_a_deposit() {
    let list = sponsored_calls(&deployment());
    for method in ["pay", "deposit", "storage_deposit", "add_session_key", "publish", "register_node"] {
        assert!(list.iter().all(|call| call.method != method), "{method}");
    }
}

async fn sponsor(per_address: u64) -> (tempfile::TempDir, Sponsor) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("db.sqlite")).await.unwrap();
    let budget = Sponsorship {
        key_file: "k".into(),
        accounts_a_day: 3,
        accounts_a_day_per_address: per_address,
        tgas_a_day: 100,
        tgas_a_day_per_account: 50,
    };
    let signer = Signer::from_seed(account("start.starling"), [9; 32]);
    (folder, Sponsor::new("http://127.0.0.1:1", signer, db, budget, &deployment()))
}

#[tokio::test]
async fn accounts__should_be_rationed_by_address_and_in_all() {
    let (_folder, sponsor) = sponsor(2).await;
    let wanted = NewAccount { name: "ada".to_owned(), public_key: Signer::from_seed(account("ada.starling"), [7; 32]).public_key() };
    let (now, day) = (clock::now(), 86_400_000);
    let code = |made: Result<AccountId, Fault>| made.unwrap_err().code();
    assert_eq!(
        code(sponsor.create_account(&wanted, "10.0.0.1").await),
        "chain_unreachable",
        "there is no chain here, but the budget allows it"
    );
    for _ in 0..2 {
        sponsor.db.give(Gift::Account, "10.0.0.1", 1, now).await.unwrap();
    }
    assert_eq!(code(sponsor.create_account(&wanted, "10.0.0.1").await), "sponsor_budget");
    assert_eq!(code(sponsor.create_account(&wanted, "10.0.0.2").await), "chain_unreachable");
    sponsor.db.give(Gift::Account, "10.0.0.3", 1, now).await.unwrap();
    assert_eq!(code(sponsor.create_account(&wanted, "10.0.0.2").await), "sponsor_budget", "in all");
    let tomorrow = TimestampMs(now.0 + day + 1);
    assert_eq!(sponsor.db.given(Gift::Account, "10.0.0.1", tomorrow).await.unwrap(), Given { in_all: 0, to_one: 0 });
    for name in ["a", "Ada", "ada.b", "-ada", "ada--x", &"a".repeat(41)] {
        let wrong = NewAccount { name: name.to_owned(), ..wanted.clone() };
        assert_eq!(code(sponsor.create_account(&wrong, "10.0.0.9").await), "account_name", "{name}");
    }
}

#[test]
fn budget__should_count_what_was_given_and_what_is_asked() {
    let code = |in_all, to_one, more| within(Given { in_all, to_one }, more, 100, 50, "Tgas").err().map(|fault| fault.code());
    for (in_all, to_one, more, expect) in [
        (0, 0, 50, None),
        (0, 0, 51, Some("sponsor_budget")),
        (0, 30, 21, Some("sponsor_budget")),
        (81, 0, 20, Some("sponsor_budget")),
        (80, 30, 20, None),
    ] {
        assert_eq!(code(in_all, to_one, more), expect, "{in_all} {to_one} {more}");
    }
}
