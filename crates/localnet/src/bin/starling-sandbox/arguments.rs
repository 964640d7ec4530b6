//! The part of neard's command line that starts a sandbox; everything else is refused by its name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use near_primitives::types::AccountId;

use crate::error::SandboxError;

pub(crate) const USAGE: &str = "\
starling-sandbox --home DIR init [--fast] [--chain-id NAME] [--account-id ACCOUNT] [--test-seed TEXT]
    writes config.json, genesis.json and validator_key.json into DIR, where they are not there yet
      --fast          an empty block every 120 ms instead of every 600 ms
      --chain-id      the chain's name (sandbox)
      --account-id    the account that holds nearly everything (test.near)
      --test-seed     its key follows from this text; by default it is random
starling-sandbox --home DIR run [--rpc-addr ADDRESS] [--network-addr ADDRESS]
    serves the chain in DIR/data, which starts with genesis.json
      --rpc-addr      where, by default as config.json says; with port 0 the address that was found is printed
      --network-addr  accepted and not used: there are no other nodes";

const HOME: &str = "--home";
const FAST: &str = "--fast";
const CHAIN_ID: &str = "--chain-id";
const ACCOUNT_ID: &str = "--account-id";
const TEST_SEED: &str = "--test-seed";
const RPC_ADDRESS: &str = "--rpc-addr";
const NETWORK_ADDRESS: &str = "--network-addr";

/// Options with a value.
const WITH_VALUE: [&str; 6] = [HOME, CHAIN_ID, ACCOUNT_ID, TEST_SEED, RPC_ADDRESS, NETWORK_ADDRESS];

pub(crate) struct Arguments {
    pub(crate) home: PathBuf,
    pub(crate) command: Command,
}

pub(crate) enum Command {
    Help,
    Init(InitOptions),
    Run(RunOptions),
}

pub(crate) struct InitOptions {
    pub(crate) fast: bool,
    pub(crate) chain_id: Option<String>,
    pub(crate) account_id: Option<AccountId>,
    pub(crate) test_seed: Option<String>,
}

pub(crate) struct RunOptions {
    pub(crate) rpc_address: Option<SocketAddr>,
}

/// Options as they were given, to be taken out by the command that knows them.
#[derive(Default)]
struct Given {
    values: BTreeMap<&'static str, String>,
    fast: bool,
}

impl Given {
    fn take<T: FromStr<Err: std::fmt::Display>>(&mut self, option: &'static str) -> Result<Option<T>, SandboxError> {
        let Some(value) = self.values.remove(option) else { return Ok(None) };
        match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(error) => Err(SandboxError::MalformedValue { option, reason: error.to_string(), value }),
        }
    }

    /// Refuses what the command left over.
    fn finish(self, command: &'static str) -> Result<(), SandboxError> {
        let fast = self.fast.then_some(FAST);
        match self.values.into_keys().next().or(fast) {
            Some(option) => Err(SandboxError::NotForCommand { option, command }),
            None => Ok(()),
        }
    }
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, SandboxError> {
    let mut words = words;
    let mut given = Given::default();
    let mut named = None;
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if let Some(option) = WITH_VALUE.into_iter().find(|option| *option == name) {
            let value = value.or_else(|| words.next()).ok_or(SandboxError::MissingValue(option))?;
            given.values.insert(option, value);
            continue;
        }
        match word.as_str() {
            "--help" | "-h" | "help" => return Ok(Arguments { home: PathBuf::new(), command: Command::Help }),
            FAST => given.fast = true,
            "init" | "run" if named.is_none() => named = Some(word),
            _ => return Err(SandboxError::UnknownArgument(word)),
        }
    }
    let Some(named) = named else { return Err(SandboxError::NoCommand) };
    let home = given.take(HOME)?.ok_or(SandboxError::NoHome(HOME))?;
    let command = if named == "init" { init(given)? } else { run(given)? };
    Ok(Arguments { home, command })
}

fn init(mut given: Given) -> Result<Command, SandboxError> {
    let options = InitOptions {
        fast: std::mem::take(&mut given.fast),
        chain_id: given.take(CHAIN_ID)?,
        account_id: given.take(ACCOUNT_ID)?,
        test_seed: given.take(TEST_SEED)?,
    };
    given.finish("init")?;
    Ok(Command::Init(options))
}

fn run(mut given: Given) -> Result<Command, SandboxError> {
    let options = RunOptions { rpc_address: given.take(RPC_ADDRESS)? };
    given.take::<SocketAddr>(NETWORK_ADDRESS)?;
    given.finish("run")?;
    Ok(Command::Run(options))
}
