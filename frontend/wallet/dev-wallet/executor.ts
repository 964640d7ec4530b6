// The development wallet's executor: the connector runs it in a frame without origin inside the dashboard's page. It holds no key: it
// opens the wallet's window, passes the request on and waits for what the person decides there.
import { type Answer, type Ask, type Giver, READY, type Request, type Result, type SignedIn, type Transaction, type WantedKey, type LoginMessage } from "./protocol.ts";

interface Panel {
  id(): Promise<string | null>;
  postMessage(data: unknown): Promise<void>;
}

interface Selector {
  uuid(): string;
  ready(wallet: object): void;
  open(url: string, target: string, features: string): Panel;
  storage: { get(key: string): Promise<string | null>; set(key: string, value: string): Promise<void>; remove(key: string): Promise<void> };
}

const selector = (window as unknown as { selector: Selector }).selector;
const ACCOUNT = "account";
const WANTED_NAME = "wanted-name";
const GIVER = "giver";
const FEATURES = "popup,width=460,height=760";

interface SignInParams {
  addFunctionCallKey?: WantedKey;
  messageParams?: LoginMessage;
}

const wallet = {
  // The connector puts our manifest entry here.
  manifest: undefined as unknown as { metadata: { walletUrl: string; chainId: string } },

  async signIn({ addFunctionCallKey }: SignInParams = {}) {
    return [await signIn({ addFunctionCallKey })];
  },
  async signInAndSignMessage(params: SignInParams) {
    const { accountId, publicKey, signature } = await signIn(params);
    return [{ accountId, publicKey, signedMessage: { accountId, publicKey, signature } }];
  },
  async signMessage({ message, recipient, nonce }: LoginMessage) {
    const result = await ask({ kind: "message", message: { message, recipient, nonce }, ...(await signer()) });
    if (!("account" in result)) throw unexpected();
    return result.account;
  },
  async signOut() {
    await selector.storage.remove(ACCOUNT);
  },
  async getAccounts() {
    const stored = await selector.storage.get(ACCOUNT);
    return stored === null ? [] : [JSON.parse(stored)];
  },
  async signAndSendTransaction({ receiverId, actions }: Transaction) {
    const [outcome] = await send([{ receiverId, actions }]);
    return outcome;
  },
  /** Signs what a sponsor sends at its own cost (NEP-366). */
  async signDelegateActions({ delegateActions }: { delegateActions: Transaction[] }) {
    const result = await ask({ kind: "delegates", transactions: delegateActions, ...(await signer()) });
    if (!("signedDelegates" in result)) throw unexpected();
    return { signedDelegateActions: result.signedDelegates };
  },
  async signAndSendTransactions({ transactions }: { transactions: Transaction[] }) {
    return send(transactions);
  },
};

selector.ready(wallet);

async function signIn({ addFunctionCallKey, messageParams }: SignInParams): Promise<SignedIn> {
  const wantedName = await selector.storage.get(WANTED_NAME);
  const giver: Giver = (await selector.storage.get(GIVER)) === "sponsor" ? "sponsor" : "faucet";
  const request: Ask = { kind: "sign-in", giver, ...(messageParams && { message: messageParams }), ...(addFunctionCallKey && { addKey: addFunctionCallKey }), ...(wantedName !== null && { wantedName }) };
  const result = await ask(request, async () => {
    await selector.storage.remove(WANTED_NAME);
    await selector.storage.remove(GIVER);
  });
  if (!("account" in result)) throw unexpected();
  const { accountId, publicKey } = result.account;
  await selector.storage.set(ACCOUNT, JSON.stringify({ accountId, publicKey }));
  return result.account;
}

async function send(transactions: Transaction[]): Promise<unknown[]> {
  const result = await ask({ kind: "transactions", transactions, ...(await signer()) });
  if (!("outcomes" in result)) throw unexpected();
  return result.outcomes;
}

async function signer(): Promise<{ signerId?: string }> {
  const stored = await selector.storage.get(ACCOUNT);
  return stored === null ? {} : { signerId: JSON.parse(stored).accountId };
}

/** Opens the window and waits for its answer. What is thrown crosses frames, so it is a plain object. */
async function ask(question: Ask, opened?: () => Promise<void>): Promise<Result> {
  const { walletUrl, chainId } = wallet.manifest.metadata;
  const request: Request = { type: "starling-wallet:request", id: selector.uuid(), chainId, ask: question };
  const panel = selector.open(`${walletUrl}/`, "_blank", FEATURES);
  const answered = new Promise<Result>((resolve, reject) => {
    const listener = async (event: MessageEvent) => {
      // The connector forwards only what came from the window's own origin.
      if (event.source !== window.parent) return;
      const data = event.data as Partial<Answer> & { method?: string; windowId?: string };
      if ((data.type as string) === READY) void panel.postMessage(request);
      else if (data.type === "starling-wallet:answer" && data.id === request.id) {
        window.removeEventListener("message", listener);
        if (data.ok === true) resolve((data as { result: Result }).result);
        else reject((data as { error: object }).error);
      } else if (data.method === "proxy-window:closed" && data.windowId === (await panel.id())) {
        window.removeEventListener("message", listener);
        reject({ code: "cancelled", message: "The wallet's window was closed. Nothing was signed." });
      }
    };
    window.addEventListener("message", listener);
  });
  if ((await panel.id()) === null) throw { code: "blocked", message: "The browser did not open the wallet's window. Nothing was signed." };
  await opened?.();
  return answered;
}

function unexpected() {
  return { code: "failed", message: "The development wallet gave an answer of another kind than was asked for." };
}
