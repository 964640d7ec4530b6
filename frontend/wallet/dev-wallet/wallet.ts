// The development wallet's window: a person's keys of an embedded chain, on an origin of their own.
import { accountsView, words } from "./accounts.ts";
import { Chain } from "./chain.ts";
import { button, el, problem } from "./dom.ts";
import { Keys } from "./keys.ts";
import { type Answer, READY, type Request } from "./protocol.ts";
import { requestView } from "./requests.ts";

const main = el("main", { class: "mx-auto grid max-w-xl content-start gap-4 p-5" });

function frame(chain: string): HTMLElement {
  return el(
    "header",
    { class: "stack" },
    el("div", { class: "row between" }, el("h1", { class: "text-xl" }, "Development wallet"), el("span", { class: "chip plain", title: "The chain that this wallet signs for" }, chain)),
    el("p", { class: "note warn" }, "Embedded chain only: keys are stored in this browser."),
  );
}

async function start(): Promise<void> {
  document.body.append(main);
  // A page that holds this one in a frame could cover it and steal the click.
  if (window.top !== window.self) {
    main.replaceChildren(problem("This wallet does not work inside another page."));
    return;
  }
  main.replaceChildren(frame("asking the chain"));
  let chain: Chain;
  try {
    chain = await Chain.open();
  } catch (thrown) {
    main.replaceChildren(frame("no chain"), problem(words(thrown)), button("Try again", "", () => location.reload()));
    return;
  }
  const keys = new Keys(chain.config.chain_id);
  const opener = window.opener as Window | null;
  if (opener === null) {
    main.replaceChildren(frame(chain.config.chain_id), accountsView(chain, keys));
    return;
  }
  main.replaceChildren(frame(chain.config.chain_id), el("p", { class: "soft" }, "Waiting for the page that opened this window."));
  window.addEventListener("message", (event) => receive(event, opener, chain, keys));
  // Holds nothing: who opened this window is known only when it asks.
  opener.postMessage({ type: READY }, "*");
}

function receive(event: MessageEvent, opener: Window, chain: Chain, keys: Keys): void {
  const request = event.data as Partial<Request> | null;
  if (event.source !== opener || request?.type !== "starling-wallet:request" || typeof request.id !== "string") return;
  const { id, ask } = request;
  const reply = (answer: { ok: true; result: unknown } | { ok: false; error: { code: string; message: string } }) => {
    opener.postMessage({ type: "starling-wallet:answer", id, ...answer } as Answer, event.origin);
    window.close();
  };
  const reject = (code: string, message: string) => reply({ ok: false, error: { code, message } });
  const refuse = (code: string, message: string) => main.replaceChildren(frame(chain.config.chain_id), problem(message), button("Close", "", () => reject(code, message)));
  if (!trusted(event.origin, chain.config.dashboard_origin)) {
    refuse("failed", `${event.origin} asks, but this wallet answers only ${chain.config.dashboard_origin} and pages served by this machine.`);
    return;
  }
  if (request.chainId !== chain.config.chain_id) {
    refuse("wrong_network", `The page is on ${String(request.chainId)}, but this wallet is on ${chain.config.chain_id}. Nothing was signed. Reload the page; if that does not help, one of the two belongs to an older chain.`);
    return;
  }
  try {
    if (ask === undefined) throw new Error("The request is empty.");
    const view = requestView({ chain, keys, origin: event.origin, ask, at: Date.now() }, { approve: (result) => reply({ ok: true, result }), reject });
    main.replaceChildren(frame(chain.config.chain_id), view);
    // Never the button that signs: a key pressed in haste must not approve.
    view.querySelector<HTMLElement>("h2")?.focus();
  } catch (thrown) {
    refuse("failed", `This request cannot be shown, so it is not signed. ${words(thrown)}`);
  }
}

/** The dashboard that this wallet was started with, or a page of this machine, such as a developer's server. */
function trusted(origin: string, dashboard: string): boolean {
  if (origin === dashboard) return true;
  const { hostname } = new URL(origin === "null" ? "null://null" : origin);
  return hostname === "127.0.0.1" || hostname === "localhost" || hostname === "[::1]";
}

await start();
