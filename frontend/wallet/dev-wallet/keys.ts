// Accounts and keys of this browser, in the wallet's own origin: no page of another origin can read them.
import { toBase64 } from "../encode.ts";
import { KeyPair, KeyPairSigner } from "./near.ts";
import type { LoginMessage } from "./protocol.ts";

export interface Account {
  accountId: string;
  publicKey: string;
  secretKey: string;
}

interface Stored {
  accounts: Account[];
  active?: string;
}

/** The accounts of one chain. Each chain has its own list, so that a name of an earlier chain is never offered on this one. */
export class Keys {
  constructor(private readonly chainId: string) {}

  private get slot(): string {
    return `accounts:${this.chainId}`;
  }

  private read(): Stored {
    const text = localStorage.getItem(this.slot);
    return text === null ? { accounts: [] } : (JSON.parse(text) as Stored);
  }

  private write(stored: Stored): void {
    localStorage.setItem(this.slot, JSON.stringify(stored));
  }

  all(): Account[] {
    return this.read().accounts;
  }

  find(accountId: string): Account | undefined {
    return this.all().find((account) => account.accountId === accountId);
  }

  active(): Account | undefined {
    const { accounts, active } = this.read();
    return accounts.find((account) => account.accountId === active) ?? accounts[0];
  }

  use(accountId: string): void {
    this.write({ ...this.read(), active: accountId });
  }

  add(account: Account): void {
    const { accounts } = this.read();
    const others = accounts.filter(({ accountId }) => accountId !== account.accountId);
    this.write({ accounts: [...others, account], active: account.accountId });
  }

  remove(accountId: string): void {
    const { accounts } = this.read();
    this.write({ accounts: accounts.filter((account) => account.accountId !== accountId) });
  }
}

export function newKey(): { publicKey: string; secretKey: string } {
  const key = KeyPair.fromRandom("ed25519");
  return { publicKey: key.getPublicKey().toString(), secretKey: key.toString() };
}

/** A key file as NEAR's tools write it. */
export function exportFile({ accountId, publicKey, secretKey }: Account): string {
  return `${JSON.stringify({ account_id: accountId, public_key: publicKey, private_key: secretKey }, null, 2)}\n`;
}

/** Reads such a file; the public key is computed, not believed. */
export function importFile(text: string): Account {
  let file: { account_id?: unknown; private_key?: unknown; secret_key?: unknown };
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("This is no key file: it is not JSON.");
  }
  const secret = file.private_key ?? file.secret_key;
  if (typeof file.account_id !== "string" || typeof secret !== "string" || !secret.startsWith("ed25519:")) throw new Error("This is no key file: it needs account_id and an ed25519 private_key.");
  const key = KeyPair.fromString(secret as `ed25519:${string}`);
  return { accountId: file.account_id, publicKey: key.getPublicKey().toString(), secretKey: key.toString() };
}

/** The 32 bytes of a nonce, which crosses frames as an object of numbers. */
export function nonceBytes(nonce: LoginMessage["nonce"]): Uint8Array {
  const bytes = Uint8Array.from(Object.values(nonce));
  if (bytes.length !== 32) throw new Error("The nonce must have 32 bytes.");
  return bytes;
}

/** Signs a message as NEP-413 says; base64. */
export async function signMessage(account: Account, { message, recipient, nonce }: LoginMessage): Promise<string> {
  const signer = new KeyPairSigner(KeyPair.fromString(account.secretKey as `ed25519:${string}`));
  const { signature } = await signer.signNep413Message(account.accountId, { message, recipient, nonce: nonceBytes(nonce) });
  return toBase64(signature);
}
