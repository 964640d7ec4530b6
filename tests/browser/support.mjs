// A whole Starling for the browser tests, and what a person does in front of it.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { chromium } from "playwright-core";

const FAILURES = "target/browser-failures";
const START_MS = 120_000;

/** Chain, contracts, coordinator, nodes, dashboard and wallet in a home of their own, as `starling up --serve` starts them. */
export class System {
  static async start({ nodes = 3 } = {}) {
    const home = await mkdtemp(join(tmpdir(), "starling-browser-"));
    const system = new System();
    system.home = home;
    system.nodes = [];
    const args = ["--json", "--home", join(home, "state"), "up", "--serve", "--nodes", String(nodes), "--port", "0", "--target", await targetFolder(home)];
    const program = resolve(process.env.STARLING_PROGRAM ?? "target/debug/starling");
    system.process = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    system.errors = "";
    system.process.stderr.on("data", (text) => (system.errors += text));
    system.ended = new Promise((done) => system.process.once("exit", done));
    const ready = await Promise.race([system.#ready(), system.ended.then((status) => assert.fail(`starling up ended with ${status}:\n${system.errors}`)), late(START_MS, "starling up was not ready")]);
    return Object.assign(system, ready);
  }

  async #ready() {
    for await (const line of createInterface({ input: this.process.stdout })) {
      const said = JSON.parse(line);
      if (said.event === "error") assert.fail(said.message);
      if (said.event === "ready") return { dashboard: said.dashboard, wallet: said.wallet, rpc: said.rpc };
    }
    return new Promise(() => {});
  }

  async stop() {
    await Promise.all([end(this.delegate), ...this.nodes.map(end), end(this.process)]);
    // What starling up started may write for a moment more when it was killed.
    await rm(this.home, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
  }

  /** The key file of an account of the chain's first block. */
  key(account) {
    return join(this.home, "state/keys", `${account}.json`);
  }

  /**
   * Node 1 takes tenants whose meter is a delegate, who may object for an hour, and provider 2 serves as one. Gives the delegate's account and key.
   */
  async startDelegate() {
    execute("gpu-node", "setup", "--coordinator", this.dashboard, "--rpc", this.rpc, "--provider-key", this.key("provider-1.starling"), "--home", join(this.home, "state/node-1"), "--threads", "1", "--objection-hours", "1");
    const home = join(this.home, "delegate");
    execute("starling", "--home", home, "login", "--coordinator", this.dashboard, "--key-file", this.key("provider-2.starling"));
    this.delegate = spawn(program("starling"), ["--json", "--home", home, "meter", "--key-file", join(this.home, "delegate.json")], { stdio: ["ignore", "pipe", "inherit"] });
    const { value } = await createInterface({ input: this.delegate.stdout })[Symbol.asyncIterator]().next();
    const { account, key } = JSON.parse(value);
    return { account, key };
  }

  /** Starts a node again with another configuration. */
  async restartNode(number, change) {
    const folder = join(this.home, `state/node-${number}`);
    const config = join(folder, "node.toml");
    await writeFile(config, change(await readFile(config, "utf8")));
    const first = Number(await readFile(join(folder, "pid"), "utf8"));
    process.kill(first);
    // One that nobody has asked for its end yet has no command line any more.
    await until("the node to end", async () => (await readFile(`/proc/${first}/cmdline`).catch(() => "")).length === 0);
    this.nodes.push(spawn(program("gpu-node"), ["run", "--config", config], { stdio: "ignore" }));
  }

  /** A request to the coordinator as nobody. */
  async get(path) {
    const answer = await fetch(`${this.dashboard}${path}`);
    assert.ok(answer.ok, `${path} answered ${answer.status}`);
    return answer.json();
  }

  async network() {
    return this.get("/api/v1/network");
  }

  /** A view of a contract at the last final block. */
  async view(contract, method, args) {
    const params = { request_type: "call_function", finality: "final", account_id: contract, method_name: method, args_base64: Buffer.from(JSON.stringify(args)).toString("base64") };
    const { result } = await this.#rpc("query", params);
    return JSON.parse(Buffer.from(result).toString());
  }

  /** What an account holds on the chain itself, in yoctoNEAR. */
  async holds(account) {
    return BigInt((await this.#rpc("query", { request_type: "view_account", finality: "final", account_id: account })).amount);
  }

  /** The free balance of an account in billing, in yoctoNEAR. */
  async balance(account) {
    const { deployment } = await this.network();
    const record = await this.view(deployment.billing, "account", { account_id: account });
    return (record?.balances ?? []).reduce((sum, [, amount]) => sum + BigInt(amount), 0n);
  }

  /** What left an escrow, in yoctoNEAR, by the events of its transactions on the chain, which the payer's history names: refunds, fee, and what payees were credited. */
  async moved(escrow, payer) {
    const history = await payer.fetch(`/api/v1/history?account=${payer.account}&limit=100`);
    assert.equal(history.status, 200, history.body);
    const entries = JSON.parse(history.body).filter(({ escrow_id }) => escrow_id === escrow);
    const sum = { refund: 0n, fee: 0n, credits: 0n };
    for (const hash of new Set(entries.map(({ tx }) => tx))) {
      const { receipts_outcome } = await this.#rpc("tx", { tx_hash: hash, sender_account_id: payer.account, wait_until: "FINAL" });
      const logs = receipts_outcome.flatMap(({ outcome }) => outcome.logs).filter((log) => log.startsWith("EVENT_JSON:"));
      for (const { data } of logs.map((log) => JSON.parse(log.slice("EVENT_JSON:".length)))) {
        if (data?.escrow_id !== escrow || data.moved === undefined) continue;
        sum.refund += BigInt(data.moved.refund);
        sum.fee += BigInt(data.moved.fee);
        for (const [, amount] of data.moved.credits) sum.credits += BigInt(amount);
      }
    }
    return sum;
  }

  async #rpc(method, params) {
    const answer = await fetch(this.rpc, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ jsonrpc: "2.0", id: "test", method, params }) });
    const { result, error } = await answer.json();
    assert.equal(error ?? null, null, `${method}: ${JSON.stringify(error)}`);
    return result;
  }
}

/** Where a program of ours lies. */
export function program(name) {
  return resolve(process.env.STARLING_PROGRAM ?? "target/debug/starling", "..", name);
}

/** Ends a process, one that does not listen by force, and waits until it is gone. */
export async function end(child) {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 15_000);
  await gone;
  clearTimeout(force);
}

/** Runs a program of ours to its end; gives what it said. */
export function execute(name, ...args) {
  const done = spawnSync(program(name), args, { encoding: "utf8" });
  assert.equal(done.status, 0, `${name} ${args.join(" ")}: ${done.error ?? done.stderr}`);
  return done.stdout;
}

/** `target`, or a folder like it with the dashboard that STARLING_DASHBOARD names. */
async function targetFolder(home) {
  const dashboard = process.env.STARLING_DASHBOARD;
  if (dashboard === undefined) return resolve("target");
  const folder = join(home, "target");
  await mkdir(folder);
  await symlink(resolve(dashboard), join(folder, "dashboard"));
  for (const part of ["contracts", "wallet"]) await symlink(resolve("target", part), join(folder, part));
  return folder;
}

/** A person with a browser of their own: cookies, keys and windows are shared with nobody. */
export class Person {
  constructor(system, name) {
    this.system = system;
    this.name = name;
    this.account = `${name}.faucet.starling`;
    this.outside = [];
    this.wrong = [];
  }

  static async come(browser, system, name) {
    const person = new Person(system, name);
    person.context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
    person.context.setDefaultTimeout(60_000);
    person.context.on("request", (request) => person.#note(request.url()));
    person.page = await person.context.newPage();
    person.page.on("pageerror", (error) => person.wrong.push(String(error)));
    return person;
  }

  #note(url) {
    const { protocol, hostname } = new URL(url);
    if (!["data:", "blob:"].includes(protocol) && !["127.0.0.1", "localhost"].includes(hostname)) this.outside.push(url);
  }

  async open(path) {
    await this.page.goto(`${this.system.dashboard}${path}`);
    await this.page.getByRole("heading", { level: 1 }).first().waitFor();
  }

  /** Does something that makes the wallet ask; gives the wallet's window. */
  async asked(action) {
    const popup = this.page.waitForEvent("popup");
    await action();
    const window = await popup;
    await window.getByRole("button", { name: "Reject" }).waitFor();
    return window;
  }

  /** As `asked`, then approves; gives what the wallet showed. */
  async approve(action, button = "Approve") {
    const window = await this.asked(action);
    const shown = await window.locator("main").innerText();
    const closed = window.waitForEvent("close", { timeout: 60_000 });
    await press(window, button);
    // A window that stays open has something to say.
    await Promise.race([closed, window.getByRole("alert").first().waitFor({ timeout: 60_000 }).then(async () => assert.fail(`The wallet says: ${await window.getByRole("alert").first().innerText()}`)).catch((error) => (error.name === "AssertionError" ? Promise.reject(error) : closed))]);
    return shown;
  }

  async signInAsNew() {
    await this.open("/");
    await this.page.getByRole("banner").getByRole("button", { name: "Sign in" }).click();
    const dialog = this.page.getByRole("dialog", { name: "Sign in" });
    await dialog.getByLabel("New account on the embedded chain").fill(this.name);
    const shown = await this.approve(() => dialog.getByRole("button", { name: "Create account and sign in" }).click(), "Create account and sign in");
    await this.page.getByRole("banner").getByText(this.account).waitFor();
    return shown;
  }

  /** A request to the coordinator with this person's session. */
  async fetch(path, options) {
    return this.page.evaluate(async ([path, options]) => {
      const answer = await fetch(path, options);
      return { status: answer.status, body: await answer.text() };
    }, [path, options]);
  }
}

/** Presses a button of a wallet's window, which may be gone before the click is answered. */
export const press = (window, button) =>
  window.getByRole("button", { name: button, exact: true }).click().catch((error) => (window.isClosed() ? undefined : Promise.reject(error)));

/** Refuses what a window of the wallet asks. */
export async function reject(window) {
  const closed = window.waitForEvent("close", { timeout: 60_000 });
  await press(window, "Reject");
  await closed;
}

/** Asks until the answer is truthy. */
export async function until(what, ask, limit = 90_000) {
  const end = Date.now() + limit;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) assert.fail(`waited ${limit / 1000} s for ${what}`);
    await new Promise((done) => setTimeout(done, 200));
  }
}

function late(milliseconds, what) {
  return new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} within ${milliseconds / 1000} s`)), milliseconds).unref());
}

export function launch(...args) {
  return chromium.launch({ executablePath: process.env.STARLING_BROWSER ?? "/usr/bin/chromium", args: ["--no-sandbox", ...args], timeout: 120_000 });
}

/** A test that leaves what every person saw, and the programs' logs, in `target/browser-failures` when it fails. */
export function flow(name, people, system, work) {
  test(name, async () => {
    for (const { context } of people()) await context.tracing.start({ snapshots: true }).catch(() => {});
    let failed = true;
    try {
      await work();
      failed = false;
    } finally {
      if (failed) await keep(name, people(), system());
      else for (const { context } of people()) await context.tracing.stop().catch(() => {});
    }
  });
}

async function keep(name, people, system) {
  const folder = join(FAILURES, name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const { name: who, context, wrong } of people) {
    for (const [index, page] of context.pages().entries()) await page.screenshot({ path: join(folder, `${who}-${index}.png`), fullPage: true }).catch(() => {});
    await context.tracing.stop({ path: join(folder, `${who}.zip`) }).catch(() => {});
    await writeFile(join(folder, `${who}.log`), wrong.join("\n"));
  }
  const logs = join(system?.home ?? "", "state/logs");
  for (const log of ["coordinator", "node-1", "node-2", "node-3"]) {
    const path = join(logs, `${log}.log`);
    if (existsSync(path)) await writeFile(join(folder, `${log}.log`), await readFile(path));
  }
  console.error(`What was seen is in ${folder}`);
}
