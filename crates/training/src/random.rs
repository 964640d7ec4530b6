//! Counter-based pseudo-random numbers: equal on every machine, and any position is reached at once.
//!
//! A stream is BLAKE3 in key-derivation mode over (domain, seed, counters), read as an extendable output. Only
//! integers and exact float operations are used, so that all nodes draw the same bits.

use blake3::{Hasher, OutputReader};

/// An endless stream of bits that is a function of its domain, seed and counters alone.
pub(crate) struct Stream {
    reader: OutputReader,
}

impl Stream {
    /// The stream of `domain` (a constant text, unique per purpose), `seed` and `counters`.
    #[must_use]
    pub(crate) fn new(domain: &str, seed: u64, counters: &[u64]) -> Self {
        let mut hasher = Hasher::new_derive_key(domain);
        hasher.update(&seed.to_le_bytes());
        for counter in counters {
            hasher.update(&counter.to_le_bytes());
        }
        Self { reader: hasher.finalize_xof() }
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.reader.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound` (which is at least 1); its bias is at most `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound.max(1));
        u64::try_from(wide >> 64).unwrap_or(u64::MAX)
    }

    /// A number in [0, 1) with 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Fills `out` with samples of mean 0 and the given deviation.
    ///
    /// The sum of twelve uniform 16-bit integers stands for the normal distribution (Irwin-Hall): it is exact in
    /// integers, where Box-Muller would need a logarithm that differs between machines.
    pub(crate) fn fill_normal(&mut self, deviation: f32, out: &mut [f32]) {
        const UNIFORMS: usize = 12;
        const MEAN: i32 = 393_210; // 12 * 65535 / 2
        let mut bytes = [0u8; 2 * UNIFORMS * 8]; // eight samples: three whole blocks of the hash
        for group in out.chunks_mut(8) {
            self.reader.fill(&mut bytes);
            for (value, sample) in group.iter_mut().zip(bytes.chunks_exact(2 * UNIFORMS)) {
                let pairs = sample.chunks_exact(2);
                let sum: i32 = pairs.map(|pair| i32::from(u16::from_le_bytes([pair[0], pair[1]]))).sum();
                *value = (sum - MEAN) as f32 * (1.0 / 65_536.0) * deviation;
            }
        }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn stream__should_depend_on_domain_seed_and_counters() {
        let first = |domain, seed, counters: &[u64]| Stream::new(domain, seed, counters).next_u64();
        let base = first("a", 1, &[2, 3]);
        assert_eq!(base, first("a", 1, &[2, 3]));
        for other in [first("b", 1, &[2, 3]), first("a", 2, &[2, 3]), first("a", 1, &[3, 2]), first("a", 1, &[2])] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn fill_normal__should_have_the_asked_mean_and_deviation() {
        let mut values = vec![0.0; 50_000];
        Stream::new("test", 7, &[]).fill_normal(0.5, &mut values);
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "deviation {}", variance.sqrt());
    }

    #[test]
    fn below__should_cover_its_range_and_no_more() {
        let mut stream = Stream::new("test", 1, &[]);
        let mut seen = [false; 7];
        for _ in 0..500 {
            seen[usize::try_from(stream.below(7)).expect("small")] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
