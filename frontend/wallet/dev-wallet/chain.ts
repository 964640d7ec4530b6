// The chain, as the wallet's own server names it: the dashboard is never asked which RPC to trust.
import { fromBase58, toBase64 } from "../encode.ts";
import { KeyPair, KeyPairSigner, PublicKey, actions, buildDelegateAction, createTransaction, encodeSignedDelegate, encodeTransaction } from "./near.ts";
import type { Action, Giver, Transaction } from "./protocol.ts";

export interface Config {
  rpc_url: string;
  chain_id: string;
  dashboard_origin: string;
  faucet_root: string;
  sponsor_root: string;
}

/** Something that did not work, in words for the person. */
export class ChainError extends Error {
  constructor(
    readonly code: "failed" | "unreachable" | "wrong_network",
    message: string,
  ) {
    super(message);
  }
}

/** NEAR buys gas at no less than this, in yoctoNEAR a unit. */
const MIN_GAS_PRICE = 1_000_000_000n;
const MOST_ACTIONS = 16;
/** Blocks for which a sponsor may send what was signed: about ten minutes. */
const DELEGATE_BLOCKS = 1_000n;

export class Chain {
  private constructor(
    readonly config: Config,
    readonly gasPrice: bigint,
  ) {}

  /** Reads the settings and checks that the chain there is the one they name. */
  static async open(): Promise<Chain> {
    const config = await fetch("/config.json", { cache: "no-store" }).then((answer) => answer.json() as Promise<Config>);
    const status = (await request(config, "status", [])) as { chain_id: string };
    if (status.chain_id !== config.chain_id) throw new ChainError("wrong_network", `The chain at ${config.rpc_url} is ${status.chain_id}, but this wallet is for ${config.chain_id}.`);
    const price = (await request(config, "gas_price", [null])) as { gas_price: string };
    const now = BigInt(price.gas_price);
    return new Chain(config, now > MIN_GAS_PRICE ? now : MIN_GAS_PRICE);
  }

  /** What an account holds, or nothing if there is no such account. */
  async balance(accountId: string): Promise<bigint | undefined> {
    try {
      const account = (await request(this.config, "query", { request_type: "view_account", finality: "final", account_id: accountId })) as { amount: string };
      return BigInt(account.amount);
    } catch (thrown) {
      if (thrown instanceof RpcRefusal && thrown.cause_name === "UNKNOWN_ACCOUNT") return undefined;
      throw thrown;
    }
  }

  /** Below whom a new account is named. */
  root(giver: Giver): string {
    return giver === "sponsor" ? this.config.sponsor_root : this.config.faucet_root;
  }

  /** Has a new account made with this key: by the faucet with play money on it, by the dashboard's sponsor with nothing. */
  async makeAccount(name: string, publicKey: string, giver: Giver): Promise<void> {
    const accountId = `${name}.${this.root(giver)}`;
    const [url, body] =
      giver === "sponsor"
        ? [`${this.config.dashboard_origin}/api/v1/sponsor/accounts`, { name, public_key: publicKey }]
        : [`${this.config.rpc_url.replace(/\/$/, "")}/faucet`, { account_id: accountId, public_key: publicKey }];
    const answer = await fetch(url, { method: "POST", body: JSON.stringify(body) }).catch(() => {
      throw away();
    });
    if (answer.ok) return;
    const { code, error, detail } = (await answer.json().catch(() => ({}))) as { code?: string; error?: string; detail?: string };
    if (code === "account_exists") throw new ChainError("failed", `${accountId} exists already. Choose another name, or import its key file.`);
    throw new ChainError("failed", `The ${giver} refused: ${detail ?? error ?? `it answered ${answer.status}`}`);
  }

  /** Signs one transaction for somebody else to send (NEP-366); base64 of its borsh. */
  async delegate(senderId: string, secretKey: string, { receiverId, actions: wanted }: Transaction): Promise<string> {
    const key = KeyPair.fromString(secretKey as `ed25519:${string}`);
    const publicKey = key.getPublicKey();
    const access = (await request(this.config, "query", { request_type: "view_access_key", finality: "final", account_id: senderId, public_key: publicKey.toString() })) as { nonce: number; block_height: number };
    const delegateAction = buildDelegateAction({ senderId, receiverId, actions: wanted.map(action), nonce: BigInt(access.nonce) + 1n, maxBlockHeight: BigInt(access.block_height) + DELEGATE_BLOCKS, publicKey });
    const { signedDelegate } = await new KeyPairSigner(key).signDelegateAction(delegateAction);
    return toBase64(new Uint8Array(encodeSignedDelegate(signedDelegate)));
  }

  /** Signs and sends one transaction, and waits until it is final. */
  async send(signerId: string, secretKey: string, { receiverId, actions: wanted }: Transaction): Promise<unknown> {
    const key = KeyPair.fromString(secretKey as `ed25519:${string}`);
    const publicKey = key.getPublicKey();
    const access = (await request(this.config, "query", { request_type: "view_access_key", finality: "final", account_id: signerId, public_key: publicKey.toString() })) as { nonce: number; block_hash: string };
    const transaction = createTransaction(signerId, publicKey, receiverId, BigInt(access.nonce) + 1n, wanted.map(action), fromBase58(access.block_hash));
    const { signedTransaction } = await new KeyPairSigner(key).signTransaction(transaction);
    return request(this.config, "send_tx", { signed_tx_base64: toBase64(encodeTransaction(signedTransaction)), wait_until: "FINAL" });
  }
}

/** A request that the chain understood and refused. */
class RpcRefusal extends ChainError {
  constructor(
    readonly cause_name: string,
    message: string,
  ) {
    super("failed", message);
  }
}

function away(): ChainError {
  return new ChainError("unreachable", "The chain does not answer. Nothing was sent; check that Starling still runs, then try again.");
}

async function request(config: Config, method: string, params: unknown): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: "wallet", method, params });
  const answer = await fetch(config.rpc_url, { method: "POST", headers: { "content-type": "application/json" }, body }).catch(() => {
    throw away();
  });
  const { result, error } = (await answer.json()) as { result?: { error?: string }; error?: { cause?: { name?: string }; data?: unknown; message?: string } };
  if (error !== undefined && error !== null) throw new RpcRefusal(error.cause?.name ?? "", `The chain refused: ${words(error.data ?? error.message)}`);
  // Older nodes answer a view of a missing thing with an error inside the result.
  if (typeof result === "object" && result !== null && typeof result.error === "string") throw new RpcRefusal("UNKNOWN_ACCESS_KEY", `The chain refused: ${result.error}`);
  return result;
}

function words(data: unknown): string {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  const short = /NotEnoughBalance/.test(text) ? "the account does not hold enough NEAR for this and its gas" : text.slice(0, 300);
  return /[.?]$/.test(short) ? short : `${short}.`;
}

/** An action as it is signed. What a page has no business asking for is refused. */
function action(wanted: Action) {
  switch (wanted.type) {
    case "FunctionCall":
      return actions.functionCall(wanted.params.methodName, wanted.params.args, BigInt(wanted.params.gas), BigInt(wanted.params.deposit));
    case "Transfer":
      return actions.transfer(BigInt(wanted.params.deposit));
    case "AddKey": {
      const { permission } = wanted.params.accessKey;
      if (permission === "FullAccess") break;
      const allowance = permission.allowance === undefined ? undefined : BigInt(permission.allowance);
      return actions.addFunctionCallAccessKey(PublicKey.from(wanted.params.publicKey), permission.receiverId, permission.methodNames ?? [], allowance);
    }
    case "DeleteKey":
      return actions.deleteKey(PublicKey.from(wanted.params.publicKey));
  }
  throw new ChainError("failed", unsupported(wanted));
}

function unsupported(wanted: { type?: unknown }): string {
  return `This wallet does not sign "${String(wanted.type)}" for a page. It signs contract calls, transfers and function-call keys.`;
}

/** Why a transaction is not one that this wallet signs, or nothing. */
export function objection({ receiverId, actions: wanted }: Transaction): string | undefined {
  if (typeof receiverId !== "string" || !/^[a-z0-9._-]{2,64}$/.test(receiverId)) return "The receiver is no account name.";
  if (!Array.isArray(wanted) || wanted.length === 0 || wanted.length > MOST_ACTIONS) return `A transaction holds 1 to ${MOST_ACTIONS} actions.`;
  for (const one of wanted) {
    try {
      action(one);
    } catch (thrown) {
      return thrown instanceof ChainError ? thrown.message : `An action is malformed: ${String(thrown)}`;
    }
  }
  return undefined;
}
