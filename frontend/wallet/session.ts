// This browser's session keys: made here, kept where no script can read them out, and used without a wallet's window. Loaded on demand by
// `starling.load("session")`. What a key may spend is the contract's to say; here it only signs.
import { base58, fromBase58, toBase64 } from "./encode.ts";
import { WalletError } from "./errors.ts";
import { type Outcome, type Sent, sent } from "./outcome.ts";

interface Kept {
  privateKey: CryptoKey;
  publicKey: Uint8Array;
}

export interface SessionCall {
  rpcUrl: string;
  signerId: string;
  publicKey: string;
  receiverId: string;
  methodName: string;
  args: object;
  gas: string;
}

const STORE = "session-keys";
/** A nonce that another tab took is asked for again so often. */
const TRIES = 4;
/** Seconds that a transaction is waited for. */
const WAIT_S = 60;

/** Makes a key and keeps it here. The private half cannot be read out by anyone, this page included. */
export async function make(): Promise<{ publicKey: string }> {
  let pair: CryptoKeyPair;
  try {
    pair = (await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])) as CryptoKeyPair;
  } catch {
    throw new WalletError("unsupported", "This browser cannot keep a signing key safely. Use a newer one, or go on with your wallet.");
  }
  const bytes = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const publicKey = `ed25519:${base58(bytes)}`;
  await inStore("readwrite", (store) => store.put({ privateKey: pair.privateKey, publicKey: bytes } satisfies Kept, publicKey));
  return { publicKey };
}

/** Whether this browser still has the key. */
export async function has({ publicKey }: { publicKey: string }): Promise<boolean> {
  return (await inStore<Kept | undefined>("readonly", (store) => store.get(publicKey))) !== undefined;
}

/** Takes a key out of this browser, or all of them. */
export async function forget({ publicKey }: { publicKey: string | null }): Promise<void> {
  await inStore("readwrite", (store) => (publicKey === null ? store.clear() : store.delete(publicKey)));
}

/** Signs a call without deposit, sends it and waits for its outcome. Code "failed": nothing has moved. Code "unsure": look before you send again. */
export async function send(call: SessionCall): Promise<Sent> {
  const kept = await inStore<Kept | undefined>("readonly", (store) => store.get(call.publicKey));
  if (kept === undefined) throw new WalletError("signed_out", "This browser has lost its session key. Nothing was signed.");
  for (let attempt = 1; ; attempt += 1) {
    const access = (await ask(call.rpcUrl, "query", { request_type: "view_access_key", finality: "final", account_id: call.signerId, public_key: call.publicKey })) as { nonce?: number; block_hash?: string };
    if (access.nonce === undefined || access.block_hash === undefined) throw new WalletError("failed", "The session key does not belong to this account any more. Nothing was signed.");
    const transaction = encode(call, kept.publicKey, BigInt(access.nonce) + 1n, fromBase58(access.block_hash));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", transaction as BufferSource));
    const signature = new Uint8Array(await crypto.subtle.sign("Ed25519", kept.privateKey, hash));
    const signed = new Uint8Array([...transaction, 0, ...signature]);
    try {
      return await submit(call, base58(hash), signed);
    } catch (thrown) {
      if (attempt < TRIES && thrown instanceof Refused && /InvalidNonce/.test(thrown.message)) continue;
      throw thrown instanceof Refused ? new WalletError("failed", `The chain refused the session key's payment. Nothing was paid. It says: ${thrown.message}`) : thrown;
    }
  }
}

async function submit({ rpcUrl, signerId }: SessionCall, hash: string, signed: Uint8Array): Promise<Sent> {
  try {
    const outcome = (await ask(rpcUrl, "send_tx", { signed_tx_base64: toBase64(signed), wait_until: "FINAL" })) as Outcome;
    if (typeof outcome.status === "object") return sent(outcome);
  } catch (thrown) {
    if (thrown instanceof WalletError || (thrown instanceof Refused && thrown.cause_name !== "TIMEOUT_ERROR")) throw thrown;
  }
  // It may have been sent: what the chain says of it counts.
  for (let second = 0; second < WAIT_S; second += 1) {
    await new Promise((done) => setTimeout(done, 1_000));
    const outcome = (await ask(rpcUrl, "tx", { tx_hash: hash, sender_account_id: signerId, wait_until: "NONE" }).catch(() => ({}))) as Partial<Outcome>;
    if (typeof outcome.status === "object" && outcome.status !== null && ("SuccessValue" in outcome.status || "Failure" in outcome.status)) return sent(outcome as Outcome);
  }
  throw new WalletError("unsure", `The chain does not answer. The payment may have gone out: look in Billing before you pay again. Transaction ${hash}.`);
}

/** A request that the chain understood and refused. */
class Refused extends Error {
  constructor(
    readonly cause_name: string,
    message: string,
  ) {
    super(message);
  }
}

async function ask(rpcUrl: string, method: string, params: unknown): Promise<unknown> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: "session", method, params });
  const answer = await fetch(rpcUrl, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { result, error } = (await answer.json()) as { result?: unknown; error?: { cause?: { name?: string }; data?: unknown } | null };
  if (error !== undefined && error !== null) throw new Refused(error.cause?.name ?? "", typeof error.data === "string" ? error.data : JSON.stringify(error.data ?? error));
  return result;
}

/** A transaction with one call that attaches nothing, in borsh as NEAR signs it. */
function encode({ signerId, receiverId, methodName, args, gas }: SessionCall, publicKey: Uint8Array, nonce: bigint, blockHash: Uint8Array): Uint8Array {
  const little = (value: bigint, bytes: number) => Array.from({ length: bytes }, (_, index) => Number((value >> BigInt(8 * index)) & 255n));
  const bytes = (value: Uint8Array) => [...little(BigInt(value.length), 4), ...value];
  const text = (value: string) => bytes(new TextEncoder().encode(value));
  const functionCall = [2, ...text(methodName), ...text(JSON.stringify(args)), ...little(BigInt(gas), 8), ...little(0n, 16)];
  return new Uint8Array([...text(signerId), 0, ...publicKey, ...little(nonce, 8), ...text(receiverId), ...blockHash, ...little(1n, 4), ...functionCall]);
}

/** One request to the browser's own store of keys. */
function inStore<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const away = () => reject(new WalletError("unsupported", "This browser keeps nothing for this site, so it cannot hold a session key. Allow site data, then try again."));
    const opening = indexedDB.open("starling", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = away;
    opening.onsuccess = () => {
      const transaction = opening.result.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => {
        opening.result.close();
        resolve(request.result as T);
      };
      transaction.onerror = away;
    };
  });
}
