// NEAR's own library, only the parts that sign: its main entry also brings a JSON-schema compiler that evaluates code and wants Node.
export { KeyPair, PublicKey } from "../../../node_modules/near-api-js/lib/crypto/index.js";
export { actions } from "../../../node_modules/near-api-js/lib/transactions/action_creators.js";
export { createTransaction } from "../../../node_modules/near-api-js/lib/transactions/create_transaction.js";
export { buildDelegateAction } from "../../../node_modules/near-api-js/lib/transactions/delegate.js";
export { encodeSignedDelegate, encodeTransaction } from "../../../node_modules/near-api-js/lib/transactions/schema.js";
export { KeyPairSigner } from "../../../node_modules/near-api-js/lib/signers/key_pair_signer.js";
