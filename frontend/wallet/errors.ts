// What can go wrong between the dashboard and a wallet: a code for programs, words for people.

export type Code = "cancelled" | "failed" | "unreachable" | "blocked" | "signed_out" | "unsupported" | "wrong_network" | "unsure";

export class WalletError extends Error {
  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
    this.name = "WalletError";
  }
}

const CODES: readonly string[] = ["cancelled", "failed", "unreachable", "blocked", "signed_out", "unsupported", "wrong_network", "unsure"];
const CANCELLED = /reject|cancel|closed|denied|declin/i;

/** Whatever a wallet threw (an error, a text, an object that crossed frames) as one of ours. */
export function walletError(thrown: unknown): WalletError {
  if (thrown instanceof WalletError) return thrown;
  const { code, message } = (typeof thrown === "object" && thrown !== null ? thrown : {}) as { code?: unknown; message?: unknown };
  const text = typeof thrown === "string" ? thrown : typeof message === "string" ? message : "";
  if (typeof code === "string" && CODES.includes(code)) return new WalletError(code as Code, text);
  if (thrown instanceof TypeError && /fetch|network|load/i.test(text)) {
    return new WalletError("unreachable", "The wallet cannot be reached. Nothing was signed; check that it runs, then try again.");
  }
  if (text === "No accounts found" || text === "No wallet selected") {
    return new WalletError("signed_out", "Your wallet is no longer connected to this page. Nothing was signed: sign out, then sign in again.");
  }
  if (CANCELLED.test(text)) return new WalletError("cancelled", "You closed or refused the wallet's request. Nothing was signed.");
  return new WalletError("failed", text === "" ? "The wallet gave no reason. Look there whether anything was signed." : `The wallet says: ${text}`);
}
