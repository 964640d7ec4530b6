// Renting: what the browser says it costs at most is what the contract takes, over random offers, and a unit less it refuses; and all of it by keyboard alone.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { Account, JsonRpcProvider, nearToYocto, teraToGas } from "near-api-js";
import { Person, System, flow, launch, press, until } from "./support.mjs";

const OFFERS = 6;
const HOUR_MS = 3_600_000;
const MODEL = Buffer.from("a model".padEnd(32)).toString("hex");
const SEED = Date.now() % 2 ** 31;

let system, browser, ada, bob;
const people = () => [ada, bob].filter(Boolean);
const scene = (name, work) => flow(name, people, () => system, work);

async function actor(account) {
  const { private_key } = JSON.parse(await readFile(system.key(account), "utf8"));
  return new Account(account, new JsonRpcProvider({ url: system.rpc }, { retries: 1 }), private_key);
}

const call = (who, contractId, methodName, args, deposit) => who.callFunction({ contractId, methodName, args, gas: teraToGas("100"), deposit });

let state = SEED;
/** Numbers that look random and follow from the seed (Park and Miller). */
function draw(most) {
  state = (state * 48_271) % 2_147_483_647;
  return 1 + (state % most);
}

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 1 }), launch()]);
  [ada, bob] = await Promise.all(["ada", "bob"].map((name) => Person.come(browser, system, name)));
  await ada.signInAsNew();
  const { deployment } = await system.network();
  const file = { name: "model.safetensors", hash: MODEL, bytes: 1_000 };
  await call(await actor("tenant.starling"), deployment.hub, "publish", { slug: "model", kind: "model", category: "text_generation", title: "A model", summary: "For quotes.", licence: "MIT", asset: "near", price: "0", price_per_use: null, parents: [], royalty: 0, files: [file], run_id: null }, nearToYocto("0.1"));
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** Presses Tab until what has the focus is called so. */
async function tabTo(page, name) {
  for (let presses = 0; presses < 120; presses += 1) {
    await page.keyboard.press("Tab");
    const called = await page.evaluate(() => {
      const { activeElement: element } = document;
      return element?.labels?.[0]?.textContent ?? element?.getAttribute("aria-label") ?? element?.textContent ?? "";
    });
    if (name.test(called.trim())) return;
  }
  assert.fail(`nothing called ${name} has a place in the order of Tab`);
}

/** What `action` has the wallet ask, answered by keyboard. */
async function answered(person, action, button) {
  const popup = person.page.waitForEvent("popup");
  await action();
  const window = await popup;
  await window.getByRole("button", { name: "Reject" }).waitFor();
  const closed = window.waitForEvent("close", { timeout: 60_000 });
  await tabTo(window, button);
  await window.keyboard.press("Enter");
  await closed;
}

scene("keyboard_alone__should_sign_in_and_rent", async () => {
  const { page } = bob;
  const { keyboard } = page;
  await bob.open("/compute");
  await tabTo(page, /^Sign in$/);
  await keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Sign in" }).waitFor();
  await tabTo(page, /^New account on the embedded chain/);
  await keyboard.type("bob");
  await answered(bob, () => keyboard.press("Enter"), /^Create account and sign in$/);
  await page.getByRole("banner").getByText(bob.account).waitFor();
  await page.getByRole("link", { name: "Rent" }).first().waitFor();
  await tabTo(page, /^Rent$/);
  await keyboard.press("Enter");
  await page.waitForURL(/\/compute\/rent\/\d+/);
  await page.getByRole("option", { name: "tenant.starling/model" }).waitFor({ state: "attached" });
  await tabTo(page, /^ModelChoose/);
  await keyboard.press("ArrowDown");
  await tabTo(page, /^Text to continue/);
  await keyboard.type("Once");
  await tabTo(page, /^Rent for at most/);
  await answered(bob, () => keyboard.press("Enter"), /^Approve$/);
  await page.waitForURL(/\/leases\/\d+$/);
  // The model is none, so the node cannot use it; the lease ends and the node is free again.
  const id = page.url().split("/").at(-1);
  await bob.approve(() => page.getByRole("button", { name: "Stop and get the rest back" }).click());
  await until("the lease to end", async () => ["closing", "closed"].includes((await system.get(`/api/v1/leases/${id}`)).lease.state.state), 90_000);
});

scene("quote__should_be_what_the_contract_takes_over_random_offers", async () => {
  console.log(`seed ${SEED}`);
  const { deployment } = await system.network();
  const [provider, tenant] = [await actor("provider-1.starling"), await actor("tenant.starling")];
  for (let count = 0; count < OFFERS; count += 1) {
    // Up to 0.4 NEAR an hour, with digits everywhere.
    const price = BigInt(draw(2 ** 31 - 2)) * 10n ** 14n + BigInt(draw(10 ** 9));
    const terms = { price_per_million_tokens: "1", price_per_hour: price.toString(), min_lease: 60_000, max_lease: 24 * HOUR_MS, objection_window: 0 };
    await call(provider, deployment.compute, "create_offer", { node_id: 1, terms }, nearToYocto("0.1"));
    const { offers } = await system.view(deployment.compute, "counts", {});
    const minutes = draw(24 * 60);
    await ada.open(`/compute/rent/${offers}?model=${MODEL}`);
    await ada.page.getByLabel("Model").selectOption(MODEL);
    await ada.page.getByLabel("Text to continue").fill("Once");
    await ada.page.getByLabel("Minutes, at most").fill(String(minutes));
    const window = await ada.asked(() => ada.page.getByRole("button", { name: /^Rent for at most/ }).click());
    const args = JSON.parse(await window.locator("details pre").textContent());
    // One unit less is refused, and the contract names its own figure.
    const less = { ...args, amount: (BigInt(args.amount) - 1n).toString() };
    const { receipts_outcome } = await tenant.callFunctionRaw({ contractId: deployment.billing, methodName: "pay", args: less, gas: teraToGas("100"), deposit: BigInt(args.amount) + nearToYocto("0.2") });
    const refusals = receipts_outcome.map(({ outcome }) => JSON.stringify(outcome.status)).filter((status) => status.includes("less than the quote"));
    assert.equal(refusals.length, 1, "the contract refuses less");
    assert.ok(refusals[0].includes(`the quote of ${args.amount} yocto`), `${minutes} minutes at ${price} an hour: ${args.amount}, and the contract says ${refusals[0]}`);
    const last = count === OFFERS - 1;
    const closed = window.waitForEvent("close", { timeout: 60_000 });
    await press(window, last ? "Approve" : "Reject");
    await closed;
    if (!last) continue;
    await ada.page.waitForURL(/\/leases\/\d+$/);
    const { lease } = await system.get(`/api/v1/leases/${ada.page.url().split("/").at(-1)}`);
    assert.equal(lease.deposit, args.amount, "and takes that much");
  }
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual([...ada.outside, ...bob.outside], []);
});
