// What a page asks, shown in plain words, with the two answers: approve or reject.
import { createAccount, nameField, words } from "./accounts.ts";
import { type Chain, ChainError, objection } from "./chain.ts";
import { el, pairs, problem } from "./dom.ts";
import { type Account, type Keys, nonceBytes, signMessage } from "./keys.ts";
import type { AddKeyAction, Ask, LoginMessage, Result, Transaction, WantedKey } from "./protocol.ts";
import { describe, exactNear, near } from "./words.ts";

/** A request older than this is not signed any more: whoever asked has gone, or has changed their mind. */
export const REQUEST_LIFE_MS = 5 * 60_000;

export interface Asked {
  chain: Chain;
  keys: Keys;
  /** The page that asks, as the browser names it. */
  origin: string;
  ask: Ask;
  at: number;
}

export interface Decision {
  approve(result: Result): void;
  reject(code: string, message: string): void;
}

/** The request as a form. */
export function requestView(asked: Asked, decision: Decision): HTMLElement {
  const view = el("section", { class: "stack" });
  const { body, approve, label } = content(asked);
  const status = el("div", { class: "stack", "aria-live": "polite" });
  const yes = el("button", { class: "button primary", type: "submit" }, label());
  const no = el("button", { class: "button", type: "button" }, "Reject");
  const form = el("form", { class: "stack" }, ...body, status, el("div", { class: "row" }, yes, no));
  form.addEventListener("input", () => (yes.textContent = label()));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (Date.now() - asked.at > REQUEST_LIFE_MS) {
      yes.disabled = true;
      status.replaceChildren(problem("This request is older than five minutes, so it is not signed any more. Reject it and ask again on the page."));
      return;
    }
    yes.disabled = true;
    no.disabled = true;
    yes.textContent = "Working";
    try {
      decision.approve(await approve());
    } catch (thrown) {
      status.replaceChildren(problem(words(thrown)));
      no.textContent = "Close";
      yes.textContent = label();
      // A transaction that was refused is not sent a second time from here; a name that is taken can be changed.
      yes.disabled = asked.ask.kind === "transactions";
      no.disabled = false;
      failure = thrown;
    }
  });
  let failure: unknown;
  no.addEventListener("click", () => {
    if (failure === undefined) decision.reject("cancelled", "You rejected the request in your wallet. Nothing was signed.");
    else decision.reject(failure instanceof ChainError ? failure.code : "failed", words(failure));
  });
  view.append(form);
  return view;
}

interface Content {
  body: (HTMLElement | undefined)[];
  label: () => string;
  approve: () => Promise<Result>;
}

function content(asked: Asked): Content {
  switch (asked.ask.kind) {
    case "sign-in":
      return signIn(asked, asked.ask);
    case "message":
      return message(asked, asked.ask);
    case "transactions":
    case "delegates":
      return transactions(asked, asked.ask);
  }
}

function signIn({ chain, keys, origin }: Asked, ask: Extract<Ask, { kind: "sign-in" }>): Content {
  const known = keys.all();
  const wanted = ask.wantedName ?? "";
  const giver = ask.giver ?? "faucet";
  const { label: field, input } = nameField(chain, giver, wanted);
  const makesNew = wanted !== "" || known.length === 0;
  const select = el("select", { name: "account" });
  for (const { accountId } of known) select.append(el("option", { value: accountId }, accountId));
  select.append(el("option", { value: "" }, "A new account"));
  select.value = makesNew ? "" : (keys.active()?.accountId ?? "");
  const refresh = () => (field.hidden = select.value !== "");
  select.addEventListener("change", refresh);
  refresh();
  const account = async (): Promise<Account> => {
    if (select.value === "") {
      const made = await createAccount(chain, keys, input.value.trim(), giver);
      // From here on it exists: a second try must not make it again.
      select.prepend(el("option", { value: made.accountId }, made.accountId));
      select.value = made.accountId;
      refresh();
      return made;
    }
    const chosen = keys.find(select.value);
    if (chosen === undefined) throw new Error("The key of this account is gone from this browser.");
    keys.use(chosen.accountId);
    return chosen;
  };
  return {
    body: [
      el("h2", { tabindex: "-1" }, "Sign in"),
      pairs(["Asked by", origin], ["Network", chain.config.chain_id]),
      el("label", { class: "field", hidden: known.length === 0 }, "Account", select),
      field,
      ask.message && messageCard(ask.message, origin),
      ask.addKey && el("p", { class: "note warn" }, keyWords(ask.addKey)),
      el("p", { class: "faint" }, "Signing in costs nothing and moves no money."),
    ],
    label: () => (select.value === "" ? "Create account and sign in" : "Approve"),
    approve: async () => {
      const signer = await account();
      if (ask.addKey !== undefined) await chain.send(signer.accountId, signer.secretKey, { receiverId: signer.accountId, actions: [keyAction(ask.addKey)] });
      const signature = ask.message && (await signMessage(signer, ask.message));
      return { account: { accountId: signer.accountId, publicKey: signer.publicKey, ...(signature && { signature }) } };
    },
  };
}

function keyAction({ contractId, publicKey, allowMethods, gasAllowance }: WantedKey): AddKeyAction {
  const methodNames = allowMethods.anyMethod ? [] : allowMethods.methodNames;
  const permission = { receiverId: contractId, methodNames, ...(gasAllowance?.kind === "limited" && { allowance: gasAllowance.amount }) };
  return { type: "AddKey", params: { publicKey, accessKey: { permission } } };
}

function keyWords(key: WantedKey): string {
  return describe({ receiverId: key.contractId, actions: [keyAction(key)] })[0]?.what ?? "";
}

function message({ keys, chain, origin }: Asked, ask: Extract<Ask, { kind: "message" }>): Content {
  return {
    body: [el("h2", { tabindex: "-1" }, "Sign a message"), pairs(["Asked by", origin], ["Network", chain.config.chain_id], ["Account", ask.signerId]), messageCard(ask.message, origin)],
    label: () => "Approve",
    approve: async () => {
      const signer = owner(keys, ask.signerId);
      return { account: { accountId: signer.accountId, publicKey: signer.publicKey, signature: await signMessage(signer, ask.message) } };
    },
  };
}

function messageCard(login: LoginMessage, origin: string): HTMLElement {
  nonceBytes(login.nonce);
  const foreign = login.recipient !== origin;
  return el(
    "div",
    { class: "stack" },
    el("p", { class: "faint" }, "This message is signed:"),
    el("pre", { class: "log", tabindex: "0", "aria-label": "Message" }, login.message),
    pairs(["For", login.recipient]),
    foreign && el("p", { class: "note warn" }, `The message is for ${login.recipient}, but ${origin} asks for it. Reject it unless you know why.`),
  );
}

function transactions({ keys, chain, origin }: Asked, ask: Extract<Ask, { kind: "transactions" | "delegates" }>): Content {
  const sponsored = ask.kind === "delegates";
  const why = ask.transactions.map(objection).find((reason) => reason !== undefined);
  const signer = owner(keys, ask.signerId);
  if (why !== undefined) throw new ChainError("failed", why);
  const lines = ask.transactions.flatMap(describe);
  const attached = lines.reduce((sum, line) => sum + line.attached, 0n);
  const gas = sponsored ? 0n : lines.reduce((sum, line) => sum + line.gas, 0n) * chain.gasPrice;
  const balance = el("span", {}, "…");
  void chain.balance(signer.accountId).then(
    (amount) => {
      balance.textContent = amount === undefined ? "no such account" : near(amount);
      if (!sponsored && amount !== undefined && amount < attached + gas) balance.after(problem("The account does not hold that much."));
    },
    () => (balance.textContent = "unknown"),
  );
  return {
    body: [
      el("h2", { tabindex: "-1" }, lines.length === 1 ? "Approve a transaction" : `Approve ${lines.length} transactions`),
      pairs(["Asked by", origin], ["Network", chain.config.chain_id], ["Account", signer.accountId], ["It holds", balance]),
      ...ask.transactions.map(card),
      el("section", { class: "card quote", "aria-label": "Cost" }, el("p", { class: "soft" }, "Attaches at most"), el("p", { class: "at-most num", title: exactNear(attached) }, near(attached)), pairs(["Gas", sponsored ? "paid by a sponsor, which sends this for you" : `at most ${near(gas)}, what is not used comes back`])),
    ],
    label: () => "Approve",
    approve: async () => {
      if (sponsored) {
        const signedDelegates = [];
        for (const transaction of ask.transactions) signedDelegates.push(await chain.delegate(signer.accountId, signer.secretKey, transaction));
        return { signedDelegates };
      }
      const outcomes = [];
      for (const transaction of ask.transactions) outcomes.push(await chain.send(signer.accountId, signer.secretKey, transaction));
      return { outcomes };
    },
  };
}

function card(transaction: Transaction): HTMLElement {
  const parts = describe(transaction).flatMap(({ what, attached, detail }) => [
    el("p", {}, el("strong", {}, what)),
    pairs(["Contract", transaction.receiverId], ...(detail ? ([["Method", detail.method]] as [string, string][]) : []), ["Attaches", attached === 1n ? "1 yoctoNEAR, the smallest amount, as a confirmation" : `at most ${near(attached)}`]),
    detail && el("details", {}, el("summary", { class: "faint" }, "Every argument"), el("pre", { class: "log", tabindex: "0" }, detail.args)),
  ]);
  return el("article", { class: "card" }, ...parts);
}

function owner(keys: Keys, signerId: string | undefined): Account {
  const account = signerId === undefined ? keys.active() : keys.find(signerId);
  if (account === undefined) throw new ChainError("failed", `This wallet holds no key of ${signerId ?? "any account"} on this chain. Import its key file, or sign in with another account.`);
  return account;
}
