// The road of a person: train, rent, publish and buy a licence, publish and use a tool; each screen looked at on the way.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { blake3 } from "@noble/hashes/blake3.js";
import { pictures, screens } from "./screens.mjs";
import { Person, System, execute, flow, launch, until } from "./support.mjs";

const NEAR = 10n ** 24n;
const RUN_MS = 240_000;
/** Text to train on: the same on every machine. */
const SOURCES = ["crates/protocol/src/run.rs", "crates/protocol/src/escrow.rs", "crates/protocol/src/lease.rs", "crates/primitives/src/amount.rs"];

let system, browser, ada, bob, text;
const people = () => [ada, bob].filter(Boolean);
const scene = (name, work) => flow(name, people, () => system, work);
const region = (person, name) => person.page.getByRole("region", { name, exact: true });

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 3 }), launch()]);
  [ada, bob] = await Promise.all(["ada", "bob"].map((name) => Person.come(browser, system, name)));
  text = Buffer.concat(await Promise.all(SOURCES.map((path) => readFile(path))));
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

/** Fills the form of a training run, pays for it, and gives the run's number. */
async function startRun(person, path = "/train", whatIsTrained = null) {
  const { page } = person;
  await person.open(path);
  await page.getByLabel("Recipe").selectOption("tiny");
  await page.getByLabel("Text to train on").setInputFiles({ name: "sources.rs", mimeType: "text/plain", buffer: text });
  return payForRun(person, whatIsTrained);
}

/** The rest of the form, once recipe and data are chosen. */
async function payForRun(person, whatIsTrained = null, nodes = "3 nodes") {
  const { page } = person;
  await page.getByLabel("Price cap").fill("0.5");
  if (whatIsTrained) await page.getByLabel("What is trained").selectOption(whatIsTrained);
  await page.getByRole("button", { name: "Get the quote" }).click();
  await region(person, "Quote").getByText("You pay at most").waitFor();
  const shown = await person.approve(() => page.getByRole("button", { name: /^Train for at most/ }).click());
  assert.match(shown, new RegExp(`Pay at most .* NEAR for a training run of 10 rounds on up to ${nodes}\\.`));
  await page.waitForURL(/\/runs\/\d+$/);
  return Number(page.url().split("/").at(-1));
}

const run = async (id) => system.get(`/api/v1/runs/${id}`);
const points = async (id) => (await system.get(`/api/v1/runs/${id}/metrics`)).points.length;

async function finish(person, id) {
  await person.page.getByText("finished", { exact: true }).first().waitFor({ timeout: RUN_MS });
  return until("the result", async () => (await run(id)).result);
}

let trained;

scene("train__should_move_the_curve_and_end_with_a_model", async () => {
  await ada.signInAsNew();
  const before = await system.holds(ada.account);
  const places = [];
  ada.page.on("request", (request) => places.push(Number(/\/metrics\?after=(\d+)$/.exec(request.url())?.[1] ?? 0)));
  const id = await startRun(ada);
  await until("the first points of the curve", async () => (await points(id)) > 0, 90_000);
  const curve = region(ada, "Loss curve");
  await curve.locator("path.train").first().waitFor();
  const first = await curve.locator("svg").first().innerHTML();
  await until("the curve to move", async () => (await curve.locator("svg").first().innerHTML()) !== first, 60_000);
  const result = await finish(ada, id);
  const rates = (await system.get(`/api/v1/runs/${id}/metrics`)).points.flatMap(({ learning_rate }) => learning_rate ?? []);
  assert.ok(rates.length > 0 && new Set(rates).size > 1, "nodes say with which learning rate they made their steps, and it moves");
  assert.match(await curve.locator("path.rate").getAttribute("d"), /^M.*L/);
  assert.ok(Math.max(...places) > 0, "of the curves only what is new is asked for");
  const [start, end] = result.held_out.map(({ bits }) => bits);
  assert.ok(end < start, `held-out loss fell: ${start} to ${end}`);
  const rounds = await system.get(`/api/v1/runs/${id}/rounds`);
  assert.ok(rounds.every(({ updates, scores }) => updates.every((update, place) => update === null || Number.isFinite(scores[place].own))), "each accepted update was measured");
  await region(ada, "Rounds").getByText("Rounds as a table").click();
  await region(ada, "Rounds").getByText(`Node ${(await run(id)).run.roster[0].node_id}: ${rounds[0].scores[0].own.toFixed(4)}`).first().waitFor();
  await ada.page.screenshot({ path: "target/screens/run-rounds-light-1440.png", fullPage: true });
  trained = { id, result, before };
});

scene("download__should_equal_the_published_hash", async () => {
  const card = region(ada, "Result");
  const saved = ada.page.waitForEvent("download");
  await card.getByRole("button", { name: "Download model" }).click();
  const bytes = await readFile(await (await saved).path());
  const hash = Buffer.from(blake3(bytes)).toString("hex");
  assert.equal(hash, trained.result.model);
  assert.ok((await card.locator("dl").innerHTML()).includes(hash), "the page shows that hash");
  await card.getByText("the hash computed here equals the published one").waitFor();
});

scene("acknowledge__should_settle_the_escrow_to_the_yocto", async () => {
  const { run: record } = await run(trained.id);
  const { deployment } = await system.network();
  const cost = region(ada, "Cost");
  assert.match(await ada.approve(() => cost.getByRole("button", { name: /^Accept and pay/ }).click()), /Accept the result of escrow/);
  await cost.getByText("Settled: all of the escrow was paid or returned").waitFor();
  const steps = region(ada, "Payment, step by step").getByRole("listitem");
  for (const step of ["Paid in", "Payment accepted", "Work posted", "Held-back part decided"]) await steps.filter({ hasText: step }).first().waitFor();
  assert.equal(await system.view(deployment.billing, "escrow", { escrow_id: record.escrow_id }), null);
  const earned = BigInt((await run(trained.id)).earned);
  const moved = await until("the events", async () => [await system.moved(record.escrow_id, ada)].find(({ refund, fee, credits }) => refund + fee + credits === BigInt(record.deposit)));
  assert.ok(earned > 0n, "work was paid");
  assert.equal(moved.refund, BigInt(record.deposit) - earned, "what was not earned came back");
  assert.equal(moved.fee + moved.credits, earned, "what was earned was paid, fee included");
  assert.ok((await system.holds(ada.account)) + (await system.balance(ada.account)) < trained.before, "the money is really gone");
  await ada.open("/billing");
  await region(ada, "History").getByRole("cell").first().waitFor();
});

/** Rents the first offer to continue a text with the trained model; gives the lease's number. */
async function rent(tokens) {
  const { page } = ada;
  await ada.open(`/compute?model=${trained.result.model}`);
  await page.getByRole("link", { name: "Rent" }).first().click();
  await page.getByLabel("Model").selectOption(trained.result.model);
  await page.getByLabel("Text to continue").fill("pub fn ");
  await page.getByLabel("New tokens, at most").fill(String(tokens));
  await page.getByLabel("Minutes, at most").fill("3");
  assert.match(await ada.approve(() => page.getByRole("button", { name: /^Rent for at most/ }).click()), /Pay at most .* NEAR for renting offer/);
  await page.waitForURL(/\/leases\/\d+$/);
  return Number(page.url().split("/").at(-1));
}

const leaseView = (id) => system.get(`/api/v1/leases/${id}`);
const closed = (id, limit) => until("the lease to close", async () => [await leaseView(id)].find(({ lease }) => JSON.stringify(lease.state).includes('"closed"')), limit);

/** What an open escrow has returned so far. */
async function refunded({ lease }) {
  const { deployment } = await system.network();
  return BigInt((await system.view(deployment.billing, "escrow", { escrow_id: lease.escrow_id }))?.escrow.refunded ?? 0);
}

scene("rent__should_generate_and_charge_only_the_time_that_both_signed", async () => {
  const id = await rent(5000);
  await until("the output", async () => (await ada.page.getByRole("log").innerText()).length > 40, 60_000);
  await ada.page.getByText("The work is complete.").waitFor({ timeout: 60_000 });
  const view = await closed(id, 60_000);
  const [deposit, earned] = [BigInt(view.lease.deposit), BigInt(view.earned)];
  assert.ok(0n < earned && earned < deposit / 2n, `seconds of three minutes: ${earned} of ${deposit}`);
  await until("the refund", async () => (await refunded(view)) === deposit - earned);
  const cost = region(ada, "Cost");
  await cost.getByText("waits for you to accept the result").waitFor();
  await ada.approve(() => cost.getByRole("button", { name: /^Accept and pay/ }).click());
  await cost.getByText("Settled: all of the escrow was paid or returned").waitFor();
});

scene("objection__should_bring_back_what_a_delegate_signed", async () => {
  const { page } = ada;
  const delegate = await system.startDelegate();
  const taken = await until("an offer that takes delegates", async () => (await system.get("/api/v1/offers")).find(({ offer }) => offer.terms.objection_window > 0));
  await ada.open(`/compute/rent/${taken.offer.id}?model=${trained.result.model}`);
  await page.getByLabel("Text to continue").fill("pub fn ");
  await page.getByLabel("New tokens, at most").fill("40");
  await page.getByLabel("A service that you choose.").check();
  await page.getByLabel("Account of the service").fill(delegate.account);
  await page.getByLabel("Key that it signs with").fill(delegate.key);
  assert.match(await ada.approve(() => page.getByRole("button", { name: /^Rent for at most/ }).click()), /Pay at most .* NEAR for renting offer/);
  await page.waitForURL(/\/leases\/\d+$/);
  const view = await closed(Number(page.url().split("/").at(-1)), 60_000);
  const { escrow_id } = view.lease;
  // Tenant and tab signed nothing: the service did, and the tenant may still say no.
  await ada.open("/billing");
  const card = page.getByRole("article", { name: `Escrow ${escrow_id}`, exact: true });
  await card.getByText("This was signed by your delegate, not by you, and is not final yet").waitFor();
  const before = await system.balance(ada.account);
  assert.deepEqual(await pictures(browser, ada, { "billing-objection": "/billing", "rent-delegate": `/compute/rent/${taken.offer.id}` }), []);
  const shown = await ada.approve(() => card.getByRole("button", { name: /^Object and get .* back$/ }).click());
  assert.match(shown, /Object in escrow \d+: what your delegate signed and is not final returns to you/);
  await card.waitFor({ state: "detached" });
  const { refund, fee, credits } = await until("the events", async () => [await system.moved(escrow_id, ada)].find(({ refund }) => refund === BigInt(view.lease.deposit)));
  assert.deepEqual([refund, fee, credits], [BigInt(view.lease.deposit), 0n, 0n], "all of it came back");
  assert.ok((await system.balance(ada.account)) > before);
  const saved = page.waitForEvent("download");
  await region(ada, "History").getByRole("button", { name: `Receipt of escrow ${escrow_id}`, exact: true }).click();
  const said = execute("starling", "--home", join(system.home, "nobody"), "verify", "--receipt", await (await saved).path());
  assert.match(said, /every figure is right/);
});

let stopped;

scene("stop__should_end_a_lease_early", async () => {
  // A small model may be done before a person has stopped it: then once more.
  for (let attempt = 1; stopped === undefined; attempt += 1) {
    const id = await rent(100_000);
    await until("output", async () => (await ada.page.getByRole("log").innerText()).length > 10, 60_000);
    const shown = await ada.approve(() => ada.page.getByRole("button", { name: "Stop and get the rest back" }).click());
    assert.match(shown, /End lease \d+\. What is not earned returns to you\./);
    const early = ada.page.getByText("You stopped it.").waitFor().then(() => true);
    const late = ada.page.getByText("The work is complete.").waitFor().then(() => false);
    if (await Promise.any([early, late])) stopped = id;
    else assert.ok(attempt < 4, "the work was complete each time before it was stopped");
  }
});

/** Fills what models and tools say about themselves. */
async function about(page, { slug, title, price }) {
  await page.getByLabel(/^Name/).fill(slug);
  await page.getByLabel("Title").fill(title);
  await page.getByLabel("What it does").fill("Made by a test, from real work.");
  await page.getByLabel("Price of a licence").fill(price);
}

scene("licence__should_pay_the_publisher_and_open_the_files", async () => {
  const { page } = ada;
  await ada.open(`/models/publish?run=${trained.id}`);
  await until("the run in the list", async () => (await page.getByLabel(/^From/).inputValue()) === String(trained.id));
  await about(page, { slug: "small-rust", title: "Small Rust", price: "2" });
  await ada.approve(() => page.getByRole("button", { name: "Publish" }).click());
  await page.waitForURL(/\/models\/ada\.faucet\.starling\/small-rust$/);
  await page.getByText("You published this.").waitFor();

  await bob.signInAsNew();
  await bob.open("/models");
  await bob.page.getByRole("link", { name: "Small Rust" }).click();
  await bob.page.getByRole("button", { name: /^Buy licence for at most 2\.0000 NEAR/ }).waitFor();
  const evaluation = region(bob, "Evaluation");
  await evaluation.getByText(`Its model.safetensors is what run ${trained.id} gave: the hashes are equal.`).waitFor();
  await evaluation.getByText(`${trained.result.held_out[1].bits.toFixed(3)} bits a byte`).waitFor();
  const file = `/api/v1/artifacts/${trained.result.model}`;
  assert.equal((await bob.fetch(file)).status, 404, "unbought, the file does not exist for Bob");
  const before = await system.balance(ada.account);
  assert.match(await bob.approve(() => bob.page.getByRole("button", { name: /^Buy licence/ }).click()), /Pay at most 2\.0000 NEAR for the licence of ada\.faucet\.starling\/small-rust\./);
  await bob.page.getByText("You hold a licence.").waitFor();
  await until("the publisher's balance to rise", async () => (await system.balance(ada.account)) > before);
  const { fee } = await system.network();
  assert.equal((await system.balance(ada.account)) - before, 2n * NEAR - (2n * NEAR * BigInt(fee)) / 10_000n, "the price less the fee");
  await until("the file to open", async () => (await bob.fetch(file)).status === 200);
});

scene("rating__should_be_a_holders_and_be_changed_in_place", async () => {
  const ratings = region(bob, "Ratings");
  await ratings.getByText("Nobody has rated it yet.").waitFor();
  await ratings.getByLabel("2 stars").check();
  await ratings.getByLabel("What you think of it").fill("It repeats itself.");
  const save = () => ratings.getByRole("button", { name: "Save the rating" }).click();
  assert.match(await bob.approve(save), /Rate ada\.faucet\.starling\/small-rust with 2 of 5 stars, in public\./);
  await ratings.getByText("2.0 of 5 stars, 1 rating").waitFor();
  await ratings.getByText("Change your rating").waitFor();
  await ratings.getByLabel("4 stars").check();
  await ratings.getByLabel("What you think of it").fill("It writes Rust.");
  await bob.approve(save);
  await ratings.getByText("4.0 of 5 stars, 1 rating").waitFor();
  await ratings.getByRole("img", { name: "4 of 5 stars" }).waitFor();
  await ratings.getByRole("paragraph").filter({ hasText: "It writes Rust." }).waitFor();
  await ratings.getByText("Of version 1. Bought its licence.").waitFor();
  // The publisher reads it and has no form.
  const seen = region(ada, "Ratings");
  await seen.getByText("4.0 of 5 stars, 1 rating").waitFor();
  await seen.getByText(bob.account).waitFor();
  assert.equal(await seen.getByRole("button").filter({ hasText: /rating|licence/ }).count(), 0);
});

scene("train_from__should_start_where_the_licensed_model_is", async () => {
  await bob.page.getByRole("link", { name: "Train from this" }).click();
  await bob.page.waitForURL(/\/train\?model=/);
  const id = await startRun(bob, new URL(bob.page.url()).pathname + new URL(bob.page.url()).search);
  const result = await finish(bob, id);
  const [here, fresh] = [result, trained.result].map(({ held_out }) => held_out[0].bits);
  assert.ok(here < fresh, `starts below a fresh model: ${here} against ${fresh}`);
  bob.model = result.model;
});

scene("adapters__should_fit_a_model_that_stays_as_it_is", async () => {
  const id = await startRun(bob, `/train?model=${trained.result.model}`, "adapters");
  const result = await finish(bob, id);
  const { terms } = (await run(id)).run;
  const recipe = JSON.parse((await bob.fetch(`/api/v1/artifacts/${terms.recipe}`)).body);
  assert.equal(recipe.adapter.base, trained.result.model, "all nodes adapt the model that was chosen");
  const saved = bob.page.waitForEvent("download");
  await region(bob, "Result").getByRole("button", { name: "Download adapters" }).click();
  const bytes = await readFile(await (await saved).path());
  assert.equal(Buffer.from(blake3(bytes)).toString("hex"), result.adapters.weights);
  await bob.page.getByRole("link", { name: "Publish this model" }).click();
  await until("the lineage", async () => (await bob.page.getByRole("textbox", { name: /^Made from/ }).inputValue()) === `${ada.account}/small-rust`);
  const [start, end] = result.held_out.map(({ bits }) => bits);
  assert.ok(end < start, `held-out loss fell: ${start} to ${end}`);
});

scene("federated__should_train_where_the_data_is", async () => {
  const { page } = bob;
  await writeFile(join(system.home, "state/node-3/notes.txt"), text);
  await system.restartNode(3, (config) => `${config}\n[[data]]\nname = "ward-notes"\nfile = "notes.txt"\n`);
  await bob.open("/train");
  await page.getByLabel("Recipe").selectOption("tiny");
  await page.getByLabel("Whose data is trained on").selectOption({ label: "ward-notes, which 1 node keeps for themselves" });
  await page.getByLabel("While updates travel").selectOption({ label: "Nodes train on" });
  await page.getByLabel("Text to train on").setInputFiles({ name: "sample.rs", mimeType: "text/plain", buffer: text.subarray(0, 20_000) });
  assert.deepEqual(await pictures(browser, bob, { "train-federated": "/train" }), []);
  const id = await payForRun(bob, null, "1 node");
  const result = await finish(bob, id);
  const { roster, terms } = (await run(id)).run;
  assert.deepEqual(roster.map(({ payout }) => payout), ["provider-3.starling"]);
  const recipe = JSON.parse((await bob.fetch(`/api/v1/artifacts/${terms.recipe}`)).body);
  assert.deepEqual([recipe.data.federated, recipe.outer.momentum, recipe.outer.learning_rate], ["ward-notes", 0, 1]);
  assert.deepEqual(recipe.outer.overlap, { fragments: 4, merge_after_steps: 2, own_share: 0.5 });
  const [start, end] = result.held_out.map(({ bits }) => bits);
  assert.ok(end < start - 1, `what the node keeps teaches: ${start} to ${end}`);
});

scene("table__should_be_trained_on_and_the_model_measured_by_class", async () => {
  const { page } = bob;
  await bob.open("/train");
  await page.getByLabel("Recipe").selectOption("fraud");
  const rows = Array.from({ length: 900 }, (_, row) => [row % 30, (row * 7) % 11, row]).map(([hour, size, row]) => `${hour},${size}.5,${row},${hour > 20 && size > 4 ? "night" : "day"}`);
  const table = (header) => ({ name: "payments.csv", mimeType: "text/csv", buffer: Buffer.from([header, ...rows].join("\n")) });
  // What is wrong is named before there is a price.
  await page.getByLabel("Table to train on").setInputFiles(table("hour,size,number,kind"));
  await page.getByRole("button", { name: "Get the quote" }).click();
  await page.getByText("there is no such column, only hour, size, number, kind").waitFor();
  await page.getByLabel("Table to train on").setInputFiles(table("hour,size,number,label"));
  await page.screenshot({ path: "target/screens/train-table-light-1440.png", fullPage: true });
  const id = await payForRun(bob);
  const result = await finish(bob, id);
  const { classes, auroc, confusion } = result.findings.classes;
  assert.deepEqual(classes, ["day", "night"]);
  assert.ok(auroc.value > 0.8, `it tells them apart: ${JSON.stringify(auroc)}`);
  const shown = region(bob, "Result");
  await shown.getByText(`On ${confusion.flat().reduce((sum, count) => sum + count)} held-out rows`).waitFor();
  await shown.getByRole("row", { name: /^AUROC/ }).getByText(auroc.value.toFixed(3), { exact: true }).waitFor();
  await region(bob, "Loss curve").getByRole("heading", { name: "Loss, bits an example" }).waitFor();
  assert.deepEqual(await pictures(browser, bob, { "run-table": `/runs/${id}` }), []);
  await shown.getByRole("link", { name: "Try it: rent a node to sort rows" }).click();
  await page.getByRole("link", { name: "Rent" }).first().click();
  await page.getByLabel("Texts or rows to sort, one a line").fill("25,9.5,10\n3,1.5,20");
  await page.getByLabel("Minutes, at most").fill("2");
  await bob.approve(() => page.getByRole("button", { name: /^Rent for at most/ }).click());
  await page.waitForURL(/\/leases\/\d+$/);
  const output = region(bob, "Output");
  await output.getByRole("row").filter({ hasText: "25,9.5,10" }).getByText("night", { exact: true }).first().waitFor({ timeout: 60_000 });
  await output.getByRole("row").filter({ hasText: "3,1.5,20" }).getByText("day", { exact: true }).first().waitFor();
  await page.getByText("The work is complete.").waitFor({ timeout: 60_000 });
  await bob.open(`/runs/${id}`);
  await page.getByRole("link", { name: "Publish this model" }).click();
  await until("the category", async () => (await page.getByLabel("Category").inputValue()) === "tabular");
});

scene("chance__should_be_seen_to_teach_nothing_while_there_is_money_to_save", async () => {
  const { page } = bob;
  await bob.open("/train");
  await page.getByLabel("Recipe").selectOption("fraud");
  const draw = (row, column) => blake3(new TextEncoder().encode(`${row} ${column}`))[0];
  const rows = Array.from({ length: 600 }, (_, row) => `${draw(row, "a")},${draw(row, "b")},${draw(row, "label") % 2 ? "heads" : "tails"}`);
  await page.getByLabel("Table to train on").setInputFiles({ name: "coins.csv", mimeType: "text/csv", buffer: Buffer.from(["a,b,label", ...rows].join("\n")) });
  const id = await payForRun(bob);
  await region(bob, "Cost").getByText(/has not improved for \d+ rounds\. If you stop now/).waitFor({ timeout: RUN_MS });
  await page.getByRole("button", { name: "Stop", exact: true }).waitFor();
  await finish(bob, id);
});

scene("tool__should_not_exist_before_purchase_and_work_afterwards", async () => {
  const { page } = ada;
  await ada.open("/market/publish");
  await about(page, { slug: "rust-probes", title: "Rust probes", price: "1" });
  await page.getByLabel("Prompt 1").fill("pub fn ");
  await page.getByLabel("Expected continuation 1").fill("new(");
  const before = ada.page.waitForRequest((request) => request.method() === "PUT" && request.url().includes("/artifacts/"));
  await ada.approve(() => page.getByRole("button", { name: "Publish" }).click());
  await page.waitForURL(/\/market\/ada\.faucet\.starling\/rust-probes$/);
  const file = new URL((await before).url()).pathname;

  assert.equal((await bob.fetch(file)).status, 404, "unbought, the tool does not exist for Bob");
  await bob.open("/market");
  await bob.page.getByRole("link", { name: "Rust probes" }).click();
  await bob.approve(() => bob.page.getByRole("button", { name: /^Buy licence for at most 1\.0000 NEAR/ }).click());
  await bob.page.getByText("You hold a licence.").waitFor();
  await until("the tool to open", async () => (await bob.fetch(file)).status === 200);
  await bob.page.getByRole("link", { name: "Use it on a model" }).click();
  await bob.page.getByRole("link", { name: "Rent" }).first().click();
  await bob.page.getByLabel("Model").selectOption(bob.model);
  await bob.page.getByLabel("Minutes, at most").fill("2");
  await bob.approve(() => bob.page.getByRole("button", { name: /^Rent for at most/ }).click());
  await bob.page.waitForURL(/\/leases\/\d+$/);
  await region(bob, "Output").getByText(/\d\.\d{3} bits a byte/).first().waitFor({ timeout: 120_000 });
});

scene("data_set__should_be_bought_and_trained_on_without_moving_again", async () => {
  const { page } = ada;
  await ada.open("/market/publish?what=data");
  await about(page, { slug: "rust-text", title: "Rust text", price: "1" });
  await page.getByLabel("File").setInputFiles({ name: "sources.rs", mimeType: "text/plain", buffer: text });
  await ada.approve(() => page.getByRole("button", { name: /^Publish for/ }).click());
  await page.waitForURL(/\/market\/ada\.faucet\.starling\/rust-text$/);

  await bob.open("/market?kind=data");
  await bob.page.getByRole("article").getByText("Data set", { exact: true }).waitFor();
  assert.equal(await bob.page.getByRole("article").count(), 1, "the tool is not among data sets");
  await bob.page.getByRole("link", { name: "Rust text" }).click();
  await bob.approve(() => bob.page.getByRole("button", { name: /^Buy licence for at most 1\.0000 NEAR/ }).click());
  await bob.page.getByText("You hold a licence.").waitFor();
  await bob.page.getByRole("link", { name: "Train on it" }).click();
  await bob.page.waitForURL(/\/train\?data=/);
  const file = `/api/v1/artifacts/${new URL(bob.page.url()).searchParams.get("data")}`;
  await until("the data to open", async () => (await bob.fetch(file)).status === 200);
  await bob.page.getByText("Trained on: ada.faucet.starling/rust-text").waitFor();
  const moved = [];
  bob.page.on("request", (request) => request.method() === "PUT" && moved.push(request.url()));
  await bob.page.getByLabel("Recipe").selectOption("tiny");
  await bob.page.getByRole("button", { name: "Get the quote" }).click();
  await region(bob, "Quote").getByText("You pay at most").waitFor();
  assert.deepEqual(moved, []);

  const { fee } = await system.network();
  await ada.open("/market");
  const own = region(ada, "Published by you");
  const income = (1 - fee / 10_000).toFixed(4);
  for (const title of ["Rust probes", "Rust text"]) await own.getByRole("row").filter({ hasText: title }).getByText(`${income} NEAR`).waitFor();

  await own.getByRole("link", { name: "Rust text" }).click();
  await page.getByLabel("New price of a licence").fill("3");
  await ada.approve(() => page.getByRole("button", { name: "Change the prices" }).click());
  await page.getByText("3.0000 NEAR").first().waitFor();
  await page.getByRole("button", { name: "Take it off the list" }).click();
  await ada.approve(() => page.getByRole("button", { name: "Take it off", exact: true }).click());
  await page.getByText("Its publisher took it off the list").waitFor();
  assert.equal((await bob.fetch(file)).status, 200, "a licence stays valid");
});

scene("bad_input__should_be_answered_clearly", async () => {
  const { page } = ada;
  await ada.open("/train");
  await page.getByLabel("Recipe").selectOption("tiny");
  await page.getByLabel("Text to train on").setInputFiles({ name: "empty.txt", mimeType: "text/plain", buffer: Buffer.alloc(0) });
  await page.getByRole("button", { name: "Get the quote" }).click();
  await page.getByRole("alert").getByText("The file is empty").waitFor();
  await ada.open("/models/nobody.starling/nothing");
  await page.getByRole("heading", { name: "There is nothing at this address" }).waitFor();
});

scene("screens__should_fit_and_be_readable_by_everyone", async () => {
  const found = await screens(browser, system, ada, trained.id);
  assert.deepEqual(found, []);
});

scene("stopped_lease__should_return_everything_that_was_not_signed", async () => {
  await ada.open(`/leases/${stopped}`);
  // The node may post what both have signed for two minutes after the stop.
  const view = await closed(stopped, 200_000);
  const [deposit, earned] = [BigInt(view.lease.deposit), BigInt(view.earned)];
  assert.ok(earned < deposit / 2n, `${earned} of ${deposit}`);
  await region(ada, "Cost").getByText("returned to your balance").or(region(ada, "Cost").getByText("Settled: all of the escrow was paid or returned")).first().waitFor();
  await until("the refund", async () => (await system.moved(view.lease.escrow_id, ada)).refund === deposit - earned);
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual([...ada.outside, ...bob.outside], []);
});
