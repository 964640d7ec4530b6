// near-api-js, unchanged, against the embedded chain: what its documentation shows, and its own error classes.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { Account, actions, JsonRpcProvider, KeyPair, KeyPairSigner, MultiKeySigner, nearToYocto, teraToGas } from "near-api-js";
import * as errors from "near-api-js/rpc-errors";

const PROGRAM = resolve("target/debug/starling-sandbox");
const bytes = (text) => new TextEncoder().encode(text);

let home, sandbox, provider, root, contract;

before(async () => {
  home = await mkdtemp(join(tmpdir(), "starling-near-api-"));
  const made = spawnSync(PROGRAM, ["--home", home, "init", "--fast"], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr ?? String(made.error));
  sandbox = spawn(PROGRAM, ["--home", home, "run", "--rpc-addr", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  const { value: url } = await createInterface({ input: sandbox.stdout })[Symbol.asyncIterator]().next();
  assert.ok(url, "the sandbox says where it is");
  provider = new JsonRpcProvider({ url }, { retries: 1 });
  const { account_id, secret_key } = JSON.parse(await readFile(join(home, "validator_key.json")));
  root = new Account(account_id, provider, secret_key);
  contract = await created("contract", "20");
  const code = await readFile("crates/localnet/tests/tiny-contract.base64", "utf8");
  await contract.deployContract(new Uint8Array(Buffer.from(code, "base64")));
});

after(async () => {
  sandbox?.kill("SIGKILL");
  await rm(home, { recursive: true, force: true });
});

/** A new account under the root, with a key and so many NEAR of its own. */
async function created(name, near) {
  const key = KeyPair.fromRandom("ed25519");
  await root.createSubAccount({ accountOrPrefix: name, publicKey: key.getPublicKey(), nearToTransfer: nearToYocto(near) });
  return new Account(`${name}.${root.accountId}`, provider, new KeyPairSigner(key));
}

const view = (method, args = {}) => provider.callFunction({ contractId: contract.accountId, method, args });

test("accounts__should_be_created_and_pay_each_other", async () => {
  const [alice, bob] = [await created("alice", "10"), await created("bob", "10")];
  assert.equal(await provider.getNetworkId(), "sandbox");
  const state = await alice.getState();
  assert.equal(state.balance.total, nearToYocto("10"));
  assert.ok(state.balance.available <= state.balance.total && state.storageUsage > 0);
  await alice.transfer({ receiverId: bob.accountId, amount: nearToYocto("2.5") });
  assert.equal((await bob.getState()).balance.total, nearToYocto("12.5"));
  const { keys } = await bob.getAccessKeyList();
  assert.deepEqual(keys.map(({ access_key }) => access_key.permission), ["FullAccess"]);
  await bob.deleteAccount(alice.accountId);
  await assert.rejects(bob.getState(), errors.AccountDoesNotExistError);
  assert.ok((await alice.getState()).balance.total > nearToYocto("19.9"));
});

test("contract__should_be_deployed_called_and_viewed", async () => {
  const said = { text: "hello", list: [1, 2] };
  const outcome = await root.callFunctionRaw({ contractId: contract.accountId, methodName: "set", args: said, gas: teraToGas("10") });
  assert.deepEqual(outcome.receipts_outcome[0].outcome.logs, ["set"]);
  assert.deepEqual(await view("get"), said);
  assert.equal(await contract.callFunction({ contractId: contract.accountId, methodName: "chain" }), "sandbox");
  const args = bytes(contract.accountId);
  const asked = await root.callFunction({ contractId: contract.accountId, methodName: "ask", args, gas: teraToGas("100") });
  assert.deepEqual(asked, said, "through a promise and its callback");
  const { values } = await contract.getContractState();
  assert.deepEqual(values.map(({ key }) => Buffer.from(key, "base64").toString()), ["key"]);
  const { hash } = await contract.getContractCode();
  assert.equal(hash, (await contract.getState()).codeHash);
  const { transaction } = await provider.viewTransactionStatus({ txHash: outcome.transaction.hash, accountId: root.accountId, waitUntil: "FINAL" });
  assert.equal(transaction.hash, outcome.transaction.hash);
  const { header, chunks } = await provider.viewBlock({ blockId: outcome.transaction_outcome.block_hash });
  assert.equal((await provider.viewChunk(chunks[0].chunk_hash)).header.height_included, header.height);
});

test("delegate_action__should_let_a_relayer_pay_the_gas", async () => {
  const poor = await created("poor", "0.01");
  const held = (await poor.getState()).balance.total;
  const set = (text) => [actions.functionCall("set", { text }, teraToGas("10"), 0n)];
  const signed = async (text) => (await poor.createSignedMetaTransaction({ receiverId: contract.accountId, actions: set(text) })).signedDelegate;
  const first = await signed("relayed");
  await root.relayMetaTransaction(first);
  assert.deepEqual(await view("get"), { text: "relayed" });
  assert.equal((await poor.getState()).balance.total, held, "who signed paid nothing");
  await assert.rejects(root.relayMetaTransaction(first), errors.DelegateActionInvalidNonceActionError);
  const changed = await signed("mine");
  changed.delegateAction.actions = set("the relayer's");
  await assert.rejects(root.relayMetaTransaction(changed), errors.DelegateActionInvalidSignatureActionError);
  assert.deepEqual(await view("get"), { text: "relayed" });
});

test("function_call_key__should_call_only_what_it_may", async () => {
  const alice = await created("limited", "5");
  const key = KeyPair.fromRandom("ed25519");
  await alice.addFunctionCallAccessKey({ publicKey: key.getPublicKey(), contractId: contract.accountId, methodNames: ["set"], allowance: nearToYocto("0.2") });
  const session = new Account(alice.accountId, provider, new KeyPairSigner(key));
  const call = (methodName, deposit = 0n) => session.callFunction({ contractId: contract.accountId, methodName, args: { by: "key" }, deposit, gas: teraToGas("10") });
  await call("set");
  assert.deepEqual(await view("get"), { by: "key" });
  await assert.rejects(call("unset"), errors.AccessKeyMethodNameMismatchActionError);
  await assert.rejects(call("set", 1n), errors.AccessKeyDepositWithFunctionCallActionError);
  await assert.rejects(session.transfer({ receiverId: root.accountId, amount: 1n }), errors.AccessKeyRequiresFullAccessActionError);
  await alice.deleteKey(key.getPublicKey());
  await assert.rejects(session.getAccessKey(key.getPublicKey()), errors.AccessKeyDoesNotExistError);
});

test("transactions__should_all_run_when_sent_at_once_with_many_keys", async () => {
  const alice = await created("busy", "10");
  const keys = Array.from({ length: 10 }, () => KeyPair.fromRandom("ed25519"));
  await alice.signAndSendTransaction({ receiverId: alice.accountId, actions: keys.map((key) => actions.addFullAccessKey(key.getPublicKey())) });
  const busy = new Account(alice.accountId, provider, new MultiKeySigner(keys));
  const before = (await root.getState()).balance.total;
  await Promise.all(keys.map((_, index) => busy.transfer({ receiverId: root.accountId, amount: BigInt(index + 1) })));
  assert.equal((await root.getState()).balance.total - before, 55n);
});

test("errors__should_have_the_class_that_clients_match_on", async () => {
  const alice = await created("wrong", "1");
  const call = (methodName) => alice.callFunction({ contractId: contract.accountId, methodName, args: {} });
  await assert.rejects(call("fail"), (error) => error.message.includes("Smart contract panicked: as asked"));
  await assert.rejects(call("nothing"), errors.ContractMethodNotFoundError);
  await assert.rejects(view("nothing"), errors.ContractMethodNotFoundError);
  await assert.rejects(view("fail"), (error) => error.message.includes("ProhibitedInView"));
  await assert.rejects(provider.callFunction({ contractId: alice.accountId, method: "get", args: {} }), errors.ContractCodeDoesNotExistError);
  await assert.rejects(provider.viewAccount({ accountId: "nobody.near" }), errors.AccountDoesNotExistError);
  await assert.rejects(alice.transfer({ receiverId: "nobody.near", amount: 1n }), errors.AccountDoesNotExistActionError);
  await assert.rejects(alice.transfer({ receiverId: root.accountId, amount: nearToYocto("2") }), errors.NotEnoughBalanceError);
  await assert.rejects(created("wrong", "1"), errors.AccountAlreadyExistsActionError);
  await assert.rejects(new Account(root.accountId, provider, alice.getSigner()).transfer({ receiverId: "x.near", amount: 1n }), errors.AccessKeyDoesNotExistError);
  await assert.rejects(provider.viewBlock({ blockId: 999_999_999 }), errors.UnknownBlockError);
  const missing = { txHash: "11111111111111111111111111111112", accountId: root.accountId };
  await assert.rejects(provider.viewTransactionStatus(missing), errors.UnknownTransactionError);
  await assert.rejects(provider.blockChanges({ finality: "final" }), errors.RpcMethodNotFoundError);
});
