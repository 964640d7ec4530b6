// The accounts of this browser: choose, make by the faucet, import, export, forget.
import type { Chain } from "./chain.ts";
import { button, el, problem } from "./dom.ts";
import type { Giver } from "./protocol.ts";
import { type Account, type Keys, exportFile, importFile, newKey } from "./keys.ts";
import { near } from "./words.ts";

const NAME = /^[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])$/;

/** Makes a key here and has an account made with it; the key is kept first, so that none is lost. */
export async function createAccount(chain: Chain, keys: Keys, name: string, giver: Giver): Promise<Account> {
  if (!NAME.test(name)) throw new Error("A name has 2 to 40 small letters, digits and dashes, with a letter or digit at each end.");
  const account = { accountId: `${name}.${chain.root(giver)}`, ...newKey() };
  if ((await chain.balance(account.accountId)) !== undefined) throw new Error(`${account.accountId} exists already. Choose another name, or import its key file.`);
  const before = keys.active();
  keys.add(account);
  try {
    await chain.makeAccount(name, account.publicKey, giver);
  } catch (thrown) {
    keys.remove(account.accountId);
    if (before !== undefined) keys.use(before.accountId);
    throw thrown;
  }
  return account;
}

export function nameField(chain: Chain, giver: Giver, value: string): { label: HTMLLabelElement; input: HTMLInputElement } {
  const input = el("input", { name: "name", autocomplete: "off", spellcheck: "false", maxlength: "40", placeholder: "ada", value });
  const label = el("label", { class: "field" }, "Name of the new account", input, el("span", { class: "hint" }, `It becomes NAME.${chain.root(giver)}. ${giver === "sponsor" ? "It holds nothing: a sponsor pays for making it." : "The faucet gives it play money of this chain."}`));
  return { label, input };
}

/** The page that a person sees who opens the wallet by its address. */
export function accountsView(chain: Chain, keys: Keys): HTMLElement {
  const page = el("section", { class: "stack", "aria-label": "Accounts" });
  const draw = (failure?: string) => {
    const list = el("ul", { class: "stack" });
    for (const account of keys.all()) list.append(row(chain, keys, account, draw));
    page.replaceChildren(el("h2", {}, "Accounts"), list.children.length > 0 ? list : el("p", { class: "soft" }, "No account yet. Make one below: the faucet pays."), creation(chain, keys, draw), importing(chain, keys, draw), failure === undefined ? "" : problem(failure));
  };
  draw();
  return page;
}

type Draw = (failure?: string) => void;

function row(chain: Chain, keys: Keys, account: Account, draw: Draw): HTMLElement {
  const balance = el("span", { class: "soft num" }, "…");
  void chain.balance(account.accountId).then(
    (amount) => balance.replaceChildren(amount === undefined ? "not on this chain" : near(amount)),
    () => balance.replaceChildren("balance unknown"),
  );
  const active = keys.active()?.accountId === account.accountId;
  const save = () => {
    const url = URL.createObjectURL(new Blob([exportFile(account)], { type: "application/json" }));
    el("a", { href: url, download: `${account.accountId}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1_000);
  };
  const forget = el("button", { class: "button small danger", type: "button" }, "Forget");
  forget.addEventListener("click", () => {
    if (forget.textContent === "Forget") forget.textContent = "Forget the only copy of this key";
    else {
      keys.remove(account.accountId);
      draw();
    }
  });
  const use = active ? el("span", { class: "chip good" }, "in use") : button("Use", "small", () => (keys.use(account.accountId), draw()));
  return el("li", { class: "card" }, el("div", { class: "row between" }, el("span", { class: "mono" }, account.accountId), balance), el("div", { class: "row" }, use, button("Export key file", "small", save), forget));
}

function creation(chain: Chain, keys: Keys, draw: Draw): HTMLElement {
  const { label, input } = nameField(chain, "faucet", "");
  const make = el("button", { class: "button" }, "Create account");
  const form = el("form", { class: "card" }, label, make);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    make.disabled = true;
    draw(await createAccount(chain, keys, input.value.trim(), "faucet").then(() => undefined, words));
  });
  return form;
}

function importing(chain: Chain, keys: Keys, draw: Draw): HTMLElement {
  const input = el("input", { type: "file", accept: "application/json,.json" });
  input.addEventListener("change", async () => {
    try {
      const [file] = input.files ?? [];
      if (file === undefined) return;
      const account = importFile(await file.text());
      if ((await chain.balance(account.accountId)) === undefined) throw new Error(`${account.accountId} is no account of this chain.`);
      keys.add(account);
      draw();
    } catch (thrown) {
      draw(words(thrown));
    }
  });
  return el("label", { class: "field card" }, "Import a key file", input, el("span", { class: "hint" }, "JSON with account_id and private_key, for accounts of this chain only."));
}

export function words(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
