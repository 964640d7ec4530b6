// What became of a transaction, out of NEAR's `FinalExecutionOutcome`.
import { WalletError } from "./errors.ts";

export interface Outcome {
  status: unknown;
  transaction?: { hash?: string };
  transaction_outcome?: { id?: string };
}

export interface Sent {
  hash: string;
  status: object;
  /** Who signed the transaction, where that is not the account itself. */
  signer?: string;
}

/** Hash and status of a transaction that succeeded; an error in words for one that did not. */
export function sent(outcome: Outcome): Sent {
  const hash = outcome.transaction?.hash ?? outcome.transaction_outcome?.id;
  const { status } = outcome;
  if (typeof hash !== "string" || typeof status !== "object" || status === null) {
    throw new WalletError("failed", "The wallet's answer names no transaction. Look in the wallet whether it was sent.");
  }
  if ("Failure" in status) throw new WalletError("failed", `The transaction failed: ${reason(status.Failure)} What was attached came back; the gas is spent. Transaction ${hash}.`);
  if (!("SuccessValue" in status)) throw new WalletError("failed", `The transaction ${hash} was sent, but has not ended yet. Look at your history before you send it again.`);
  return { hash, status };
}

/** The innermost words of NEAR's nested error. */
function reason(failure: unknown): string {
  let inner = failure;
  while (typeof inner === "object" && inner !== null) {
    const kind = "kind" in inner ? inner.kind : undefined;
    const [first] = Object.entries(inner);
    if (kind !== undefined) inner = kind;
    else if (first === undefined) break;
    else if (typeof first[1] === "string" && first[0] === "ExecutionError") return sentence(first[1].replace(/^Smart contract panicked: /, ""));
    else if (typeof first[1] !== "object" || first[1] === null || Object.keys(inner).length > 1) break;
    else inner = first[1];
  }
  return sentence(typeof inner === "string" ? inner : JSON.stringify(failure));
}

function sentence(text: string): string {
  return /[.?]$/.test(text) ? text : `${text}.`;
}
