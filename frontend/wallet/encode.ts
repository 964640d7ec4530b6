// Base58 and base64, as NEAR writes keys and signatures.

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

export function base58(bytes: Uint8Array): string {
  let number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  let text = "";
  for (; number > 0n; number /= 58n) text = ALPHABET[Number(number % 58n)] + text;
  const zeros = bytes.findIndex((byte) => byte !== 0);
  return "1".repeat(zeros === -1 ? bytes.length : zeros) + text;
}

/** The 32 bytes of a hash in base58. */
export function fromBase58(text: string): Uint8Array {
  let number = Array.from(text).reduce((sum, letter) => sum * 58n + BigInt(ALPHABET.indexOf(letter)), 0n);
  const bytes = new Uint8Array(32);
  for (let index = 31; index >= 0; index -= 1, number >>= 8n) bytes[index] = Number(number & 255n);
  return bytes;
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** A signature as `ed25519:base58`; NEP-413 wallets answer base64. */
export function signatureText(signature: string): string {
  return signature.startsWith("ed25519:") ? signature : `ed25519:${base58(fromBase64(signature))}`;
}
