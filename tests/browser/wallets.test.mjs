// A mobile and a web wallet of a public network, as near-connect loads them from the list that we serve: what they are asked, to the letter.
// Their executors are this test's own, and so are the hosts that they speak to; behind them a real key signs for the embedded chain.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { Account, JsonRpcProvider, KeyPair, KeyPairSigner, PublicKey, actions, nearToYocto, teraToGas } from "near-api-js";
import { Person, System, end, flow, launch, program, until } from "./support.mjs";

/** What the wallets of the list are to this test: who signs, and the host that their executor asks. */
const PHONE = { id: "hot-wallet", name: "HOT Wallet", account: "provider-15.starling", host: "https://h4n.app" };
const WEB = { id: "mynearwallet", name: "MyNearWallet", account: "tenant.starling", host: "https://app.mynearwallet.com" };
const CODE = "https://raw.githubusercontent.com";
const CORS = { "access-control-allow-origin": "*" };
const PRICE = BigInt(nearToYocto("2"));

/** What near-connect runs in its frame for either wallet: it hands each request on and keeps the account, as the wallets' own do. */
const EXECUTOR = `
const plain = (_, value) => (value instanceof Uint8Array ? { bytes: [...value] } : value);
const onPhone = async (request) => (await fetch("${PHONE.host}/request", { method: "POST", body: request })).json();
const inWindow = (request) =>
  new Promise((resolve) => {
    window.addEventListener("message", ({ data }) => data.status === "success" && !data.method && resolve(data.result));
    window.selector.open("${WEB.host}/sign?" + new URLSearchParams({ request }), "wallet", "width=480,height=640");
  });
const ask = (method, params) => (wallet.manifest.id === "${PHONE.id}" ? onPhone : inWindow)(JSON.stringify({ method, params }, plain));
const kept = async (accounts) => {
  await window.selector.storage.set("accounts", JSON.stringify(accounts.map(({ accountId, publicKey }) => ({ accountId, publicKey }))));
  return accounts;
};
const wallet = {
  signIn: async (params) => kept(await ask("signIn", params)),
  signInAndSignMessage: async (params) => kept(await ask("signInAndSignMessage", params)),
  signMessage: (params) => ask("signMessage", params),
  signAndSendTransaction: (params) => ask("signAndSendTransaction", params),
  signAndSendTransactions: (params) => ask("signAndSendTransactions", params),
  getAccounts: async () => JSON.parse((await window.selector.storage.get("accounts")) ?? "[]"),
  signOut: () => window.selector.storage.remove("accounts"),
};
window.selector.ready(wallet);
`;

/** The web wallet's window: it has the request in its address, and tells the page that opened it what came of it. */
const WINDOW = `<!doctype html><title>Wallet</title><script>
fetch("/request", { method: "POST", body: new URLSearchParams(location.search).get("request") })
  .then((answer) => answer.json())
  .then((result) => { opener.postMessage({ status: "success", result }, "*"); close(); });
</script>`;

let system, site, browser, people, asked;
const scene = (name, work) => flow(name, () => Object.values(people ?? {}), () => system, work);

before(async () => {
  // In a process of their own, the requests of the wallets' frames would pass by this test at times.
  [system, browser] = await Promise.all([System.start({ nodes: 1 }), launch("--disable-features=IsolateSandboxedIframes")]);
  const { deployment } = await system.network();
  const publisher = await actor("provider-16.starling");
  const file = { name: "tool.json", hash: "44".repeat(32), bytes: 10 };
  const args = { slug: "probe", kind: "tool", category: "evaluation", title: "A probe", summary: "Two NEAR for good.", licence: "MIT", asset: "near", price: PRICE.toString(), price_per_use: null, parents: [], royalty: 0, files: [file], run_id: null };
  await publisher.callFunction({ contractId: deployment.market, methodName: "publish", args, gas: teraToGas("100"), deposit: nearToYocto("0.1") });
  site = await publicSite();
  people = { phone: await visitor(PHONE), web: await visitor(WEB) };
});

after(async () => {
  await browser?.close();
  await end(site?.process);
  await system?.stop();
});

async function actor(account) {
  const { private_key } = JSON.parse(await readFile(system.key(account), "utf8"));
  return new Account(account, new JsonRpcProvider({ url: system.rpc }, { retries: 1 }), new KeyPairSigner(KeyPair.fromString(private_key)));
}

/** A second coordinator on the same chain that knows no development wallet, as on a public network: its pages reach the wallets of the list. */
async function publicSite() {
  const folder = join(system.home, "public");
  await mkdir(folder);
  const settings = await readFile(join(system.home, "state/coordinator/coordinator.toml"), "utf8");
  const config = join(folder, "coordinator.toml");
  await writeFile(config, settings.replace(/^(dev_wallet_url|faucet) = .*$/gm, "").replace(/^\[sponsor\][^[]*/m, ""));
  const own = { LISTEN: "127.0.0.1:0", PUBLIC_ORIGIN: "http://127.0.0.1:0", DATA_DIR: folder, KEY_FILE: system.key("provider-14.starling") };
  const env = Object.fromEntries(Object.entries(own).map(([name, value]) => [`STARLING_COORDINATOR_${name}`, value]));
  const coordinator = spawn(program("starling-coordinator"), ["--config", config], { env: { ...process.env, ...env }, stdio: "ignore" });
  const address = await until("the second coordinator", () => readFile(join(folder, "address"), "utf8").catch(() => ""));
  const dashboard = `http://${address.trim()}`;
  await until("what it reads of the chain", async () => (await (await fetch(`${dashboard}/api/v1/network`)).json()).fee > 0);
  return { process: coordinator, dashboard };
}

/** A person who uses one of the two wallets. The page takes the chain for mainnet: only there are both listed. */
async function visitor(wallet) {
  const person = await Person.come(browser, site, wallet.id);
  person.account = wallet.account;
  const { context } = person;
  await context.route("**/api/v1/network", async (route) => {
    const response = await route.fetch();
    const network = await response.json();
    await route.fulfill({ response, json: { ...network, deployment: { ...network.deployment, chain_id: "mainnet" } } });
  });
  await context.route((url) => !["127.0.0.1", "localhost"].includes(url.hostname), (route) => route.abort());
  await context.route(`${CODE}/**`, (route) => route.fulfill({ contentType: "text/plain", headers: CORS, body: EXECUTOR }));
  await context.route(`${wallet.host}/sign?*`, (route) => route.fulfill({ contentType: "text/html", body: WINDOW }));
  await context.route(`${wallet.host}/request`, async (route) => {
    const request = JSON.parse(route.request().postData());
    asked.push(request);
    await route.fulfill({ headers: CORS, json: await answered(wallet, request) });
  });
  return person;
}

/** The list as it is served, with this test's executor in the place of the wallets' own. */
async function takeOwnExecutors({ context }) {
  const integrity = `sha256-${createHash("sha256").update(EXECUTOR).digest("base64")}`;
  await context.route("**/wallets.json", async (route) => {
    const response = await route.fetch();
    const list = await response.json();
    await route.fulfill({ response, json: { ...list, wallets: list.wallets.map((wallet) => ({ ...wallet, integrity })) } });
  });
}

/** What the wallet's owner would do: signs, and sends to the chain. */
async function answered({ account }, { method, params }) {
  const owner = await actor(account);
  const signer = owner.getSigner();
  const publicKey = (await signer.getPublicKey()).toString();
  const native = ({ type, params }) => {
    if (type === "FunctionCall") return actions.functionCall(params.methodName, params.args, BigInt(params.gas), BigInt(params.deposit));
    const { receiverId, methodNames, allowance } = params.accessKey.permission;
    return actions.addFunctionCallAccessKey(PublicKey.from(params.publicKey), receiverId, methodNames, BigInt(allowance));
  };
  const send = async (transaction) => JSON.parse(JSON.stringify(await owner.signAndSendTransaction({ receiverId: transaction.receiverId, actions: transaction.actions.map(native), waitUntil: "FINAL" }), (_, value) => (typeof value === "bigint" ? value.toString() : value)));
  const sign = async ({ message, recipient, nonce }) => {
    const { signature } = await signer.signNep413Message(account, { message, recipient, nonce: Uint8Array.from(nonce.bytes) });
    return { accountId: account, publicKey, signature: Buffer.from(signature).toString("base64") };
  };
  switch (method) {
    case "signIn":
      return [{ accountId: account, publicKey }];
    case "signMessage":
      return sign(params);
    case "signInAndSignMessage":
      return [{ accountId: account, publicKey, signedMessage: await sign(params.messageParams) }];
    case "signAndSendTransaction":
      return send(params);
    case "signAndSendTransactions": {
      const outcomes = [];
      for (const transaction of params.transactions) outcomes.push(await send(transaction));
      return outcomes;
    }
    default:
      return assert.fail(`the wallet was asked for ${method}`);
  }
}

/** Signs in with a wallet of the list; gives the challenge that the coordinator set. */
async function signIn(person, { name, account }) {
  asked = [];
  const challenge = person.page.waitForResponse((response) => response.url().endsWith("/api/v1/login/challenge"));
  await choose(person, name);
  await person.page.getByRole("banner").getByText(account).waitFor();
  return (await challenge).json();
}

async function choose(person, name) {
  await person.open("/market/provider-16.starling/probe");
  await person.page.getByRole("banner").getByRole("button", { name: "Sign in" }).click();
  await person.page.getByRole("dialog", { name: "Sign in" }).getByRole("button", { name: "Sign in with a wallet" }).click();
  await person.page.getByRole("dialog", { name: "Choose a wallet" }).getByRole("button", { name }).click();
}

/** What NEP-413 says a wallet signs: the message, for whom, and 32 bytes that were never used before. */
const loginOf = ({ message, recipient, nonce }) => ({ message, recipient, nonce: { bytes: [...Buffer.from(nonce, "base64")] } });

scene("executor__should_not_run_when_its_bytes_are_not_those_of_the_list", async () => {
  asked = [];
  await choose(people.phone, PHONE.name);
  await people.phone.page.getByRole("alert").getByText("or is not what our list names. Nothing was signed").waitFor();
  assert.deepEqual(asked, []);
  for (const person of Object.values(people)) await takeOwnExecutors(person);
});

scene("phone__should_be_asked_for_its_account_and_then_for_the_message", async () => {
  const challenge = await signIn(people.phone, PHONE);
  assert.equal(challenge.recipient, site.dashboard);
  assert.deepEqual(asked, [
    { method: "signIn", params: { network: "mainnet" } },
    { method: "signMessage", params: { ...loginOf(challenge), network: "mainnet" } },
  ]);
});

scene("web_wallet__should_be_asked_for_both_at_once", async () => {
  const challenge = await signIn(people.web, WEB);
  assert.deepEqual(asked, [{ method: "signInAndSignMessage", params: { network: "mainnet", messageParams: loginOf(challenge) } }]);
});

/** The one transaction of buying the licence. */
async function buy({ page, account }) {
  asked = [];
  await page.getByRole("button", { name: "Buy licence for at most 2.0000 NEAR" }).click();
  await page.getByText("You hold a licence.").waitFor();
  const { deployment } = await system.network();
  const [{ params: call }] = asked[0].params.actions;
  // Storage and what an account's first record costs come back; when the payment ends is a day after the browser's clock.
  const { deposit, args: { storage, bounds: { expires_by } } } = call;
  const args = { target: deployment.market, amount: PRICE.toString(), storage, bounds: { expires_by, post_at_once: PRICE.toString(), fee: 200, holdback: 0 }, msg: { licence: { name: "provider-16.starling/probe" } } };
  assert.deepEqual(asked, [{ method: "signAndSendTransaction", params: { receiverId: deployment.billing, actions: [{ type: "FunctionCall", params: { methodName: "pay", args, gas: "100000000000000", deposit } }], network: "mainnet" } }]);
  assert.ok(Math.abs(expires_by - Date.now() - 86_400_000) < 60_000, "it ends within a day");
  const besides = BigInt(deposit) - PRICE - BigInt(storage);
  assert.ok(besides > 0n && besides < BigInt(nearToYocto("0.1")), `${besides} besides price and storage`);
  assert.ok(await system.view(deployment.market, "licence", { holder: account, name: "provider-16.starling/probe" }), "and the chain took it");
}

scene("payment__should_be_one_call_with_price_bounds_gas_and_deposit", async () => {
  await buy(people.phone);
  await buy(people.web);
});

scene("session_key__should_be_one_request_of_two_transactions", async () => {
  const { page, account } = people.web;
  const { deployment } = await system.network();
  await people.web.open("/billing");
  asked = [];
  const form = page.getByRole("form", { name: "Pay without asking" });
  await form.getByLabel("Cap, NEAR").fill("5");
  await form.getByRole("button", { name: "Allow up to 5.0000 NEAR" }).click();
  await page.getByRole("region", { name: "Session keys" }).getByText("This browser's key.").waitFor();
  const record = await system.view(deployment.billing, "account", { account_id: account });
  const [[public_key, { expires_at }]] = record.keys;
  const [{ params: { transactions: [{ actions: money }] } }] = asked;
  const call = (methodName, args, deposit, gas) => ({ type: "FunctionCall", params: { methodName, args, gas, deposit } });
  const cap = nearToYocto("5").toString();
  const targets = ["compute", "hub", "market"].map((contract) => deployment[contract]);
  const added = call("add_session_key", { public_key, cap, expires_at, targets }, "1", money.at(-1).params.gas);
  assert.deepEqual(money.slice(0, -1).map(({ params: { methodName } }) => methodName), ["storage_deposit", "deposit"]);
  assert.deepEqual(asked, [
    {
      method: "signAndSendTransactions",
      params: {
        network: "mainnet",
        transactions: [
          { receiverId: deployment.billing, actions: [...money.slice(0, -1), added] },
          { receiverId: account, actions: [{ type: "AddKey", params: { publicKey: public_key, accessKey: { permission: { receiverId: deployment.billing, methodNames: ["pay_from_balance"], allowance: nearToYocto("0.5").toString() } } } }] },
        ],
      },
    },
  ]);
});

scene("nobody_else__should_be_asked_for_anything", async () => {
  const own = ({ host }) => new RegExp(`^(${CODE}/azbang/near-connect/[0-9a-f]{40}/repository/[a-z]+\\.js$|${host}/)`);
  for (const [{ outside, wrong }, wallet] of [[people.phone, PHONE], [people.web, WEB]]) {
    assert.deepEqual(outside.filter((url) => !own(wallet).test(url)), []);
    assert.ok(outside.length > 0);
    assert.deepEqual(wrong, []);
  }
});
