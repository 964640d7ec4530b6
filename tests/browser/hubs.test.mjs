// The hubs as people look through them: filters, order, pages and comparison stand in the address.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { Account, JsonRpcProvider, nearToYocto, teraToGas } from "near-api-js";
import { pictures } from "./screens.mjs";
import { Person, System, execute, flow, launch, until } from "./support.mjs";

let system, browser, ada;
const people = () => (ada ? [ada] : []);
const scene = (name, work) => flow(name, people, () => system, work);

/** What a publisher has on the shelf: slug, category, licence, price in NEAR, bytes of its file, the run that made it. */
const SHELF = [
  ["rust", "text_generation", "MIT", "0", 80_000, 1],
  ["poems", "text_generation", "Apache-2.0", "3", 20_000_000, null],
  ["tables", "tabular", "MIT", "9", 2_000_000_000, null],
];

before(async () => {
  [system, browser] = await Promise.all([System.start({ nodes: 2 }), launch()]);
  ada = await Person.come(browser, system, "ada");
  const { deployment } = await system.network();
  const { private_key } = JSON.parse(await readFile(system.key("tenant.starling"), "utf8"));
  const tenant = new Account("tenant.starling", new JsonRpcProvider({ url: system.rpc }, { retries: 1 }), private_key);
  for (const [slug, category, licence, price, bytes, run_id] of SHELF) {
    const file = { name: "model.safetensors", hash: Buffer.from(slug.padEnd(32)).toString("hex"), bytes };
    const args = { slug, kind: "model", category, title: `Model ${slug}`, summary: `Says ${slug}.`, licence, asset: "near", price: nearToYocto(price).toString(), price_per_use: null, parents: [], royalty: 0, files: [file], run_id };
    await tenant.callFunction({ contractId: deployment.hub, methodName: "publish", args, gas: teraToGas("100"), deposit: nearToYocto("0.1") });
  }
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

const choose = (name) => ada.page.getByRole("combobox", { name, exact: true });
const titles = () => ada.page.getByRole("article").getByRole("heading").allInnerTexts();
const shows = (what, expect) => until(`${what}: ${expect}`, async () => JSON.stringify(await titles()) === JSON.stringify(expect.map((slug) => `Model ${slug}`)));

scene("models__should_be_filtered_and_ordered_in_the_address", async () => {
  const { page } = ada;
  await ada.open("/models");
  await shows("all of them, the newest first", ["tables", "poems", "rust"]);
  await choose("Licence").selectOption("MIT");
  await shows("one licence", ["tables", "rust"]);
  await choose("Price").selectOption("free");
  await shows("and free", ["rust"]);
  assert.deepEqual([...new URL(page.url()).searchParams].sort(), [["licence", "MIT"], ["price", "free"]]);
  await page.reload();
  await shows("the same after a reload", ["rust"]);
  assert.equal(await choose("Licence").inputValue(), "MIT");
  await ada.open("/models?size=1gb&sort=price");
  await shows("by size, the cheapest first", ["rust", "poems"]);
  await page.getByLabel("Search").fill("says poems");
  await shows("words of the summary", ["poems"]);
  await ada.open("/models?category=tabular");
  await shows("a category", ["tables"]);
  await ada.open("/models");
  await page.getByLabel("Made by a run of this network").check();
  await shows("what a run of this network made", ["rust"]);
  await page.getByLabel("Search").fill("nothing of the kind");
  await page.getByRole("link", { name: "Show everything" }).click();
  await shows("everything again", ["tables", "poems", "rust"]);
});

scene("palette__should_go_by_a_few_letters_and_keys_alone", async () => {
  const { page } = ada;
  const field = page.getByRole("combobox", { name: "Go to a page, run, machine, model or tool" });
  const marked = page.getByRole("option", { selected: true });
  await ada.open("/network");
  await page.keyboard.press("Control+k");
  await field.pressSequentially("publish");
  await page.keyboard.press("ArrowDown");
  await marked.getByText("Publish a tool").waitFor();
  const { violations } = await new AxeBuilder({ page }).analyze();
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => target)]), []);
  await page.screenshot({ path: "target/screens/palette-light-1440.png" });
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/market\/publish$/);
  assert.equal(await field.count(), 0, "it has closed");
  await page.getByRole("banner").getByRole("button", { name: "Search" }).click();
  await field.pressSequentially("model poems");
  await marked.getByText("tenant.starling/poems").waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/models\/tenant\.starling\/poems$/);
  await page.keyboard.press("Control+k");
  await field.pressSequentially("rent node 2");
  await marked.getByText("Rent node 2").waitFor();
  await page.keyboard.press("Escape");
  await field.waitFor({ state: "detached" });
  assert.match(page.url(), /poems$/, "nothing was chosen");
});

scene("model__should_show_its_card_files_licence_and_price", async () => {
  const { page } = ada;
  await ada.open("/models/tenant.starling/poems");
  await page.getByText("20.0 MB").waitFor();
  await page.getByText("Apache-2.0").first().waitFor();
  await page.getByText("3.0000 NEAR").first().waitFor();
  await page.getByRole("heading", { name: "Version 1" }).waitFor();
  await page.getByText("Nothing was measured here").waitFor();
  await ada.open("/models/tenant.starling/rust");
  await page.getByText("Its publisher names run 1, of which this coordinator has no result.").waitFor();
  assert.deepEqual(await pictures(browser, ada, { "models-full": "/models", "model-priced": "/models/tenant.starling/poems" }), []);
});

scene("offers__should_be_filtered_and_compared_in_the_address", async () => {
  const { page } = ada;
  await ada.open("/compute");
  const rows = page.getByRole("row").filter({ has: page.getByRole("link", { name: "Rent" }) });
  await until("both offers", async () => (await rows.count()) === 2);
  await page.getByText("2 offers fit").waitFor();
  await choose("Device").selectOption("nvidia");
  await page.getByText("No offer of a connected node fits these filters.").waitFor();
  assert.match(page.url(), /device=nvidia/);
  await page.getByRole("link", { name: "Show all offers" }).click();
  await choose("Device").selectOption("cpu");
  await choose("Sort by").selectOption("memory");
  await until("both offers", async () => (await rows.count()) === 2);
  for (const offer of [1, 2]) await page.getByLabel(`Compare offer ${offer}`).check();
  const compared = page.getByRole("region", { name: "Compare", exact: true });
  await compared.getByRole("columnheader", { name: "Node 2, offer 2" }).waitFor();
  await compared.getByRole("row", { name: /^Reputation no record yet/ }).waitFor();
  assert.match(page.url(), /device=cpu&sort=memory&compare=1%2C2$/);
  await page.reload();
  await compared.getByRole("columnheader", { name: "Node 1, offer 1" }).waitFor();
  assert.deepEqual(await pictures(browser, ada, { "compute-compared": "/compute?compare=1%2C2" }), []);
  await compared.getByRole("button", { name: "End comparison" }).click();
  await compared.waitFor({ state: "hidden" });
});

scene("many_offers__should_come_in_pages", async () => {
  // The coordinator's own answer, many times over.
  const [offer] = await system.get("/api/v1/offers");
  const many = Array.from({ length: 120 }, (_, index) => ({ ...offer, offer: { ...offer.offer, id: index + 1 } }));
  await ada.page.route("**/api/v1/offers", (route) => route.fulfill({ json: many }));
  await ada.open("/compute");
  await ada.page.getByText("page 1 of 6").waitFor();
  await ada.page.getByRole("button", { name: "Later" }).click();
  await ada.page.getByText("page 2 of 6").waitFor();
  assert.match(ada.page.url(), /page=2/);
  await ada.page.unroute("**/api/v1/offers");
});

scene("classifier__should_be_published_and_sort_texts_on_a_node", async () => {
  const { page } = ada;
  const made = join(system.home, "triage");
  execute("starling", "train", "--preset", "triage", "--output", made);
  await ada.signInAsNew();
  await ada.open("/models/publish");
  await page.getByLabel("Model file").setInputFiles(join(made, "model.safetensors"));
  await page.getByLabel(/^Name/).fill("triage");
  await page.getByLabel("Title").fill("Urgency of tickets");
  await page.getByLabel("What it does").fill("Made by a test, from synthetic tickets.");
  await page.getByLabel("Category").selectOption("text_classification");
  await ada.approve(() => page.getByRole("button", { name: "Publish" }).click());
  await page.waitForURL(/\/models\/ada\.faucet\.starling\/triage$/);
  await page.getByRole("link", { name: "Sort texts with it" }).click();
  await page.getByRole("link", { name: "Rent" }).first().click();
  const [urgent, minor] = ["Hello, again today payments are charged twice for every customer. Ticket 12345. Best regards", "Hello again, it seems that the logo looks blurred for me alone. Ticket 23456. Thanks a lot."];
  await page.getByLabel("Texts or rows to sort, one a line").fill(`${urgent}\n\n${minor}\n`);
  await page.getByLabel("Minutes, at most").fill("2");
  await ada.approve(() => page.getByRole("button", { name: /^Rent for at most/ }).click());
  await page.waitForURL(/\/leases\/\d+$/);
  const output = page.getByRole("region", { name: "Output" });
  await output.getByRole("row").filter({ hasText: urgent }).getByText("critical", { exact: true }).waitFor({ timeout: 60_000 });
  await output.getByRole("row").filter({ hasText: minor }).getByText("low", { exact: true }).waitFor();
  const parts = await output.getByRole("row").filter({ hasText: minor }).getByText(/^\d+\.\d\s%$/).allInnerTexts();
  assert.equal(parts.length, 4);
  assert.ok(Math.abs(parts.reduce((sum, part) => sum + parseFloat(part), 0) - 100) < 0.3, parts.join(", "));
  await page.getByText("The work is complete.").waitFor({ timeout: 60_000 });
  assert.deepEqual(await pictures(browser, ada, { "lease-sorted": new URL(page.url()).pathname }), []);
});

/** The first files of a tar, by name and bytes. */
function* unpacked(tar, count) {
  for (let at = 0, done = 0; done < count; done += 1) {
    const text = (from, to) => tar.toString("latin1", at + from, at + to).replace(/\0.*$/s, "");
    const size = parseInt(text(124, 136), 8);
    yield { name: text(0, 100), buffer: tar.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

scene("classifier__should_sort_pictures_that_are_chosen", async () => {
  const { page } = ada;
  const made = join(system.home, "cells");
  execute("starling", "train", "--preset", "cells", "--output", made);
  execute("starling", "recipe", "cells", "--sample", join(system.home, "cells.tar"));
  const kinds = [...unpacked(await readFile(join(system.home, "cells.tar")), 3)];
  await ada.open("/models/publish");
  await page.getByLabel("Model file").setInputFiles(join(made, "model.safetensors"));
  await page.getByLabel(/^Name/).fill("cells");
  await page.getByLabel("Title").fill("Kinds of cells");
  await page.getByLabel("What it does").fill("Made by a test, from synthetic cells.");
  await page.getByLabel("Category").selectOption("vision");
  await ada.approve(() => page.getByRole("button", { name: "Publish" }).click());
  await page.waitForURL(/\/models\/ada\.faucet\.starling\/cells$/);
  await page.getByRole("link", { name: "Sort pictures with it" }).click();
  await page.getByRole("link", { name: "Rent" }).first().click();
  await page.getByLabel("Pictures to sort").setInputFiles(kinds.map(({ name, buffer }) => ({ name: name.replace("/", "-"), mimeType: "image/x-portable-graymap", buffer })));
  await page.getByLabel("Minutes, at most").fill("2");
  const address = new URL(page.url());
  assert.deepEqual(await pictures(browser, ada, { "rent-pictures": address.pathname + address.search }), []);
  await ada.approve(() => page.getByRole("button", { name: /^Rent for at most/ }).click());
  await page.waitForURL(/\/leases\/\d+$/);
  const output = page.getByRole("region", { name: "Output" });
  for (const { name } of kinds) {
    const [kind] = name.split("/");
    await output.getByRole("row").filter({ hasText: name.replace("/", "-") }).locator("strong").getByText(kind, { exact: true }).waitFor({ timeout: 60_000 });
  }
  await page.getByText("Sort 3 pictures into classes").waitFor();
  await page.getByText("The work is complete.").waitFor({ timeout: 60_000 });
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual(ada.outside, []);
  assert.deepEqual(ada.wrong, []);
});
