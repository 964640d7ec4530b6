// Signing in with the development wallet, as a person does it, and what must not work.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { Person, System, flow, launch, reject, until } from "./support.mjs";

let system, browser, ada;
const people = () => (ada ? [ada] : []);
const scene = (name, work) => flow(name, people, () => system, work);

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 1 }), launch()]);
  ada = await Person.come(browser, system, "ada");
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

const dialog = () => ada.page.getByRole("dialog", { name: "Sign in" });
const banner = () => ada.page.getByRole("banner");

async function askToSignIn() {
  await banner().getByRole("button", { name: "Sign in" }).click();
  return ada.asked(() => dialog().getByRole("button", { name: "Sign in with a wallet" }).click());
}

scene("sign_in__should_make_an_account_and_open_a_session", async () => {
  const { deployment } = await system.network();
  const shown = await ada.signInAsNew();
  assert.match(shown, /Embedded chain only: keys are stored in this browser\./);
  assert.ok(shown.includes(deployment.chain_id), "the wallet names the chain");
  assert.ok(shown.includes(`Sign in to Starling at ${system.dashboard}`), "the wallet shows the message");
  await dialog().waitFor({ state: "hidden" });
  const session = JSON.parse((await ada.fetch("/api/v1/session")).body);
  assert.equal(session.account_id, ada.account);
  assert.equal(await system.holds(ada.account), 100n * 10n ** 24n, "the faucet's gift");
});

scene("session__should_survive_a_reload", async () => {
  await ada.page.reload();
  await banner().getByText(ada.account).waitFor();
});

scene("keys__should_stay_on_the_origin_of_the_wallet", async () => {
  const window = await ada.context.newPage();
  await window.goto(system.wallet);
  const kept = await window.evaluate(() => JSON.stringify(localStorage));
  await window.close();
  assert.match(kept, /secretKey/);
  const secret = JSON.parse(Object.values(JSON.parse(kept)).find((text) => text.includes("secretKey"))).accounts[0].secretKey;
  const seen = await ada.page.evaluate(() => JSON.stringify(localStorage) + document.cookie);
  assert.ok(!seen.includes(secret) && !seen.includes("secretKey"));
});

scene("sign_out_and_in__should_use_the_same_account", async () => {
  await banner().getByRole("button", { name: "Sign out" }).click();
  await banner().getByRole("button", { name: "Sign in" }).waitFor();
  assert.equal((await ada.fetch("/api/v1/session")).status, 401);
  await banner().getByRole("button", { name: "Sign in" }).click();
  const login = ada.page.waitForRequest((request) => request.url().endsWith("/api/v1/login"));
  await ada.approve(() => dialog().getByRole("button", { name: "Sign in with a wallet" }).click());
  await banner().getByText(ada.account).waitFor();
  const replayed = await ada.fetch("/api/v1/login", { method: "POST", headers: { "content-type": "application/json" }, body: (await login).postData() });
  assert.equal(replayed.status, 401);
  assert.equal(JSON.parse(replayed.body).code, "login_replayed");
  await banner().getByRole("button", { name: "Sign out" }).click();
  await banner().getByRole("button", { name: "Sign in" }).waitFor();
});

scene("wallet_window__should_be_readable_by_everyone", async () => {
  const window = await askToSignIn();
  const { violations } = await new AxeBuilder({ page: window }).analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), []);
  assert.equal(await window.evaluate(() => document.activeElement?.tagName), "H2", "a key pressed in haste approves nothing");
  await reject(window);
  await dialog().getByRole("button", { name: "Close" }).click();
});

scene("rejected_sign_in__should_sign_nothing_and_say_so", async () => {
  const window = await askToSignIn();
  await reject(window);
  await dialog().getByRole("alert").getByText("Nothing was signed").waitFor();
  await dialog().getByRole("button", { name: "Close" }).click();
  await banner().getByRole("button", { name: "Sign in" }).waitFor();
});

scene("closed_window__should_count_as_rejected", async () => {
  const window = await askToSignIn();
  await window.close();
  await dialog().getByRole("alert").getByText("Nothing was signed").waitFor();
  await dialog().getByRole("button", { name: "Close" }).click();
});

scene("late_approval__should_be_refused_by_the_wallet", async () => {
  const window = await askToSignIn();
  await window.evaluate(() => {
    const now = Date.now;
    Date.now = () => now() + 6 * 60_000;
  });
  await window.getByRole("button", { name: "Approve" }).click();
  await window.getByRole("alert").getByText("older than five minutes").waitFor();
  await reject(window);
  await dialog().getByRole("alert").getByText("Nothing was signed").waitFor();
  await dialog().getByRole("button", { name: "Close" }).click();
});

scene("wrong_network__should_be_refused_by_the_wallet", async () => {
  const network = await system.network();
  const other = { ...network, deployment: { ...network.deployment, chain_id: "starling-embedded-other" } };
  const page = ada.page;
  await ada.open("/network");
  const popup = page.waitForEvent("popup");
  const answer = page.evaluate(async (network) => {
    const wallet = await globalThis.starling.load("wallet");
    await wallet.init({ network });
    return wallet.signInAndSignMessage({ message: "x", recipient: location.origin, nonce: btoa("n".repeat(32)) }).catch(({ code, message }) => ({ code, message }));
  }, other);
  const window = await popup;
  await window.getByRole("alert").getByText("Nothing was signed").waitFor();
  await window.getByRole("button", { name: "Close" }).click();
  assert.equal((await answer).code, "wrong_network");
});

scene("blocked_window__should_ask_for_a_click", async () => {
  await ada.open("/");
  await banner().getByRole("button", { name: "Sign in" }).click();
  await ada.page.evaluate(() => {
    const open = window.open;
    window.open = () => {
      window.open = open;
      return null;
    };
  });
  await dialog().getByRole("button", { name: "Sign in with a wallet" }).click();
  await ada.approve(() => ada.page.getByRole("button", { name: "Open Development wallet" }).click());
  await banner().getByText(ada.account).waitFor();
});

scene("deposit_and_withdraw__should_move_what_the_wallet_showed", async () => {
  await ada.open("/billing");
  const move = ada.page.getByRole("region", { name: "Move money" });
  await move.getByLabel("Amount").fill("3");
  const window = await ada.asked(() => move.getByRole("button", { name: "Deposit" }).click());
  await reject(window);
  await move.getByRole("alert").getByText("nothing was charged").waitFor();
  assert.equal(await system.balance(ada.account), 0n);
  const shown = await ada.approve(() => move.getByRole("button", { name: "Deposit" }).click());
  assert.match(shown, /Put the attached NEAR on your balance\./);
  assert.match(shown, /3\.0000 NEAR/);
  await move.getByText("Deposited 3.0000 NEAR.").waitFor();
  const balance = await system.balance(ada.account);
  assert.ok(balance > 29n * 10n ** 23n && balance <= 3n * 10n ** 24n, `3 NEAR less the storage of the record: ${balance}`);
  const before = await system.holds(ada.account);
  await move.getByLabel("Amount").fill("1");
  assert.match(await ada.approve(() => move.getByRole("button", { name: "Withdraw" }).click()), /Take 1\.0000 NEAR of your balance out/);
  await move.getByText("1.0000 NEAR went to your wallet.").waitFor();
  assert.equal(await system.balance(ada.account), balance - 10n ** 24n);
  await until("the NEAR to arrive", async () => (await system.holds(ada.account)) > before + 9n * 10n ** 23n);
  // More than there is never reaches the wallet.
  await move.getByLabel("Amount").fill("50");
  await move.getByRole("button", { name: "Withdraw" }).click();
  await move.getByRole("alert").getByText("Nothing was signed; choose a smaller amount.").waitFor();
  assert.equal(await system.balance(ada.account), balance - 10n ** 24n);
});

scene("key_file__should_be_exported_and_imported", async () => {
  const page = await ada.context.newPage();
  await page.goto(system.wallet);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export key file" }).click();
  const path = await (await saved).path();
  await page.getByRole("button", { name: "Forget" }).click();
  await page.getByRole("button", { name: "Forget the only copy of this key" }).click();
  await page.getByText("No account yet").waitFor();
  await page.getByLabel("Import a key file").setInputFiles(path);
  await page.getByText(ada.account).waitFor();
  await page.close();
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual(ada.outside, []);
});
