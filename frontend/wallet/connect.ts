// The seam to wallets: the only place that knows the wallet connector. Loaded on demand.
export { NearConnector } from "@hot-labs/near-connect";
