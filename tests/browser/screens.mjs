// Each screen in light and dark, narrow and wide: a picture, an accessibility audit, and nothing that sticks out sideways.
import { mkdir } from "node:fs/promises";
import { AxeBuilder } from "@axe-core/playwright";

const FOLDER = "target/screens";
const WIDTHS = [360, 1440];
const THEMES = ["light", "dark"];

/** All screens of a system on which a person trained a run. Gives what is wrong, one sentence each. */
export async function screens(browser, system, person, runId) {
  const paths = { home: "/", models: "/models", model: `/models/${person.account}/small-rust`, publish: "/models/publish", compute: "/compute", rent: "/compute/rent/2", "rent-closed": "/compute/rent/1", lease: "/leases/1", train: "/train", run: `/runs/${runId}`, market: "/market", tool: `/market/${person.account}/rust-probes`, "publish-tool": "/market/publish", billing: "/billing", network: "/network", provider: "/provider", missing: "/no-such-place", wallet: system.wallet };
  return pictures(browser, person, paths);
}

/** Pictures of these addresses as the person sees them, by name. Gives what is wrong, one sentence each. */
export async function pictures(browser, person, paths) {
  await mkdir(FOLDER, { recursive: true });
  const found = [];
  const storageState = await person.context.storageState();
  const context = await browser.newContext({ storageState, reducedMotion: "reduce" });
  const page = await context.newPage();
  for (const [name, path] of Object.entries(paths)) {
    await page.goto(new URL(path, person.system.dashboard).href);
    await page.getByRole("heading").first().waitFor();
    // The first answers of chain and coordinator.
    await page.waitForTimeout(900);
    for (const theme of THEMES) {
      for (const width of WIDTHS) {
        await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
        await page.setViewportSize({ width, height: 900 });
        const where = `${name}, ${theme}, ${width} wide`;
        await page.screenshot({ path: `${FOLDER}/${name}-${theme}-${width}.png`, fullPage: true });
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wider > 0) found.push(`${where}: ${wider} pixels stick out sideways`);
        // The narrow light pages and the wide dark ones: every shape and every colour once.
        if ((theme === "light") !== (width === WIDTHS[0])) continue;
        const { violations } = await new AxeBuilder({ page }).analyze();
        for (const { id, nodes } of violations) found.push(`${where}: ${id}: ${nodes.map(({ target }) => target.join(" ")).slice(0, 3).join(", ")}`);
      }
    }
  }
  await context.close();
  return found;
}

