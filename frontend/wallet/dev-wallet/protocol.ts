// What the executor (in the dashboard's page, in a frame without origin) and the wallet's window say to each other.

export interface CallAction {
  type: "FunctionCall";
  params: { methodName: string; args: object; gas: string; deposit: string };
}

export interface TransferAction {
  type: "Transfer";
  params: { deposit: string };
}

export interface AddKeyAction {
  type: "AddKey";
  params: { publicKey: string; accessKey: { permission: "FullAccess" | { receiverId: string; allowance?: string; methodNames?: string[] } } };
}

export interface DeleteKeyAction {
  type: "DeleteKey";
  params: { publicKey: string };
}

export type Action = CallAction | TransferAction | AddKeyAction | DeleteKeyAction;

export interface Transaction {
  receiverId: string;
  actions: Action[];
}

export interface LoginMessage {
  message: string;
  recipient: string;
  nonce: Record<string, number> | Uint8Array;
}

/** A key that a page wants to add for itself as one signs in. */
export interface WantedKey {
  contractId: string;
  publicKey: string;
  allowMethods: { anyMethod: true } | { anyMethod: false; methodNames: string[] };
  gasAllowance?: { kind: "unlimited" } | { kind: "limited"; amount: string };
}

export type Ask =
  | { kind: "sign-in"; message?: LoginMessage; wantedName?: string; giver?: Giver; addKey?: WantedKey }
  | { kind: "message"; message: LoginMessage; signerId?: string }
  | { kind: "transactions"; transactions: Transaction[]; signerId?: string }
  | { kind: "delegates"; transactions: Transaction[]; signerId?: string };

export interface Request {
  type: "starling-wallet:request";
  id: string;
  chainId: string;
  ask: Ask;
}

export interface SignedIn {
  accountId: string;
  publicKey: string;
  /** Base64, as NEP-413 says. */
  signature?: string;
}

/** Who makes a new account: the faucet puts play money on it, the sponsor nothing. */
export type Giver = "faucet" | "sponsor";

export type Result = { account: SignedIn } | { outcomes: unknown[] } | { signedDelegates: string[] };

export type Answer = { type: "starling-wallet:answer"; id: string } & ({ ok: true; result: Result } | { ok: false; error: { code: string; message: string } });

export const READY = "starling-wallet:ready";
