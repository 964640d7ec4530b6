// The built dashboard starts under a strict content security policy and asks nobody but its own server.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { after, before, test } from "node:test";
import { brotliCompressSync } from "node:zlib";
import { chromium } from "playwright-core";

/** All that comes before the first screen, in bytes of Brotli. */
const MOST_BYTES = 300_000;
const folder = process.env.STARLING_DASHBOARD ?? "target/dashboard";
// The second name is that of the site that cargo-leptos makes.
const index = existsSync(join(folder, "index.html")) ? "index.html" : "page.html";
// Only the lean build compresses its files and cuts the module apart.
const lean = readdirSync(folder).some((name) => name.endsWith(".br"));
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
let server, browser, address;

before(async () => {
  server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    const body = await readFile(join(folder, extname(path) ? path : index)).catch(() => null);
    response.setHeader("content-security-policy", "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'");
    response.setHeader("content-type", types[extname(path) || ".html"] ?? "application/octet-stream");
    response.writeHead(body ? 200 : 404).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  address = `http://127.0.0.1:${server.address().port}`;
  browser = await chromium.launch({ executablePath: process.env.STARLING_BROWSER, args: ["--no-sandbox"] });
});

after(async () => {
  await browser?.close();
  server?.close();
});

test("built_page__should_start_under_a_strict_policy_without_outside_requests", async () => {
  const page = await browser.newPage();
  const [failures, requests] = [[], []];
  page.on("pageerror", (error) => failures.push(String(error)));
  page.on("console", (message) => message.text().includes("Content Security Policy") && failures.push(message.text()));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(address);
  await page.locator("main").first().waitFor();
  assert.deepEqual(failures, []);
  const own = (url) => url.startsWith(address) || url.startsWith("data:") || url.startsWith("blob:");
  assert.deepEqual(requests.filter((url) => !own(url)), []);
  assert.ok(requests.some((url) => url.endsWith(".wasm")));
});

test("wallet_part__should_load_on_demand_alone", async () => {
  const page = await browser.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await page.goto(address);
  await page.locator("main").first().waitFor();
  assert.ok(!requests.some((path) => path.startsWith("/wallet")));
  const names = await page.evaluate(async () => Object.keys(await globalThis.starling.load("wallet")));
  assert.ok(names.length > 0);
  assert.ok(requests.some((path) => path.startsWith("/wallet")));
  await assert.rejects(page.evaluate(() => globalThis.starling.load("nothing")), /no part "nothing"/);
});

test("first_screen__should_stay_below_its_bytes", { skip: !lean }, async () => {
  const page = await browser.newPage();
  const [files, missing] = [[], []];
  page.on("response", (response) => (response.ok() ? files : missing).push(new URL(response.url()).pathname));
  await page.goto(address);
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.evaluate(() => document.fonts.ready);
  const sizes = {};
  for (const file of new Set(files.filter((file) => !file.startsWith("/api/")))) {
    const path = join(folder, extname(file) ? file : index);
    const bytes = existsSync(`${path}.br`) ? await readFile(`${path}.br`) : await readFile(path);
    sizes[file] = existsSync(`${path}.br`) ? bytes.length : Math.min(bytes.length, brotliCompressSync(bytes).length);
  }
  const all = Object.values(sizes).reduce((sum, size) => sum + size);
  assert.ok(Object.keys(sizes).some((file) => file.endsWith(".woff2")) && all > 100_000, JSON.stringify(sizes));
  assert.ok(all <= MOST_BYTES, `${all} bytes: ${JSON.stringify(sizes)}`);
  assert.ok(missing.every((path) => path.startsWith("/api/")), missing.join(", "));
});

test("screen__should_come_when_someone_goes_there_and_say_when_it_cannot", { skip: !lean }, async () => {
  const page = await browser.newPage();
  const modules = [];
  page.on("request", (request) => request.url().endsWith(".wasm") && modules.push(request.url()));
  await page.goto(address);
  await page.getByRole("heading", { level: 1 }).waitFor();
  assert.equal(modules.length, 1);
  await page.route("**/*.wasm", (route) => route.abort());
  await page.getByRole("link", { name: "Models", exact: true }).click();
  await page.getByText("This screen could not be loaded").waitFor();
  await page.unroute("**/*.wasm");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("heading", { level: 1, name: "Models" }).waitFor();
  assert.ok(modules.length > 1);
});
