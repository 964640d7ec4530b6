// The seam to wallets: the only place that knows the wallet connector. Loaded on demand by `starling.load("wallet")`.
import { NearConnector, type WalletManifest } from "@hot-labs/near-connect";
import { askForClick, chooseWallet } from "./dialog.ts";
import { fromBase64, signatureText } from "./encode.ts";
import { WalletError, walletError } from "./errors.ts";
import { type Outcome, type Sent, sent } from "./outcome.ts";

export interface NetworkInfo {
  deployment: { chain_id: string };
  rpc_url: string;
  dev_wallet_url: string | null;
  /** Who pays gas for accounts that hold no NEAR, and for which calls. */
  sponsor: { account: string; calls: { contract: string; method: string; gas: number }[] } | null;
  version: string;
}

export interface Account {
  accountId: string;
  publicKey: string;
}

export interface Call {
  methodName: string;
  args: object;
  gas: string;
  deposit: string;
}

/** Lets a key call methods of one contract in the account's name, with so much gas in all and no deposit. */
export interface NewKey {
  publicKey: string;
  receiverId: string;
  methodNames: string[];
  allowance: string;
}

export type Step = Call | { newKey: NewKey } | { endKey: string };

export interface Transaction {
  receiverId: string;
  actions: Step[];
}

type Wallet = Awaited<ReturnType<NearConnector["wallet"]>>;

const DEVELOPMENT = "starling-dev-wallet";
/** Where the development wallet's executor finds the name of the account that a new person asked for. */
const WANTED_NAME = `${DEVELOPMENT}:wanted-name`;
const GIVER = `${DEVELOPMENT}:giver`;
/** An account that holds less than the gas it attaches and this much besides, in yoctoNEAR, is sponsored. */
const GAS_MARGIN = 10n ** 22n;
/** The wallets of public networks, and what their executors must be: beside the page, so that whoever serves it can change the list. */
const PUBLIC_WALLETS = "/wallets.json";
/** A manifest entry. The connector hands it on whole: `metadata` is for our own executor, `integrity` is the hash of another's. */
type Entry = WalletManifest & { metadata?: { walletUrl: string; chainId: string }; integrity?: string };

let state: { network: NetworkInfo; connector: NearConnector; entries: Entry[] } | undefined;

/** Says which network this is. Before everything else; again only when the network has changed. */
export async function init({ network }: { network: NetworkInfo }): Promise<void> {
  if (state !== undefined && JSON.stringify(state.network) === JSON.stringify(network)) return;
  const entries = await wallets(network);
  // The connector knows two networks by name. The embedded chain goes as testnet, with its own RPC; its own chain id stands in
  // every message, and is checked by the wallet.
  const name = network.deployment.chain_id === "mainnet" ? "mainnet" : "testnet";
  const nonce = document.querySelector<HTMLMetaElement>("meta[name=csp-nonce]")?.content;
  const connector = new NearConnector({
    network: name,
    providers: { mainnet: [], testnet: [], [name]: [network.rpc_url] },
    manifest: { version: network.version, wallets: entries },
    autoConnect: false,
    footerBranding: null,
    ...(nonce === undefined ? {} : { cspNonce: nonce }),
  });
  // An executor kept from an earlier build must not answer for this one.
  for (const entry of entries) await connector.db.removeItem(`${entry.id}:${entry.version}`).catch(() => undefined);
  state = { network, connector, entries };
}

async function wallets(network: NetworkInfo): Promise<Entry[]> {
  const chain = network.deployment.chain_id;
  if (network.dev_wallet_url !== null && chain !== "mainnet" && chain !== "testnet") return [developmentWallet(network, new URL(network.dev_wallet_url).origin)];
  const answer = await fetch(PUBLIC_WALLETS);
  if (!answer.ok) throw new WalletError("unreachable", "The list of wallets could not be read. Nothing was signed; try again in a moment.");
  const list = (await answer.json()) as { wallets: Entry[] };
  return list.wallets.filter(({ features }) => (chain === "mainnet" ? features.mainnet : features.testnet) === true);
}

/**
 * A wallet by its id, or the one that is signed in. Another's executor is loaded here and not by the connector, so that the browser
 * compares its hash with the one in our list before anything of it runs.
 */
async function walletOf(chosen?: string): Promise<Wallet> {
  const { connector, entries } = ready();
  const id = chosen ?? (await connector.storage.get("selected-wallet"));
  const entry = entries.find((entry) => entry.id === id);
  if (entry !== undefined && entry.id !== DEVELOPMENT) await loadExecutor(entry, (await connector.wallet(entry.id)) as unknown as Sandboxed);
  return connector.wallet(chosen);
}

/** What the connector runs once it is there, instead of fetching it. */
interface Sandboxed {
  executor: { actualCode: string | null };
}

async function loadExecutor({ name, executor, integrity }: Entry, { executor: sandbox }: Sandboxed): Promise<void> {
  if (sandbox.actualCode !== null) return;
  const code = integrity && (await fetch(executor, { integrity, credentials: "omit" }).then((answer) => answer.text(), () => undefined));
  if (!code) throw new WalletError("unreachable", `What ${name} runs in this page could not be loaded, or is not what our list names. Nothing was signed; choose another wallet, or try again later.`);
  sandbox.actualCode = code;
}

function developmentWallet(network: NetworkInfo, origin: string): Entry {
  return {
    id: DEVELOPMENT,
    name: "Development wallet",
    description: "Keys of the embedded chain, kept in this browser on an origin of their own.",
    icon: "",
    website: origin,
    version: network.version,
    executor: `${origin}/executor.js`,
    type: "sandbox",
    platform: [],
    features: { signMessage: true, signInWithoutAddKey: true, signInAndSignMessage: true, signInWithFunctionCallKey: true, signAndSendTransaction: true, signAndSendTransactions: true, signDelegateActions: true, testnet: true } as Entry["features"],
    permissions: { storage: true, allowsOpen: [origin] },
    metadata: { walletUrl: origin, chainId: network.deployment.chain_id },
  };
}

function ready(): NonNullable<typeof state> {
  if (state === undefined) throw new WalletError("unreachable", "The network is not known yet: the coordinator has not answered. Nothing was signed.");
  return state;
}

/** Chooses an account and signs the login message (NEP-413): one prompt, or two in a wallet that cannot do both at once. The nonce is 32 bytes in base64. */
export async function signInAndSignMessage(login: { message: string; recipient: string; nonce: string }): Promise<Account & { signature: string }> {
  return guarded(async () => {
    const { connector, entries } = ready();
    const walletId = entries.length === 1 ? entries[0]?.id : await chooseWallet(entries.map(({ id, name }) => ({ id, name, tried: id === DEVELOPMENT })));
    if (walletId === undefined) throw entries.length === 0 ? new WalletError("unsupported", "No wallet is known for this network.") : new WalletError("cancelled", "No wallet was chosen. Nothing was signed.");
    const wallet = await walletOf(walletId);
    const { signature, publicKey, accountId } = await signedMessage(wallet, { message: login.message, recipient: login.recipient, nonce: fromBase64(login.nonce) });
    await connector.storage.set("selected-wallet", walletId);
    return { accountId, publicKey, signature: signatureText(signature) };
  });
}

async function signedMessage(wallet: Wallet, messageParams: { message: string; recipient: string; nonce: Uint8Array }): Promise<Account & { signature: string }> {
  const nobody = new WalletError("cancelled", "The wallet gave no account. Nothing was signed.");
  if (wallet.manifest.features.signInAndSignMessage === true) {
    const [account] = await withClick(wallet, () => wallet.signInAndSignMessage({ messageParams }));
    if (account === undefined) throw nobody;
    return account.signedMessage;
  }
  const [account] = await withClick(wallet, () => wallet.signIn());
  if (account === undefined) throw nobody;
  return withClick(wallet, () => wallet.signMessage(messageParams));
}

/** Forgets the wallet's connection to this page. Keys stay in the wallet. */
export async function signOut(): Promise<void> {
  const { connector } = ready();
  await walletOf().then((wallet) => connector.disconnect(wallet)).catch(() => undefined);
  await connector.storage.remove("selected-wallet");
}

/** Asks the wallet to sign and send one transaction, and waits for its outcome. */
export async function signAndSendTransaction({ receiverId, actions }: Transaction): Promise<Sent> {
  return guarded(async () => {
    const wallet = await walletOf();
    const action = actions.length === 1 ? actions[0] : undefined;
    if (action !== undefined && "methodName" in action && (await isSponsored(wallet, receiverId, action))) return relayed(wallet, receiverId, action);
    return sent((await withClick(wallet, () => wallet.signAndSendTransaction({ receiverId, actions: actions.map(connectorAction) }))) as Outcome);
  });
}

/** Whether a sponsor pays for a call: one that it has listed, of an account that cannot pay the gas itself, in a wallet that can sign for others to send. */
async function isSponsored(wallet: Wallet, receiverId: string, { methodName, gas, deposit }: Call): Promise<boolean> {
  const { network, connector } = ready();
  const listed = network.sponsor?.calls.find(({ contract, method }) => contract === receiverId && method === methodName);
  if (listed === undefined || wallet.manifest.features.signDelegateActions !== true || BigInt(deposit) > 1n || BigInt(gas) > BigInt(listed.gas)) return false;
  const [account] = (await connector.getConnectedWallet()).accounts;
  if (account === undefined) return false;
  const [{ amount }, { gas_price }] = (await Promise.all([ask(network, "query", { request_type: "view_account", finality: "final", account_id: account.accountId }), ask(network, "gas_price", [null])])) as [{ amount: string }, { gas_price: string }];
  return BigInt(amount) < BigInt(gas) * BigInt(gas_price) + GAS_MARGIN;
}

/** Has the wallet sign a call for the sponsor to send, and has the sponsor send it. */
async function relayed(wallet: Wallet, receiverId: string, call: Call): Promise<Sent> {
  const { signedDelegateActions } = await withClick(wallet, () => wallet.signDelegateActions({ delegateActions: [{ receiverId, actions: [connectorAction(call)] }] }));
  const answer = await fetch("/api/v1/sponsor/calls", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ signed_delegate_action: signedDelegateActions[0] }) });
  const said = (await answer.json()) as { hash?: string; signer?: string; title?: string; detail?: string };
  if (!answer.ok || said.hash === undefined) throw new WalletError("failed", `${said.title ?? "The sponsor did not send it"}. ${said.detail ?? ""}`);
  return { hash: said.hash, status: { SuccessValue: "" }, ...(said.signer === undefined ? {} : { signer: said.signer }) };
}

async function ask({ rpc_url }: NetworkInfo, method: string, params: unknown): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: "wallet", method, params });
  const answer = await fetch(rpc_url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { result } = (await answer.json()) as { result?: unknown };
  if (result === undefined || result === null) throw new WalletError("unreachable", "The chain does not say what the account holds. Nothing was signed; try again in a moment.");
  return result;
}

/** Several transactions, shown together and sent in order. */
export async function signAndSendTransactions({ transactions }: { transactions: Transaction[] }): Promise<Sent[]> {
  return guarded(async () => {
    const wallet = await walletOf();
    const list = transactions.map(({ receiverId, actions }) => ({ receiverId, actions: actions.map(connectorAction) }));
    return ((await withClick(wallet, () => wallet.signAndSendTransactions({ transactions: list }))) as Outcome[]).map(sent);
  });
}

/**
 * On the embedded chain: the next sign-in makes this account. The wallet's window then shows the name, makes the key and asks the
 * faucet or the sponsor, all with the one approval; a second window would need a second click.
 */
export async function newAccount({ name, giver }: { name: string; giver: "faucet" | "sponsor" }): Promise<{ accountId: string }> {
  const { entries, connector } = ready();
  if (!entries.some(({ id }) => id === DEVELOPMENT)) throw new WalletError("unsupported", "No wallet here makes accounts. Make one in a wallet, then sign in.");
  await connector.storage.set(WANTED_NAME, name);
  await connector.storage.set(GIVER, giver);
  return { accountId: name };
}

function connectorAction(step: Step) {
  if ("newKey" in step) {
    const { publicKey, receiverId, methodNames, allowance } = step.newKey;
    return { type: "AddKey" as const, params: { publicKey, accessKey: { permission: { receiverId, methodNames, allowance } } } };
  }
  if ("endKey" in step) return { type: "DeleteKey" as const, params: { publicKey: step.endKey } };
  const { methodName, args, gas, deposit } = step;
  return { type: "FunctionCall" as const, params: { methodName, args, gas, deposit } };
}

/** Runs what opens a window; when the browser blocks it, asks the person for a click and runs it again. */
async function withClick<T>(wallet: Wallet, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (thrown) {
    if (walletError(thrown).code !== "blocked") throw thrown;
    if (!(await askForClick(wallet.manifest.name))) throw new WalletError("cancelled", "The wallet was not opened. Nothing was signed.");
    return open();
  }
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    throw walletError(thrown);
  }
}
