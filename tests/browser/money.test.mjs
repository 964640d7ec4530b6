// Billing, the network page and the provider's view, as people use them: NEAR and a token, what a delegate signed, receipts, keys, pause.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, before } from "node:test";
import { Account, JsonRpcProvider, nearToYocto, teraToGas } from "near-api-js";
import { pictures } from "./screens.mjs";
import { Person, System, execute, flow, launch, program, reject, until } from "./support.mjs";

const COIN = 10n ** 6n;

let system, browser, ada, pat;
const people = () => [ada, pat].filter(Boolean);
const scene = (name, work) => flow(name, people, () => system, work);
const region = (person, name) => person.page.getByRole("region", { name, exact: true });

/** An account of the chain's first block, acting over its RPC as a program would. */
async function actor(account) {
  const { private_key } = JSON.parse(await readFile(system.key(account), "utf8"));
  return new Account(account, new JsonRpcProvider({ url: system.rpc }, { retries: 1 }), private_key);
}

const call = (who, contractId, methodName, args, deposit = 0n) => who.callFunction({ contractId, methodName, args, gas: teraToGas("100"), deposit });

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 1 }), launch()]);
  [ada, pat] = await Promise.all(["ada", "pat"].map((name) => Person.come(browser, system, name)));
  pat.account = "provider-1.starling";
  await ada.signInAsNew();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** A token that billing takes, of which Ada has a hundred: NEAR's own standard contract, with six decimals. */
async function makeToken() {
  const { deployment } = await system.network();
  const [root, token] = [await actor("starling"), await actor("provider-16.starling")];
  await token.deployContract(new Uint8Array(await readFile(resolve("target/contracts/standards.wasm"))));
  await call(token, token.accountId, "new", { owner: token.accountId, supply: (1_000n * COIN).toString() });
  for (const account_id of [ada.account, deployment.billing]) await call(token, token.accountId, "storage_deposit", { account_id }, nearToYocto("0.01"));
  await call(token, token.accountId, "ft_transfer", { receiver_id: ada.account, amount: (100n * COIN).toString() }, 1n);
  await call(root, deployment.billing, "set_token", { token: token.accountId, listed: true }, 1n);
  return token.accountId;
}

let token;
const tokens = async (account) => BigInt(await system.view(token, "ft_balance_of", { account_id: account }));
/** The free balance of an account in billing, of one asset. */
async function free(account, asset) {
  const { deployment } = await system.network();
  const record = await system.view(deployment.billing, "account", { account_id: account });
  return BigInt((record?.balances ?? []).find(([held]) => held === asset)?.[1] ?? 0);
}

scene("billing__should_say_what_would_fill_it_before_anything_happened", async () => {
  await ada.open("/billing");
  await region(ada, "Escrows").getByText("No escrow holds anything of yours.").waitFor();
  await region(ada, "Session keys").getByText("No key may spend your balance").waitFor();
  await region(ada, "History").getByText("Nothing has happened yet.").waitFor();
  assert.deepEqual(await pictures(browser, ada, { "billing-empty": "/billing" }), []);
});

scene("near__should_be_deposited_and_withdrawn_to_the_digit", async () => {
  const move = region(ada, "Move money");
  await move.getByLabel("Amount").fill("3.5");
  assert.match(await ada.approve(() => move.getByRole("button", { name: "Deposit", exact: true }).click()), /Put the attached NEAR on your balance\./);
  await move.getByText("Deposited 3.5000 NEAR.").waitFor();
  const before = await until("the deposit", async () => system.balance(ada.account));
  await move.getByLabel("Amount").fill("1.25");
  await ada.approve(() => move.getByRole("button", { name: "Withdraw", exact: true }).click());
  await move.getByText("1.2500 NEAR went to your wallet.").waitFor();
  assert.equal(before - (await system.balance(ada.account)), BigInt(nearToYocto("1.25")));
  await move.getByLabel("Amount").fill("1000");
  await move.getByRole("button", { name: "Withdraw", exact: true }).click();
  await move.getByRole("alert").getByText("Nothing was signed; choose a smaller amount.").waitFor();
  await move.getByLabel("Amount").fill("a lot");
  await move.getByRole("button", { name: "Deposit", exact: true }).click();
  await move.getByRole("alert").getByText("The amount is not understood").waitFor();
});

scene("token__should_be_deposited_and_withdrawn_beside_near", async () => {
  token = await makeToken();
  const asset = `nep141:${token}`;
  await ada.open("/billing");
  const move = region(ada, "Move money");
  await until("the token in the list", async () => (await move.getByRole("option").count()) === 2);
  await move.getByLabel("Asset").selectOption(asset);
  await until("what the token says of itself", async () => (await move.getByRole("option", { name: "COIN" }).count()) === 1);
  await move.getByLabel("Amount").fill("40.000001");
  const shown = await ada.approve(() => move.getByRole("button", { name: "Deposit", exact: true }).click());
  assert.match(shown, /Approve 2 transactions/);
  assert.ok(shown.includes(`Send ${40n * COIN + 1n} units of the token ${token} to your balance`), shown);
  await move.getByText("Deposited 40.0000 COIN.").waitFor();
  await until("the tokens", async () => (await free(ada.account, asset)) === 40n * COIN + 1n);
  assert.equal(await tokens(ada.account), 60n * COIN - 1n);
  const balances = region(ada, "Balances").getByRole("row").filter({ hasText: token });
  await balances.getByText("40.0000 COIN").waitFor();
  await move.getByLabel("Amount").fill("15");
  await ada.approve(() => move.getByRole("button", { name: "Withdraw", exact: true }).click());
  await until("the tokens in the wallet", async () => (await tokens(ada.account)) === 75n * COIN - 1n);
  assert.equal(await free(ada.account, asset), 25n * COIN + 1n);
});

scene("item__should_be_paid_in_the_token_that_it_is_priced_in", async () => {
  const { deployment } = await system.network();
  const tenant = await actor("tenant.starling");
  const file = { name: "tool.json", hash: "11".repeat(32), bytes: 10 };
  await call(tenant, deployment.market, "publish", { slug: "token-tool", kind: "tool", category: "evaluation", title: "A tool for tokens", summary: "Priced in a token.", licence: "MIT", asset: `nep141:${token}`, price: (7n * COIN).toString(), price_per_use: null, parents: [], royalty: 0, files: [file], run_id: null }, nearToYocto("0.1"));
  await ada.open("/market/tenant.starling/token-tool");
  const buy = ada.page.getByRole("button", { name: "Buy licence for at most 7.0000 COIN" });
  const shown = await ada.approve(() => buy.click());
  assert.ok(shown.includes(`Pay at most ${7n * COIN} units of the token ${token} for the licence of tenant.starling/token-tool.`), shown);
  await ada.page.getByText("You hold a licence.").waitFor();
  assert.equal(await tokens(ada.account), 68n * COIN - 1n);
});

scene("use__should_be_paid_by_vouchers_of_a_key_of_its_own", async () => {
  const { deployment } = await system.network();
  const file = { name: "tool.json", hash: "22".repeat(32), bytes: 10 };
  const use = BigInt(nearToYocto("0.01"));
  await call(await actor("tenant.starling"), deployment.market, "publish", { slug: "used-tool", kind: "tool", category: "evaluation", title: "A tool by use", summary: "A hundredth for each use.", licence: "MIT", asset: "near", price: nearToYocto("1").toString(), price_per_use: use.toString(), parents: [], royalty: 0, files: [file], run_id: null }, nearToYocto("0.1"));
  const home = join(system.home, "user");
  execute("starling", "--home", home, "login", "--coordinator", system.dashboard, "--key-file", system.key("provider-3.starling"));
  const name = "tenant.starling/used-tool";
  const paid = async (uses) => {
    assert.match(execute("starling", "--home", home, "use", name, "--uses", String(uses)), new RegExp(`for ${uses} uses of ${name}`));
    const { escrow_id } = await system.view(deployment.market, "metered_use", { holder: "provider-3.starling", name });
    return { escrow_id, ...(await system.view(deployment.billing, "escrow", { escrow_id })) };
  };
  const first = await paid(3);
  assert.deepEqual([first.posted, first.available].map(BigInt), [3n * use, 0n]);
  const second = await paid(2);
  assert.notEqual(second.escrow_id, first.escrow_id, "the first deposit was used up");
  assert.equal(BigInt(second.posted), 2n * use);
  assert.equal(await system.view(deployment.market, "may_use", { account: "provider-3.starling", name }), true);
});

scene("list__should_be_read_to_its_end", async () => {
  const { deployment } = await system.network();
  const tenant = await actor("tenant.starling");
  for (let number = 0; number < 5; number += 1) {
    const file = { name: "tool.json", hash: "33".repeat(32), bytes: 10 };
    await call(tenant, deployment.market, "publish", { slug: `more-${number}`, kind: "tool", category: "evaluation", title: `Tool ${number}`, summary: "\"".repeat(300), licence: "MIT", asset: "near", price: "0", price_per_use: null, parents: [], royalty: 0, files: [file], run_id: null }, nearToYocto("0.1"));
  }
  const page = await system.view(deployment.market, "listings", { category: null, from: 0, limit: 50 });
  assert.ok(page.length < 7, "more than a page");
  await ada.open("/market");
  await until("all of them", async () => (await ada.page.getByRole("article").count()) === 7);
});

scene("receipt__should_be_saved_and_hold_offline", async () => {
  await ada.open("/billing?kind=payments");
  const history = region(ada, "History");
  const saved = ada.page.waitForEvent("download");
  await history.getByRole("button", { name: /^Receipt of escrow/ }).first().click();
  const path = join(system.home, "receipt.json");
  await (await saved).saveAs(path);
  await history.getByText("Saved and checked by the contract's rules").waitFor();
  const said = execute("starling", "--home", join(system.home, "nobody"), "verify", "--receipt", path);
  assert.match(said, /checked without a network; every figure is right/);
  const onChain = execute("starling", "--home", join(system.home, "state"), "verify", "--receipt", path, "--on-chain");
  assert.match(onChain, /each of them told by the chain/);
  const receipt = JSON.parse(await readFile(path, "utf8"));
  const opened = receipt.steps.find(({ told }) => told.event === "escrow_opened");
  opened.told.data.moved.fee = "0";
  await writeFile(path, JSON.stringify(receipt));
  const forged = spawnSync(program("starling"), ["--home", join(system.home, "nobody"), "verify", "--receipt", path], { encoding: "utf8" });
  assert.notEqual(forged.status, 0);
  assert.match(forged.stderr, /the fee is told as 0/);
});

scene("history__should_be_filtered_in_the_address_and_saved_as_csv", async () => {
  await ada.open("/billing?kind=moves");
  const history = region(ada, "History");
  const lines = history.getByRole("row");
  await until("deposits and withdrawals only", async () => (await lines.count()) === 5);
  await history.getByLabel("Asset").selectOption(`nep141:${token}`);
  await until("those of the token only", async () => (await lines.count()) === 3);
  assert.match(ada.page.url(), /kind=moves/);
  assert.match(ada.page.url(), /asset=nep141/);
  const saved = ada.page.waitForEvent("download");
  await history.getByRole("button", { name: "Save CSV of all that fits" }).click();
  const csv = (await readFile(await (await saved).path(), "utf8")).trim().split("\r\n");
  assert.equal(csv[0], "time,event,kind,status,asset,change_units,escrow,purpose,transaction,signer");
  assert.deepEqual(csv.slice(1).map((line) => line.split(",").slice(1, 6)), [["withdrawn", "moves", "settled", `nep141:${token}`, `-${15n * COIN}`], ["deposited", "moves", "settled", `nep141:${token}`, `${40n * COIN + 1n}`]]);
  await history.getByLabel("Status").selectOption("failed");
  await history.getByText("Nothing that was read so far fits these filters.").waitFor();
  await history.getByRole("link", { name: "Show everything" }).click();
  await until("everything again", async () => (await lines.count()) > 5);
});

scene("session_key__should_show_its_cap_and_be_ended", async () => {
  const network = await system.network();
  const { deployment } = network;
  const { publicKey } = await ada.page.evaluate(async () => {
    const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
    return { publicKey: [...new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey))] };
  });
  const public_key = `ed25519:${base58(publicKey)}`;
  const args = { public_key, cap: nearToYocto("5").toString(), expires_at: Date.now() + 86_400_000, targets: [deployment.compute] };
  const transactions = [
    { receiverId: deployment.billing, actions: [{ methodName: "storage_deposit", args: { account_id: null, registration_only: false }, gas: "10000000000000", deposit: nearToYocto("0.1").toString() }] },
    { receiverId: deployment.billing, actions: [{ methodName: "add_session_key", args, gas: "10000000000000", deposit: "1" }] },
  ];
  // A program of the person's asks the same wallet through the same seam.
  const asks = async ([network, transactions]) => {
    const wallet = await globalThis.starling.load("wallet");
    await wallet.init({ network });
    void wallet.signAndSendTransactions({ transactions });
  };
  await ada.approve(() => ada.page.evaluate(asks, [network, transactions]));
  const keys = region(ada, "Session keys");
  await keys.getByText("0.0000 of at most 5.0000 NEAR").waitFor();
  await keys.getByText("may spend").waitFor();
  assert.deepEqual(await pictures(browser, ada, { "billing-full": "/billing" }), []);
  assert.match(await ada.approve(() => keys.getByRole("button", { name: "End this key" }).click()), /End the session key/);
  await keys.getByText("No key may spend your balance").waitFor();
});

scene("use__should_be_paid_from_its_page_with_one_deposit", async () => {
  const { page } = ada;
  const { deployment } = await system.network();
  const [name, use] = ["tenant.starling/used-tool", BigInt(nearToYocto("0.01"))];
  const asked = [];
  page.on("popup", (window) => asked.push(window));
  const form = page.getByRole("form", { name: "Pay by use" });
  const pay = () => form.getByRole("button", { name: "Pay for uses, at most 0.0200 NEAR" }).click();
  const posted = async () => {
    const open = await system.view(deployment.market, "metered_use", { holder: ada.account, name });
    return open && { id: open.escrow_id, posted: BigInt((await system.view(deployment.billing, "escrow", { escrow_id: open.escrow_id })).posted) };
  };
  await ada.open(`/market/${name}`);
  await form.getByRole("spinbutton", { name: "Uses" }).fill("2");
  assert.match(await ada.approve(pay), /Pay at most 0\.0200 NEAR/);
  await until("the voucher's window", () => asked.length === 2);
  await asked[1].getByRole("button", { name: "Reject" }).waitFor();
  await reject(asked[1]);
  await form.getByRole("alert").getByText("Nothing was signed").waitFor();
  const [{ id, posted: before }] = [await posted()];
  assert.equal(before, 0n, "the deposit is there, and nothing of it is paid");
  assert.match(await ada.approve(pay), /Bring a voucher: 20000000000000000000000 units in all of escrow \d+ are paid to tenant\.starling/);
  await form.getByText("Paid: 2 leases may use it.").waitFor();
  assert.deepEqual(await posted(), { id, posted: 2n * use }, "the voucher drew on the deposit that was there");
  assert.equal(asked.length, 3, "one approval more, not two");
  await form.getByRole("link", { name: "Use it on a model" }).waitFor();
  assert.deepEqual(await pictures(browser, ada, { "tool-by-use": `/market/${name}` }), []);
});

scene("tool__should_be_published_with_prices_in_a_token", async () => {
  const { page } = ada;
  const { deployment } = await system.network();
  await ada.open("/market/publish");
  for (const [label, value] of [["Name", "coin-probes"], ["Title", "Probes for coins"]]) await page.getByLabel(new RegExp(`^${label}`)).fill(value);
  await page.getByLabel("What it does").fill("Priced in a token by its publisher.");
  await page.getByLabel(/^Paid in/).selectOption({ label: "COIN" });
  await page.getByLabel("Price of a licence").fill("2.5");
  await page.getByLabel("Price of a use").fill("0.25");
  await page.getByLabel("Prompt 1").fill("pub fn ");
  await page.getByLabel("Expected continuation 1").fill("new(");
  await ada.approve(() => page.getByRole("button", { name: "Publish" }).click());
  await page.waitForURL(/\/market\/ada\.faucet\.starling\/coin-probes$/);
  await page.getByText("2.5000 COIN").first().waitFor();
  const listing = await system.view(deployment.market, "listing", { name: `${ada.account}/coin-probes` });
  assert.deepEqual([listing.asset, listing.price, listing.price_per_use], [`nep141:${token}`, (5n * COIN / 2n).toString(), (COIN / 4n).toString()]);
});

scene("network__should_show_health_rules_and_volume_as_the_chain_has_them", async () => {
  await ada.open("/network");
  const { deployment } = await system.network();
  await region(ada, "Health").getByText(/answers, block \d+/).waitFor();
  await region(ada, "Health").getByText("ready, has read the chain").waitFor();
  await region(ada, "Health").getByText("1 of 1 connected").waitFor();
  const contracts = region(ada, "Contracts");
  await contracts.getByText("2.00 % of what is earned").waitFor();
  assert.equal(await contracts.getByText("running").count(), 4);
  const totals = await system.view(deployment.billing, "totals", {});
  const volume = region(ada, "Money held, and counts");
  await volume.getByText(`${Number(BigInt(totals.escrows) / 10n ** 20n) / 1e4}`).first().waitFor();
  await volume.getByRole("row").filter({ hasText: token }).waitFor();
  await region(ada, "Nodes").getByText("provider-1.starling").waitFor();
  assert.deepEqual(await pictures(browser, ada, { "network-full": "/network" }), []);
});

scene("provider__should_pause_a_node_offer_it_again_and_withdraw", async () => {
  const { deployment } = await system.network();
  const wallet = await pat.context.newPage();
  await wallet.goto(system.wallet);
  await wallet.getByLabel("Import a key file").setInputFiles(system.key("provider-1.starling"));
  await wallet.getByText("provider-1.starling").waitFor();
  await wallet.close();
  await pat.open("/provider");
  await pat.page.getByRole("banner").getByRole("button", { name: "Sign in" }).click();
  await pat.approve(() => pat.page.getByRole("dialog", { name: "Sign in" }).getByRole("button", { name: "Sign in with a wallet" }).click());
  const node = pat.page.getByRole("article", { name: "Node 1" });
  await node.getByText("an hour").waitFor();
  const open = async () => (await system.view(deployment.compute, "offers", { from: 1, limit: 20 })).filter(({ closed }) => !closed).length;
  assert.equal(await open(), 1);
  const machine = pat.page.getByRole("region", { name: "Machine of node 1" });
  await machine.getByText("% busy").waitFor();
  await machine.getByText("MiB of disk stay free").waitFor();
  assert.deepEqual((await pat.page.evaluate(async () => (await fetch("/api/v1/nodes/machines")).json())).map(({ node_id }) => node_id), [1]);
  assert.equal((await fetch(`${system.dashboard}/api/v1/nodes/machines`)).status, 401, "what a machine says is for its owner");
  await node.getByRole("button", { name: "Retire for good" }).click();
  await pat.page.waitForTimeout(5_000);
  await node.getByRole("button", { name: "Keep it" }).click();
  assert.match(await pat.approve(() => node.getByRole("button", { name: "Pause: take no new work" }).click()), /Take offer \d+ back/);
  await node.getByText("Paused: it has no offer").waitFor();
  assert.equal(await open(), 0);
  await pat.approve(() => node.getByRole("button", { name: "Offer it again" }).click());
  await until("an offer again", async () => (await open()) === 1);
  await node.getByRole("button", { name: "Pause: take no new work" }).waitFor();
  const before = await until("a balance", async () => system.balance(pat.account));
  const move = region(pat, "Move money");
  await move.getByRole("button", { name: "Fill in all that is free" }).click();
  await pat.approve(() => move.getByRole("button", { name: "Withdraw", exact: true }).click());
  await until("all of it to leave", async () => (await system.balance(pat.account)) === 0n);
  assert.ok(before > 0n);
  assert.deepEqual(await pictures(browser, pat, { "provider-full": "/provider" }), []);
});

function base58(bytes) {
  const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  let number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  let text = "";
  for (; number > 0n; number /= 58n) text = alphabet[Number(number % 58n)] + text;
  return text;
}
