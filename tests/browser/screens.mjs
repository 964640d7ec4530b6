// Each screen in light and dark, from a small phone to a wide screen and at 200 % zoom: a picture, an accessibility audit, nothing cut off or sticking out.
import { mkdir } from "node:fs/promises";
import { AxeBuilder } from "@axe-core/playwright";

const FOLDER = "target/screens";
const THEMES = ["light", "dark"];
const HEIGHT = 900;
const [PHONE, DESK] = [360, 1440];
/** Looked at in one theme, without a picture unless all are asked for. */
const ALSO = [390, 2560];
/** What is left of a window of 1280 x 900 pixels at 200 %. */
const ZOOMED = { width: 640, height: 450 };
const ALL_PICTURES = process.env.STARLING_PICTURES === "all";

/** All screens of a system on which a person trained a run. Gives what is wrong, one sentence each. */
export async function screens(browser, system, person, runId) {
  const paths = { home: "/", models: "/models", model: `/models/${person.account}/small-rust`, publish: "/models/publish", compute: "/compute", rent: "/compute/rent/2", "rent-closed": "/compute/rent/1", lease: "/leases/1", train: "/train", run: `/runs/${runId}`, market: "/market", tool: `/market/${person.account}/rust-probes`, "publish-tool": "/market/publish", "publish-data": "/market/publish?what=data", billing: "/billing", network: "/network", provider: "/provider", missing: "/no-such-place", wallet: system.wallet };
  const read = Object.entries(paths).filter(([name]) => !["missing", "wallet"].includes(name));
  const some = ALL_PICTURES ? read : read.filter(([name]) => ["home", "compute", "run", "billing"].includes(name));
  const found = await pictures(browser, person, paths);
  for (const state of Object.keys(ANSWERS)) found.push(...(await pictures(browser, person, Object.fromEntries(some.map(([name, path]) => [`${name}-${state}`, path])), state)));
  return found;
}

/** How coordinator and chain answer while a screen loads, and when they fail: what is not the network's name or the session. */
const ANSWERS = {
  loading: () => {},
  failing: (route) => (route.request().url().includes("/api/v1/") ? route.fulfill({ status: 503, contentType: "application/problem+json", json: { type: "about:blank", title: "Not ready yet", status: 503, detail: "The chain is being read. Try again in a moment.", code: "not_ready", id: "0123456789abcdef" } }) : route.abort()),
};

/** Pictures of these addresses as the person sees them, by name, in a state of `ANSWERS` if one is named. Gives what is wrong, one sentence each. */
export async function pictures(browser, person, paths, state) {
  await mkdir(FOLDER, { recursive: true });
  const found = [];
  const storageState = await person.context.storageState();
  const context = await browser.newContext({ storageState, reducedMotion: "reduce" });
  const isHeld = ({ origin, pathname }) => origin === new URL(person.system.rpc).origin || /^\/api\/v1\/(?!network$|session$)/.test(pathname);
  if (state) await context.route(isHeld, ANSWERS[state]);
  const page = await context.newPage();
  const look = async (name, theme, { width, height }, word, picture = true) => {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
    await page.setViewportSize({ width, height });
    if (picture || ALL_PICTURES) await page.screenshot({ path: `${FOLDER}/${name}-${theme}-${word}.png`, fullPage: true });
    for (const wrong of await page.evaluate(misplaced)) found.push(`${name}, ${theme}, ${word}: ${wrong}`);
  };
  const audit = async (where) => {
    const { violations } = await new AxeBuilder({ page }).analyze();
    for (const { id, nodes } of violations) found.push(`${where}: ${id}: ${nodes.map(({ target }) => target.join(" ")).slice(0, 3).join(", ")}`);
  };
  for (const [name, path] of Object.entries(paths)) {
    await page.goto(new URL(path, person.system.dashboard).href);
    if (!state) await page.getByRole("heading").first().waitFor();
    // The first answers of chain and coordinator.
    await page.waitForTimeout(900);
    for (const width of ALSO) {
      for (const theme of ALL_PICTURES ? THEMES : ["light"]) await look(name, theme, { width, height: HEIGHT }, width, false);
    }
    for (const width of [PHONE, DESK]) {
      for (const theme of THEMES) await look(name, theme, { width, height: HEIGHT }, width);
    }
    // Every shape and every colour once: wide and dark, zoomed and light.
    await audit(`${name}, dark, ${DESK}`);
    await look(name, "light", ZOOMED, "zoomed", false);
    await audit(`${name}, light, zoomed`);
  }
  await context.close();
  return found;
}

/** In the page: what sticks out sideways, and whose text is cut off where nothing can be scrolled. */
function misplaced() {
  const wrong = [];
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) wrong.push(`${scrollWidth - clientWidth} pixels stick out sideways`);
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    const hidden = style.visibility === "hidden" || element.closest("[aria-hidden=true], .visually-hidden, svg, details:not([open]) > :not(summary)") !== null;
    const ownText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== "");
    if (hidden || !ownText || element.clientWidth === 0 || element.matches("select, textarea, input, option")) continue;
    const cut = (overflow, is, room) => ["hidden", "clip"].includes(overflow) && is > room + 1;
    if (cut(style.overflowX, element.scrollWidth, element.clientWidth) || cut(style.overflowY, element.scrollHeight, element.clientHeight)) {
      wrong.push(`"${element.textContent.trim().slice(0, 60)}" is cut off`);
    }
  }
  return wrong;
}
