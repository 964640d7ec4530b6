// Code of a person's own: from a file or a folder to outputs on their disk, paid by the time of the run; and a machine whose sandbox lacks a part.
import assert from "node:assert/strict";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { blake3 } from "@noble/hashes/blake3.js";
import { pictures } from "./screens.mjs";
import { Person, System, execute, flow, launch, until } from "./support.mjs";

const RUN_MS = 60_000;
/** Figures, both streams and a file, with nothing but the standard library. */
const SCRIPT = `
import json, sys
from starling_job import metric, output
for step in range(5):
    metric("loss", 1 / (step + 1), step=step)
print("on standard output", flush=True)
print("on standard error", file=sys.stderr, flush=True)
with open(output("result", "answer.json"), "w") as file:
    json.dump({"answer": 42}, file)
`;
const JOB = `
command = ["python", "count.py", "two words"]
max_price_near = "0.05"
max_minutes = 4
[resources]
memory_mib = 256
disk_mib = 64
[[data]]
path = "data/table.csv"
file = "../table.csv"
`;
/** Counts the lines of the data beside it and fails with that status. */
const COUNT = `
import sys
assert sys.argv[1:] == ["two words"], sys.argv
print("counting", flush=True)
sys.exit(len(open("data/table.csv").readlines()))
`;

let system, browser, ada;
const people = () => [ada].filter(Boolean);
const scene = (name, work) => flow(name, people, () => system, work);
const region = (name) => ada.page.getByRole("region", { name, exact: true });
const lease = (id) => system.get(`/api/v1/leases/${id}`);

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 1 }), launch()]);
  ada = await Person.come(browser, system, "ada");
  await ada.signInAsNew();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** Uploads what was chosen and pays; gives the lease's number. */
async function run() {
  const { page } = ada;
  await region("Quote").getByText("You pay at most").waitFor();
  await page.getByText("The provider of this job can read this code and its data.").waitFor();
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  assert.match(await ada.approve(() => page.getByRole("button", { name: /^Run for at most/ }).click()), /Pay at most .* NEAR for renting offer/);
  await page.waitForURL(/\/leases\/\d+$/);
  return Number(page.url().split("/").at(-1));
}

async function download(button) {
  const saved = ada.page.waitForEvent("download");
  await button.click();
  return (await saved).path();
}

scene("script__should_go_from_upload_to_downloaded_output", async () => {
  const { page } = ada;
  await ada.open("/train/code");
  await page.getByLabel("A script, a notebook or an archive").setInputFiles({ name: "study.py", mimeType: "text/x-python", buffer: Buffer.from(SCRIPT) });
  await region("What was found").getByText("study.py").waitFor();
  assert.equal(await page.getByLabel("Command").inputValue(), "python study.py");
  await page.getByLabel("Memory, MiB").fill("256");
  await page.getByLabel("Disk, MiB").fill("64");
  await page.getByLabel("Minutes, at most").fill("4");
  const id = await run();
  await region("How it ended").getByText("completed").waitFor({ timeout: RUN_MS });
  const printed = await page.getByRole("log", { name: "Standard output and error" }).innerText();
  assert.deepEqual(printed.trim().split("\n").sort(), ["on standard error", "on standard output"]);
  await region("Figures").getByText("loss 0.2 at step 4, the last of 5").waitFor();
  const row = region("Files").getByRole("row").filter({ hasText: "outputs/result/answer.json" });
  const bytes = await readFile(await download(row.getByRole("button", { name: "Download" })));
  assert.deepEqual(JSON.parse(bytes), { answer: 42 });
  assert.ok((await row.innerHTML()).includes(Buffer.from(blake3(bytes)).toString("hex")), "the page shows its hash");
  await row.getByText("the hash computed here equals the published one").waitFor();
  const tar = (await readFile(await download(region("Files").getByRole("button", { name: /^Download all/ })))).toString("latin1");
  for (const name of ["outputs/result/answer.json", "log.txt"]) assert.ok(tar.includes(name), `the archive has ${name}`);
  const view = await until("the lease to close", async () => [await lease(id)].find(({ lease }) => lease.state.state === "closed"), RUN_MS);
  const [earned, deposit] = [BigInt(view.earned), BigInt(view.lease.deposit)];
  assert.ok(view.lease.metered > 0 && view.lease.metered < 30_000, `seconds of four minutes: ${view.lease.metered} ms`);
  assert.equal(earned, (BigInt(view.lease.price_per_hour) * BigInt(view.lease.metered)) / 3_600_000n, "the time of the run is paid");
  assert.ok(earned < deposit, "and the rest comes back");
  assert.deepEqual(await pictures(browser, ada, { code: "/train/code", "lease-script": `/leases/${id}` }), []);
});

scene("folder__should_ask_for_what_its_job_file_names_and_say_why_it_failed", async () => {
  const { page } = ada;
  const folder = join(system.home, "count");
  await mkdir(join(folder, "outputs"), { recursive: true });
  for (const [path, text] of [["job.toml", JOB], ["count.py", COUNT], ["outputs/old.txt", "old"]]) await writeFile(join(folder, path), text);
  await writeFile(join(system.home, "table.csv"), "value\n1.5\n2.5\n");
  await ada.open("/train/code");
  await page.getByLabel("Or a folder").setInputFiles(folder);
  await region("What was found").getByText("Left out").waitFor();
  assert.equal(await page.getByLabel("Price, NEAR at most").inputValue(), "0.05");
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.getByText('Choose the file that shall lie at "data/table.csv".').waitFor();
  await page.getByLabel("File that the job file calls ../table.csv").setInputFiles(join(system.home, "table.csv"));
  const id = await run();
  const ended = region("How it ended");
  await ended.getByText("failed with status 3").waitFor({ timeout: RUN_MS });
  await ended.getByText("counting").waitFor();
  assert.ok(BigInt((await lease(id)).lease.deposit) <= 5n * 10n ** 22n, "never more than the job file allows");
});

scene("example__should_be_one_that_the_command_line_takes_too", async () => {
  await ada.open("/train/code");
  const path = await download(ada.page.getByRole("button", { name: "Download an example" }));
  const named = join(system.home, "example.tar");
  await rename(path, named);
  assert.match(execute("starling", "--home", join(system.home, "nobody"), "job", "check", named), /Command {4}python main\.py --trees 100/);
});

scene("sandbox__should_be_said_to_lack_what_the_machine_cannot_give", async () => {
  const { page } = ada;
  await system.restartNode(1, (config) => config.replace("[scripts]\n", '[scripts]\nuser = "nobody-of-that-name"\n'));
  await until("the node without a sandbox", async () => (await system.get("/api/v1/offers")).some((offer) => offer.node.lacks?.length));
  await ada.open("/train/code");
  await page.getByLabel("A script, a notebook or an archive").setInputFiles({ name: "study.py", mimeType: "text/x-python", buffer: Buffer.from(SCRIPT) });
  await page.getByText("node 1: its sandbox cannot give account").waitFor();
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  assert.ok(await page.getByRole("button", { name: "No machine takes it now" }).isDisabled(), "nothing can be paid");
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual([...ada.outside], []);
});
