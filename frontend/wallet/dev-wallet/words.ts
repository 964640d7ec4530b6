// Transactions in plain words: what happens, what it can cost at most, and every argument as it is.
import type { Action, Transaction } from "./protocol.ts";

const YOCTO_PER_NEAR = 10n ** 24n;
const STEP = YOCTO_PER_NEAR / 10_000n;

/** NEAR to four places, rounded up: for amounts that are a ceiling. */
export function near(yocto: bigint): string {
  if (yocto > 0n && yocto < STEP) return "less than 0.0001 NEAR";
  const steps = (yocto + STEP - 1n) / STEP;
  return `${(steps / 10_000n).toLocaleString("en")}.${(steps % 10_000n).toString().padStart(4, "0")} NEAR`;
}

/** Every digit that is not zero. */
export function exactNear(yocto: bigint): string {
  const decimals = (yocto % YOCTO_PER_NEAR).toString().padStart(24, "0").replace(/0+$/, "");
  return `${(yocto / YOCTO_PER_NEAR).toLocaleString("en")}${decimals === "" ? "" : `.${decimals}`} NEAR`;
}

export interface Line {
  /** What happens, as a sentence. */
  what: string;
  attached: bigint;
  gas: bigint;
  /** The method's name and arguments, or nothing. */
  detail?: { method: string; args: string };
}

/** One line for each action. */
export function describe({ receiverId, actions }: Transaction): Line[] {
  return actions.map((action) => line(receiverId, action));
}

function line(receiver: string, action: Action): Line {
  switch (action.type) {
    case "FunctionCall": {
      const { methodName, args, gas, deposit } = action.params;
      const detail = { method: methodName, args: JSON.stringify(args, null, 2) };
      return { what: call(receiver, methodName, args as Arguments), attached: BigInt(deposit), gas: BigInt(gas), detail };
    }
    case "Transfer":
      return { what: `Send NEAR to ${receiver}. It does not come back.`, attached: BigInt(action.params.deposit), gas: 0n };
    case "AddKey": {
      const { permission } = action.params.accessKey;
      if (permission === "FullAccess") return { what: "Give away full control of your account.", attached: 0n, gas: 0n };
      const methods = permission.methodNames?.length ? permission.methodNames.join(", ") : "every method";
      const cap = permission.allowance === undefined ? "no limit on gas" : `at most ${near(BigInt(permission.allowance))} of gas`;
      return { what: `Let a key call ${methods} of ${permission.receiverId} in your name, without asking again, with ${cap}. It can attach no NEAR.`, attached: 0n, gas: 0n };
    }
    case "DeleteKey":
      return { what: `Take the key ${action.params.publicKey} away from your account.`, attached: 0n, gas: 0n };
  }
}

type Arguments = Record<string, unknown>;

/** The calls that Starling makes, in words; any other by its name. */
function call(receiver: string, method: string, args: Arguments): string {
  const amount = (name: string) => (typeof args[name] === "string" && /^\d+$/.test(args[name]) ? near(BigInt(args[name])) : "an amount that is not understood");
  switch (method) {
    case "pay":
      return `Pay at most ${amount("amount")} for ${purpose(args)}.`;
    case "pay_from_balance":
      return `Pay at most ${amount("amount")} from your balance for ${purpose(args)}.`;
    case "deposit":
      return "Put the attached NEAR on your balance.";
    case "object":
      return `Object in escrow ${String(args["escrow_id"])}: what your delegate signed and is not final returns to you, the work ends, and the objection is public.`;
    case "void":
      return `Send escrow ${String(args["escrow_id"])} back: its contract never answered.`;
    case "close":
      return `Close escrow ${String(args["escrow_id"])}, whose time is over: what is not earned returns to its payer.`;
    case "add_session_key":
      return `Let the key ${String(args["public_key"])} spend at most ${amount("cap")} of your balance, without asking again, until ${moment(args["expires_at"])}, on ${Array.isArray(args["targets"]) ? args["targets"].join(", ") : "contracts that are not understood"}.`;
    case "remove_session_key":
      return `End the session key ${String(args["public_key"])}: it spends nothing any more.`;
    case "storage_deposit":
      return `Put the attached NEAR down at ${receiver} as a storage deposit. It comes back with the records that it pays for.`;
    case "ft_transfer_call":
      return tokens(receiver, args);
    case "close_offer":
      return `Take offer ${String(args["offer_id"])} back. Work under way goes on.`;
    case "create_offer":
      return `Offer node ${String(args["node_id"])} at ${String((args["terms"] as Arguments | undefined)?.["price_per_hour"] ?? "an unknown price")} units an hour.`;
    case "retire_node":
      return `Take node ${String(args["node_id"])} out of service for good. Work under way goes on.`;
    case "withdraw":
      if (typeof args["asset"] === "string" && args["asset"] !== "near") return `Take ${String(args["amount"] ?? "all")} units of the token ${args["asset"].replace(/^nep141:/, "")} out of your balance, to your account.`;
      return args["amount"] === null || args["amount"] === undefined ? "Take all of your balance out, to your account." : `Take ${amount("amount")} of your balance out, to your account.`;
    case "acknowledge":
      return `Accept the result of escrow ${String(args["escrow_id"])}: what was held back is paid.`;
    case "refuse":
      return `Refuse the result of escrow ${String(args["escrow_id"])}: what was held back returns to you, and the refusal is public.`;
    case "ask_closing":
      return `Ask that escrow ${String(args["escrow_id"])} be closed; seven days later the rest returns to you.`;
    case "redeem": {
      const voucher = (args["voucher"] ?? {}) as Arguments;
      return `Bring a voucher: ${String(voucher["total"])} units in all of escrow ${String(voucher["escrow_id"])} are paid to ${String(voucher["payee"])} and those it owes royalties.`;
    }
    case "stop_run":
      return `Stop run ${String(args["run_id"])}. What is not earned returns to you.`;
    case "close_lease":
      return `End lease ${String(args["lease_id"])}. What is not earned returns to you.`;
    case "publish":
      return `Publish ${String(args["slug"] ?? args["name"] ?? "a listing")} under your account.`;
    case "set_price":
      return `Change the price of ${String(args["name"])}.`;
    case "rate":
      return `Rate ${String(args["name"])} with ${String(args["stars"])} of 5 stars, in public.`;
    case "take_licence":
      return `Take a licence of ${String(args["name"])}, which costs nothing but its storage.`;
    case "delist":
      return `Take ${String(args["name"])} off the list.`;
    default:
      return `Call ${method} of ${receiver}.`;
  }
}

/** A time in milliseconds since 1970. */
function moment(at: unknown): string {
  return typeof at === "number" && Math.abs(at) <= 8.64e15 ? `${new Date(at).toISOString().slice(0, 16).replace("T", " ")} UTC` : "a time that is not understood";
}

/** Tokens in their smallest units: what a token says of its decimals is not asked here. */
function tokens(token: string, args: Arguments): string {
  const units = `${String(args["amount"])} units of the token ${token}`;
  if (args["msg"] === "" || typeof args["msg"] !== "string") return `Send ${units} to your balance at ${String(args["receiver_id"])}.`;
  try {
    const payment = JSON.parse(args["msg"]) as Arguments;
    return `Pay at most ${units} for ${purpose(payment)}.`;
  } catch {
    return `Send ${units} to ${String(args["receiver_id"])} with a message that is not understood.`;
  }
}

function purpose({ msg, target }: Arguments): string {
  const [kind, terms] = Object.entries((typeof msg === "object" && msg !== null ? msg : {}) as Record<string, Arguments>)[0] ?? [];
  switch (kind) {
    case "run": {
      const nodes = String(terms?.["max_nodes"]);
      return `a training run of ${String(terms?.["rounds"])} rounds on up to ${nodes} ${nodes === "1" ? "node" : "nodes"}`;
    }
    case "lease":
      return `renting offer ${String(terms?.["offer_id"])}`;
    case "use":
      return `metered use of ${String(terms?.["name"])}`;
    case "licence":
      return `the licence of ${String(terms?.["name"])}`;
    case "stake":
      return `the stake of node ${String(terms?.["node_id"])}`;
    default:
      return `something that ${String(target)} sells`;
  }
}
