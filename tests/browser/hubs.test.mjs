// The hubs as people look through them: filters, order, pages and comparison stand in the address.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before } from "node:test";
import { Account, JsonRpcProvider, nearToYocto, teraToGas } from "near-api-js";
import { pictures } from "./screens.mjs";
import { Person, System, flow, launch, until } from "./support.mjs";

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
  await page.getByLabel("Runs here").check();
  await shows("what a run of this network made", ["rust"]);
  await page.getByLabel("Search").fill("nothing of the kind");
  await page.getByRole("link", { name: "Show everything" }).click();
  await shows("everything again", ["tables", "poems", "rust"]);
});

scene("model__should_show_its_card_files_licence_and_price", async () => {
  const { page } = ada;
  await ada.open("/models/tenant.starling/poems");
  await page.getByText("20.0 MB").waitFor();
  await page.getByText("Apache-2.0").first().waitFor();
  await page.getByText("3.0000 NEAR").first().waitFor();
  await page.getByRole("heading", { name: "Version 1" }).waitFor();
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
  await compared.getByRole("columnheader", { name: "2 of node 2" }).waitFor();
  await compared.getByRole("row", { name: /^Reputation \d/ }).waitFor();
  assert.match(page.url(), /device=cpu&sort=memory&compare=1%2C2$/);
  await page.reload();
  await compared.getByRole("columnheader", { name: "1 of node 1" }).waitFor();
  assert.deepEqual(await pictures(browser, ada, { "compute-compared": "/compute?compare=1%2C2" }), []);
  await compared.getByRole("button", { name: "Compare none" }).click();
  await compared.waitFor({ state: "hidden" });
});

scene("many_offers__should_come_in_pages", async () => {
  // The coordinator's own answer, many times over.
  const [offer] = await system.get("/api/v1/offers");
  const many = Array.from({ length: 120 }, (_, index) => ({ ...offer, offer: { ...offer.offer, id: index + 1 } }));
  await ada.page.route("**/api/v1/offers", (route) => route.fulfill({ json: many }));
  await ada.open("/compute");
  await ada.page.getByText("page 1 of 3").waitFor();
  await ada.page.getByRole("button", { name: "Later" }).click();
  await ada.page.getByText("page 2 of 3").waitFor();
  assert.match(ada.page.url(), /page=2/);
  await ada.page.unroute("**/api/v1/offers");
});

scene("nothing__should_be_asked_outside_this_machine", async () => {
  assert.deepEqual(ada.outside, []);
  assert.deepEqual(ada.wrong, []);
});
