//! Base58 of keys and signatures, as NEAR writes them. In limbs of 32 bits: digit by digit it would be most of what a contract burns to tell of a roster.

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// No digit.
const NONE: u8 = 0xff;
/// The digit that each ASCII character is.
const DIGITS: [u8; 128] = digits();
/// Digits that are taken at once: 58 to their power fits a limb.
const GROUP: usize = 5;
const GROUP_BASE: u64 = 58_u64.pow(5);
const LIMB_BYTES: usize = 4;
const LIMB_MASK: u64 = 0xffff_ffff;

const fn digits() -> [u8; 128] {
    let mut digits = [NONE; 128];
    let mut digit = 0;
    while digit < 58 {
        digits[ALPHABET[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
}

/// Writes bytes, a multiple of four, behind a prefix.
pub(crate) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut limbs: Vec<u64> =
        bytes.chunks(LIMB_BYTES).map(|limb| limb.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))).collect();
    // From the lowest digit on.
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len() * 3 / 2);
    let mut first = 0;
    while first < limbs.len() {
        let mut rest = 0;
        for limb in &mut limbs[first..] {
            let value = rest << 32 | *limb;
            (*limb, rest) = (value / GROUP_BASE, value % GROUP_BASE);
        }
        first += usize::from(limbs[first] == 0);
        for _ in 0..GROUP {
            digits.push((rest % 58) as u8);
            rest /= 58;
        }
    }
    let len = digits.iter().rposition(|digit| *digit != 0).map_or(0, |highest| highest + 1);
    digits.truncate(len);
    digits.resize(len + zeros, 0);
    let mut text = Vec::with_capacity(prefix.len() + digits.len());
    text.extend_from_slice(prefix.as_bytes());
    text.extend(digits.iter().rev().map(|digit| ALPHABET[usize::from(*digit)]));
    String::from_utf8(text).unwrap_or_default()
}

/// Reads `N` bytes, a multiple of four; nothing if the text is not how [`encode`] writes so many.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut limbs = vec![0_u64; N / LIMB_BYTES];
    for group in text.as_bytes().chunks(GROUP) {
        let (mut carry, mut base) = (0, 1);
        for character in group {
            let digit = *DIGITS.get(usize::from(*character))?;
            if digit == NONE {
                return None;
            }
            (carry, base) = (carry * 58 + u64::from(digit), base * 58);
        }
        for limb in limbs.iter_mut().rev() {
            let value = *limb * base + carry;
            (*limb, carry) = (value & LIMB_MASK, value >> 32);
        }
        if carry != 0 {
            return None;
        }
    }
    let mut bytes = [0; N];
    for (bytes, limb) in bytes.chunks_mut(LIMB_BYTES).zip(limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes()[LIMB_BYTES..]);
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let ones = text.bytes().take_while(|character| *character == ALPHABET[0]).count();
    (zeros == ones).then_some(bytes)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    /// Numbers that a seed gives (splitmix64).
    fn draw(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Random bytes, some of them zeros or full in front.
    fn sample<const N: usize>(seed: &mut u64) -> [u8; N] {
        let mut bytes: [u8; N] = std::array::from_fn(|_| draw(seed).to_le_bytes()[0]);
        let edge = usize::try_from(draw(seed)).unwrap_or(0) % (N + 1);
        match draw(seed) % 3 {
            0 => bytes[..edge].fill(0),
            1 => bytes[..edge].fill(0xff),
            _ => {}
        }
        bytes
    }

    fn compare<const N: usize>(seed: &mut u64) {
        let bytes = sample::<N>(seed);
        let text = bs58::encode(bytes).into_string();
        assert_eq!(encode("ed25519:", &bytes), format!("ed25519:{text}"));
        assert_eq!(decode(&text), Some(bytes));
        // Another length, and any other text, is what the other library says.
        let mut other = text.into_bytes();
        let place = usize::try_from(draw(seed)).unwrap_or(0) % other.len();
        match draw(seed) % 4 {
            0 => other.truncate(place),
            1 => other.insert(place, b'1'),
            2 => other[place] = b'z',
            _ => other[place] = draw(seed).to_le_bytes()[0] & 0x7f,
        }
        let other = String::from_utf8(other).expect("ASCII");
        let theirs = bs58::decode(&other).into_vec().ok().and_then(|bytes| <[u8; N]>::try_from(bytes).ok());
        assert_eq!(decode::<N>(&other), theirs, "{other:?}");
    }

    #[test]
    fn base58__should_be_as_another_library_has_it() {
        let seed = &mut 1;
        for _ in 0..20_000 {
            compare::<32>(seed);
            compare::<64>(seed);
        }
    }

    #[test]
    fn base58__should_write_the_ends_of_its_range() {
        for bytes in [[0; 32], [0xff; 32]] {
            assert_eq!(encode("", &bytes), bs58::encode(bytes).into_string());
            assert_eq!(decode(&encode("", &bytes)), Some(bytes));
        }
        for text in ["", "1", "\u{e9}", &"z".repeat(44), &"1".repeat(33)] {
            assert_eq!(decode::<32>(text), None, "{text:?}");
        }
    }
}
