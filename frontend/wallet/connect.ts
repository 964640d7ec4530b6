// The seam to wallets: the only place that knows the wallet connector. Loaded on demand by `starling.load("wallet")`.
import { NearConnector, type WalletManifest } from "@hot-labs/near-connect";
import { askForClick, chooseWallet } from "./dialog.ts";
import { fromBase64, signatureText } from "./encode.ts";
import { WalletError, walletError } from "./errors.ts";
import { type Outcome, type Sent, sent } from "./outcome.ts";
import publicWallets from "./wallets.json";

export interface NetworkInfo {
  deployment: { chain_id: string };
  rpc_url: string;
  dev_wallet_url: string | null;
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

export interface Transaction {
  receiverId: string;
  actions: Call[];
}

type Wallet = Awaited<ReturnType<NearConnector["wallet"]>>;

const DEVELOPMENT = "starling-dev-wallet";
/** Where the development wallet's executor finds the name of the account that a new person asked for. */
const WANTED_NAME = `${DEVELOPMENT}:wanted-name`;
/** What our manifest entry tells the executor; the connector hands an entry on whole. */
type Entry = WalletManifest & { metadata?: { walletUrl: string; chainId: string } };

let state: { network: NetworkInfo; connector: NearConnector; entries: Entry[] } | undefined;

/** Says which network this is. Before everything else; again only when the network has changed. */
export async function init({ network }: { network: NetworkInfo }): Promise<void> {
  if (state !== undefined && JSON.stringify(state.network) === JSON.stringify(network)) return;
  const entries = wallets(network);
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

function wallets(network: NetworkInfo): Entry[] {
  const chain = network.deployment.chain_id;
  if (network.dev_wallet_url !== null && chain !== "mainnet" && chain !== "testnet") return [developmentWallet(network, new URL(network.dev_wallet_url).origin)];
  return (publicWallets.wallets as unknown as Entry[]).filter(({ features }) => (chain === "mainnet" ? features.mainnet : features.testnet) === true);
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
    features: { signMessage: true, signInWithoutAddKey: true, signInAndSignMessage: true, signInWithFunctionCallKey: true, signAndSendTransaction: true, signAndSendTransactions: true, testnet: true } as Entry["features"],
    permissions: { storage: true, allowsOpen: [origin] },
    metadata: { walletUrl: origin, chainId: network.deployment.chain_id },
  };
}

function ready(): NonNullable<typeof state> {
  if (state === undefined) throw new WalletError("unreachable", "The network is not known yet: the coordinator has not answered. Nothing was signed.");
  return state;
}

/** The accounts of an earlier sign-in, if the wallet still knows it. */
export async function accounts(): Promise<Account[]> {
  try {
    const connected = await ready().connector.getConnectedWallet();
    return connected.accounts.map(({ accountId, publicKey }) => ({ accountId, publicKey: publicKey ?? "" }));
  } catch {
    return [];
  }
}

/** One prompt: chooses an account and signs the login message (NEP-413). The nonce is 32 bytes in base64. */
export async function signInAndSignMessage(login: { message: string; recipient: string; nonce: string }): Promise<Account & { signature: string }> {
  return guarded(async () => {
    const { connector, entries } = ready();
    const walletId = entries.length === 1 ? entries[0]?.id : await chooseWallet(entries.map(({ id, name }) => ({ id, name, tried: id === DEVELOPMENT })));
    if (walletId === undefined) throw entries.length === 0 ? new WalletError("unsupported", "No wallet is known for this network.") : new WalletError("cancelled", "No wallet was chosen. Nothing was signed.");
    const wallet = await connector.wallet(walletId);
    const messageParams = { message: login.message, recipient: login.recipient, nonce: fromBase64(login.nonce) };
    const [account] = await withClick(wallet, () => wallet.signInAndSignMessage({ messageParams }));
    if (account === undefined) throw new WalletError("cancelled", "The wallet gave no account. Nothing was signed.");
    await connector.storage.set("selected-wallet", walletId);
    const { signature, publicKey, accountId } = account.signedMessage;
    return { accountId, publicKey, signature: signatureText(signature) };
  });
}

/** Forgets the wallet's connection to this page. Keys stay in the wallet. */
export async function signOut(): Promise<void> {
  const { connector } = ready();
  await connector.disconnect().catch(() => undefined);
  await connector.storage.remove("selected-wallet");
}

/** Asks the wallet to sign and send one transaction, and waits for its outcome. */
export async function signAndSendTransaction({ receiverId, actions }: Transaction): Promise<Sent> {
  return guarded(async () => {
    const wallet = await ready().connector.wallet();
    return sent((await withClick(wallet, () => wallet.signAndSendTransaction({ receiverId, actions: actions.map(connectorAction) }))) as Outcome);
  });
}

/** Several transactions, shown together and sent in order. */
export async function signAndSendTransactions({ transactions }: { transactions: Transaction[] }): Promise<Sent[]> {
  return guarded(async () => {
    const wallet = await ready().connector.wallet();
    const list = transactions.map(({ receiverId, actions }) => ({ receiverId, actions: actions.map(connectorAction) }));
    return ((await withClick(wallet, () => wallet.signAndSendTransactions({ transactions: list }))) as Outcome[]).map(sent);
  });
}

/**
 * On the embedded chain: the next sign-in makes this account. The wallet's window then shows the name, makes the key and asks the
 * faucet, all with the one approval; a second window would need a second click.
 */
export async function faucetAccount({ name }: { name: string }): Promise<{ accountId: string }> {
  const { entries, connector } = ready();
  if (!entries.some(({ id }) => id === DEVELOPMENT)) throw new WalletError("unsupported", "This network has no faucet. Make an account in a wallet, then sign in.");
  await connector.storage.set(WANTED_NAME, name);
  return { accountId: name };
}

function connectorAction({ methodName, args, gas, deposit }: Call) {
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
