// How large and how quick the dashboard is: bytes of the first screen, time until it can be used, filtering 500 offers, moving a curve of 100,000 points.
// Run by `cargo xtask bench dashboard`; ends with status 1 when a limit is passed.
import assert from "node:assert/strict";
import { join } from "node:path";
import { Person, System, execute, launch, until } from "./support.mjs";

const LIMITS = { "bytes of the first screen, Brotli (kB)": 350, "first usable screen (ms)": 1_000, "500 offers filtered (ms)": 50, "500 offers filtered, processor time of the page (ms)": Infinity, "longest task while a curve of 100,000 points moves (ms)": 50 };
const OFFERS = 500;
const POINTS = 100_000;
const TIMES = 5;

const system = await System.start({ nodes: 1 });
const browser = await launch();
const found = {};
try {
  await firstScreen();
  await offers();
  await curve();
} finally {
  await browser.close();
  await system.stop();
}
let passed = true;
console.log("| what | measured | at most |\n|---|---|---|");
for (const [what, most] of Object.entries(LIMITS)) {
  passed &&= found[what] <= most;
  console.log(`| ${what} | ${found[what].toFixed(1)} | ${Number.isFinite(most) ? most : ""} |`);
}
process.exitCode = passed ? 0 : 1;

/** A person who was never here: how long it takes until the first screen can be used, and all that was sent for it, as it was sent. */
async function firstScreen() {
  const times = [];
  let bytes = 0;
  for (let round = 0; round < TIMES; round += 1) {
    const person = await Person.come(browser, system, "visitor");
    const answers = [];
    person.page.on("requestfinished", (request) => answers.push(sent(request)));
    await person.page.goto(system.dashboard, { waitUntil: "commit" });
    times.push(
      await person.page.evaluate(
        () =>
          new Promise((done) => {
            const look = () => {
              if (document.querySelector("h1")) requestAnimationFrame(() => done(performance.now()));
              else requestAnimationFrame(look);
            };
            look();
          }),
      ),
    );
    // The font, and the first answers of coordinator and chain.
    await person.page.waitForTimeout(1_000);
    const all = await Promise.all(answers);
    bytes = all.reduce((sum, { bytes }) => sum + bytes, 0);
    if (round === 0) for (const { path, bytes } of all) console.log(`${String(bytes).padStart(7)} bytes ${path}`);
    await person.context.close();
  }
  found["bytes of the first screen, Brotli (kB)"] = bytes / 1_000;
  found["first usable screen (ms)"] = median(times);
}

/** The bytes of an answer's body on their way; what can be compressed must be, with Brotli. */
async function sent(request) {
  const [path, response, { responseBodySize }] = [new URL(request.url()).pathname, await request.response(), await request.sizes()];
  if (/[.](wasm|js|css)$/.test(path)) assert.equal(await response.headerValue("content-encoding"), "br", path);
  return { path, bytes: responseBodySize };
}

/** From the choice in a filter until the list is on the screen. */
async function offers() {
  const [offer] = await until("an offer", async () => [await system.get("/api/v1/offers")].find((offers) => offers.length > 0));
  const kinds = ["cpu", "nvidia", "amd"];
  const many = Array.from({ length: OFFERS }, (_, index) => {
    const copy = structuredClone(offer);
    Object.assign(copy.offer, { id: index + 1 });
    Object.assign(copy.node.node.capability, { kind: kinds[index % 3], matrix_gflops: (index * 104_729) % 90_000 });
    return copy;
  });
  const person = await Person.come(browser, system, "visitor");
  await person.page.route("**/api/v1/offers", (route) => route.fulfill({ json: many }));
  await person.open("/compute");
  await person.page.getByText(`${OFFERS} offers fit`).waitFor();
  const times = [];
  const worked = [];
  const devtools = await person.context.newCDPSession(person.page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  // Milliseconds of processor time of the page's own thread.
  const work = async () => 1_000 * (await devtools.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
  const device = person.page.getByRole("combobox", { name: "Device", exact: true });
  for (const kind of [...kinds, ...kinds]) {
    const before = await work();
    times.push(
      await device.evaluate(async (select, kind) => {
        const begun = performance.now();
        const table = () => document.querySelector("main table");
        const before = document.querySelector("main [role=status]").textContent;
        select.value = kind;
        select.dispatchEvent(new Event("change", { bubbles: true }));
        while (document.querySelector("main [role=status]")?.textContent === before && performance.now() - begun < 2_000) await Promise.resolve().then(() => new Promise((done) => setTimeout(done)));
        table().getBoundingClientRect();
        return performance.now() - begun;
      }, kind),
    );
    worked.push((await work()) - before);
    await device.selectOption("");
    await person.page.getByText(`${OFFERS} offers fit`).waitFor();
  }
  found["500 offers filtered (ms)"] = median(times);
  found["500 offers filtered, processor time of the page (ms)"] = median(worked);
  await person.context.close();
}

/** A hand that drags the curve of a finished run from one end to the other. */
async function curve() {
  execute("starling", "--home", join(system.home, "state"), "--json", "train", "crates/protocol/src/run.rs", "--recipe", "tiny", "--nodes", "1");
  const points = Array.from({ length: POINTS }, (_, step) => ({ curve: "train", node_id: 1, step, loss: 3 + Math.sin(step / 900) + (step % 17) / 40, learning_rate: 3e-4, at: 1_000 + step }));
  const person = await Person.come(browser, system, "visitor");
  const { page } = person;
  await page.route("**/api/v1/runs/1/metrics*", (route) => route.fulfill({ json: { points: route.request().url().includes("after=0") ? points : [], last: POINTS } }));
  await person.open("/runs/1");
  await page.locator("path.train").waitFor({ state: "attached", timeout: 60_000 });
  // The run has ended: when its last figures are in, nothing more is read.
  await page.waitForTimeout(35_000);
  for (let times = 0; times < 3; times += 1) await page.getByRole("button", { name: "Closer" }).click();
  await page.evaluate(() => {
    globalThis.longest = 0;
    new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => (globalThis.longest = Math.max(globalThis.longest, duration)))).observe({ type: "longtask" });
  });
  const before = await page.locator("path.train").getAttribute("d");
  const box = await page.locator("svg.chart").first().boundingBox();
  await page.mouse.move(box.x + box.width * 0.1, box.y + box.height / 2);
  await page.mouse.down();
  for (let step = 0; step <= 120; step += 1) await page.mouse.move(box.x + box.width * (0.1 + (0.8 * step) / 120), box.y + box.height / 2);
  await page.mouse.up();
  await page.waitForTimeout(200);
  if ((await page.locator("path.train").getAttribute("d")) === before) throw new Error("the curve did not move");
  // The browser names no task of less than 50 ms.
  found["longest task while a curve of 100,000 points moves (ms)"] = await page.evaluate(() => globalThis.longest);
  await person.context.close();
}

function median(times) {
  return times.sort((left, right) => left - right)[times.length >> 1];
}
