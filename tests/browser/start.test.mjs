// Starting with nothing: a sponsored account, play money, a job; then a session key that pays without a window, and a sponsor that pays gas.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { Account, JsonRpcProvider, nearToYocto } from "near-api-js";
import { pictures } from "./screens.mjs";
import { Person, System, flow, launch, reject, until } from "./support.mjs";

/** From the first page to a running job, with the time that the windows of browser and wallet take: a minute, asked for with STARLING_PROVE=1, as a machine may be busy. */
const START_MS = process.env.STARLING_PROVE === "1" ? 60_000 : 180_000;
const RUN_MS = 240_000;
const SOURCES = ["crates/protocol/src/run.rs", "crates/protocol/src/escrow.rs", "crates/protocol/src/lease.rs", "crates/primitives/src/amount.rs"];

let system, browser, ada, bob, text;
const people = () => [ada, bob].filter(Boolean);
const scene = (name, work) => flow(name, people, () => system, work);
const region = (person, name) => person.page.getByRole("region", { name, exact: true });
const run = async (id) => system.get(`/api/v1/runs/${id}`);

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 2 }), launch()]);
  [ada, bob] = await Promise.all(["ada", "bob"].map((name) => Person.come(browser, system, name)));
  for (const person of [ada, bob]) person.account = `${person.name}.start.starling`;
  text = Buffer.concat(await Promise.all(SOURCES.map((path) => readFile(path))));
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** Signs in with an account that the sponsor makes. */
async function startWithNothing(person) {
  await person.open("/");
  await person.page.getByRole("banner").getByRole("button", { name: "Sign in" }).click();
  const dialog = person.page.getByRole("dialog", { name: "Sign in" });
  await dialog.getByLabel("New account on the embedded chain").fill(person.name);
  const shown = await person.approve(() => dialog.getByRole("button", { name: "Start with nothing: a sponsor makes the account" }).click(), "Create account and sign in");
  await person.page.getByRole("banner").getByText(person.account).waitFor();
  return shown;
}

/** Fills the form of a small run and waits for the quote; gives the button that pays. */
async function quoted(person, price = "0.5") {
  const { page } = person;
  await person.open("/train");
  await page.getByLabel("Recipe").selectOption("tiny");
  await page.getByLabel("Text to train on").setInputFiles({ name: "sources.rs", mimeType: "text/plain", buffer: text });
  await page.getByLabel("Nodes, at most").fill("1");
  await page.getByLabel("Price cap").fill(price);
  await page.getByRole("button", { name: "Get the quote" }).click();
  await region(person, "Quote").getByText("You pay at most").waitFor({ timeout: 60_000 });
  return page.getByRole("button", { name: /^Train for at most/ });
}

async function started(person) {
  await person.page.waitForURL(/\/runs\/\d+$/);
  return Number(person.page.url().split("/").at(-1));
}

scene("person_with_nothing__should_have_a_job_running_within_a_minute", async () => {
  const begun = Date.now();
  assert.match(await startWithNothing(ada), /It holds nothing: a sponsor pays for making it\./);
  assert.equal(await system.holds(ada.account), 0n, "the sponsor gives no money");
  let windows = 0;
  ada.page.on("popup", () => (windows += 1));
  await region(ada, "Empty wallet").getByRole("button", { name: "Get play money" }).click();
  await region(ada, "Empty wallet").waitFor({ state: "hidden" });
  assert.equal(await system.holds(ada.account), 100n * 10n ** 24n, "the faucet's gift");
  const pay = await quoted(ada);
  await ada.approve(() => pay.click());
  const id = await started(ada);
  await until("the run to train", async () => ["training", "ended"].includes((await run(id)).run.state.state), START_MS);
  const took = Date.now() - begun;
  assert.equal(windows, 1, "one approval after sign-in");
  console.log(`from nothing to a running job: ${(took / 1000).toFixed(1)} s`);
  assert.ok(took <= START_MS, `it took ${took} ms`);
  // This tab signs its rounds: it stays until the nodes are free again.
  await ada.page.getByText("finished", { exact: true }).first().waitFor({ timeout: RUN_MS });
});

/** Does something that must open no window. */
async function quietly(person, action) {
  let opened = false;
  const note = () => (opened = true);
  person.page.on("popup", note);
  await action();
  person.page.off("popup", note);
  assert.ok(!opened, "a window opened");
}

const ownKey = async () => {
  const { deployment } = await system.network();
  const record = await system.view(deployment.billing, "account", { account_id: ada.account });
  return record.keys[0];
};

scene("session_key__should_be_made_with_one_approval", async () => {
  await ada.open("/billing");
  const form = ada.page.getByRole("form", { name: "Pay without asking" });
  await form.getByLabel("Cap, NEAR").fill("5");
  await form.getByText("so that it holds the cap").waitFor();
  const shown = await ada.approve(() => form.getByRole("button", { name: "Allow up to 5.0000 NEAR" }).click());
  assert.match(shown, /Let the key ed25519:\w+ spend at most 5\.0000 NEAR of your balance, without asking again, until .* UTC, on compute\.starling, hub\.starling, market\.starling\./);
  assert.match(shown, /Let a key call pay_from_balance of billing\.starling in your name, without asking again, with at most 0\.5000 NEAR of gas\. It can attach no NEAR\./);
  await region(ada, "Session keys").getByText("This browser's key.").waitFor();
  const [key, terms] = await ownKey();
  assert.equal(BigInt(terms.cap), BigInt(nearToYocto("5")));
  assert.ok((await system.balance(ada.account)) >= BigInt(nearToYocto("5")), "the balance holds the cap");
  const kept = await ada.page.evaluate(
    () =>
      new Promise((done) => {
        const opening = indexedDB.open("starling", 1);
        opening.onsuccess = () => {
          const request = opening.result.transaction("session-keys").objectStore("session-keys").getAll();
          request.onsuccess = async () => done(await Promise.all(request.result.map(async ({ privateKey }) => ({ extractable: privateKey.extractable, refused: await crypto.subtle.exportKey("pkcs8", privateKey).then(() => false, () => true) }))));
        };
      }),
  );
  assert.deepEqual(kept, [{ extractable: false, refused: true }], "no script can read the key out");
  assert.ok(key.startsWith("ed25519:"));
  assert.deepEqual(await pictures(browser, ada, { "billing-session-key": "/billing" }), []);
});

let paid;

scene("session_key__should_pay_for_training_without_a_window", async () => {
  const before = await system.balance(ada.account);
  const pay = await quoted(ada);
  await region(ada, "Quote").getByText("nobody: this browser's session key pays from your balance").waitFor();
  await quietly(ada, async () => {
    await pay.click();
    paid = await started(ada);
  });
  const [, terms] = await ownKey();
  const { run: record } = await run(paid);
  assert.ok(BigInt(terms.spent) >= BigInt(record.deposit), "what was paid counts against the cap");
  assert.ok((await system.balance(ada.account)) <= before - BigInt(record.deposit), "it came from the balance");
  await ada.page.getByText("finished", { exact: true }).first().waitFor({ timeout: RUN_MS });
});

scene("session_key__should_pay_for_a_rent_without_a_window", async () => {
  const { result } = await until("a model", async () => [await run(paid)].find(({ result }) => result), RUN_MS);
  await ada.open(`/compute/rent/1?model=${result.model}`);
  await ada.page.getByLabel("Model").selectOption(result.model);
  await ada.page.getByLabel("Text to continue").fill("Once");
  await ada.page.getByLabel("New tokens, at most").fill("20");
  await region(ada, "Quote").getByText("nobody: this browser's session key pays from your balance").waitFor();
  await quietly(ada, async () => {
    await ada.page.getByRole("button", { name: /^Rent for at most/ }).click();
    await ada.page.waitForURL(/\/leases\/\d+$/);
  });
  await ada.page.getByText("The work is complete.").waitFor({ timeout: RUN_MS });
});

scene("above_its_cap__should_be_refused_and_ask_the_wallet", async () => {
  const [key, terms] = await ownKey();
  const pay = await quoted(ada, "4000");
  await region(ada, "Quote").getByText("that the session key may still spend").waitFor();
  const window = await ada.asked(() => pay.click());
  await reject(window);
  await ada.page.getByRole("alert").getByText("nothing was charged").waitFor();
  // A page that asks all the same is refused by the contract.
  const { deployment, rpc_url } = await system.network();
  const left = BigInt(terms.cap) - BigInt(terms.spent);
  const bounds = { expires_by: Date.now() + 3_600_000, post_at_once: "0", fee: 200, holdback: 0, voucher: null, objection_window: 0 };
  const args = { target: deployment.hub, amount: (left + 1n).toString(), storage: "0", bounds, msg: {} };
  const before = await system.balance(ada.account);
  const refused = await ada.page.evaluate(
    async (call) => (await globalThis.starling.load("session")).send(call).then(() => "paid", ({ message }) => message),
    { rpcUrl: rpc_url, signerId: ada.account, publicKey: key, receiverId: deployment.billing, methodName: "pay_from_balance", args, gas: "100000000000000" },
  );
  assert.match(refused, /cap would be passed/);
  assert.equal(await system.balance(ada.account), before, "nothing moved");
});

scene("sign_out_everywhere__should_take_keys_and_sessions", async () => {
  const elsewhere = await browser.newContext({ storageState: { cookies: (await ada.context.storageState()).cookies, origins: [] } });
  const session = async () => (await elsewhere.request.get(`${system.dashboard}/api/v1/session`)).status();
  assert.equal(await session(), 200, "signed in elsewhere too");
  const { deployment } = await system.network();
  const [key] = await ownKey();
  await ada.open("/billing");
  const out = region(ada, "Session keys").getByRole("button", { name: "Sign out everywhere" });
  await region(ada, "Session keys").getByText("This browser's key.").waitFor();
  assert.match(await ada.approve(() => out.click()), /End the session key/);
  await ada.page.getByRole("banner").getByRole("button", { name: "Sign in" }).waitFor();
  assert.equal(await session(), 401);
  await elsewhere.close();
  assert.deepEqual((await system.view(deployment.billing, "account", { account_id: ada.account })).keys, []);
  const provider = new JsonRpcProvider({ url: system.rpc }, { retries: 1 });
  await assert.rejects(provider.query({ request_type: "view_access_key", finality: "final", account_id: ada.account, public_key: key }), "the key is gone from the account");
  assert.equal(await ada.page.evaluate((publicKey) => globalThis.starling.load("session").then((session) => session.has({ publicKey })), key), false, "and from this browser");
});

scene("sponsor__should_pay_gas_for_an_empty_wallet", async () => {
  await startWithNothing(bob);
  await region(bob, "Empty wallet").getByRole("button", { name: "Get play money" }).click();
  await region(bob, "Empty wallet").waitFor({ state: "hidden" });
  await bob.open("/billing");
  const move = region(bob, "Move money");
  await move.getByLabel("Amount").fill("20");
  await bob.approve(() => move.getByRole("button", { name: "Deposit", exact: true }).click());
  await move.getByText("Deposited 20.0000 NEAR.").waitFor();
  // All but a little leaves the wallet.
  const wallet = await bob.context.newPage();
  await wallet.goto(system.wallet);
  const stored = await wallet.evaluate(() => Object.values(localStorage).find((text) => text.includes("secretKey")));
  await wallet.close();
  const [{ secretKey }] = JSON.parse(stored).accounts;
  const account = new Account(bob.account, new JsonRpcProvider({ url: system.rpc }, { retries: 1 }), secretKey);
  await account.transfer({ receiverId: "tenant.starling", amount: (await system.holds(bob.account)) - BigInt(nearToYocto("0.01")) });
  await bob.open("/");
  await region(bob, "Empty wallet").getByText("A sponsor pays the gas").waitFor();
  const before = [await system.holds(bob.account), await system.balance(bob.account)];
  const pay = await quoted(bob);
  const shown = await bob.approve(() => pay.click());
  assert.match(shown, /Pay at most .* NEAR from your balance for a training run/);
  assert.match(shown, /paid by a sponsor, which sends this for you/);
  const { run: record } = await run(await started(bob));
  assert.equal(record.tenant, bob.account);
  assert.ok((await system.balance(bob.account)) <= before[1] - BigInt(record.deposit), "the price came from the balance");
  assert.equal(await system.holds(bob.account), before[0], "and the gas from the sponsor");
  // What is not listed is not sponsored, whoever asks.
  const refused = await bob.fetch("/api/v1/sponsor/calls", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ signed_delegate_action: "AAAA" }) });
  assert.deepEqual([refused.status, JSON.parse(refused.body).code], [400, "delegate_malformed"]);
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual([...ada.outside, ...bob.outside], []);
  assert.deepEqual([...ada.wrong, ...bob.wrong], []);
});
