//! Seeded randomness that any place reaches at once: what happens to one node does not depend on how many others there are.

use starling_rounds::artifact_hash;

/// Numbers that are a function of a seed and of what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    seed: u64,
}

impl Chance {
    /// All numbers of one seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 even bits for a purpose and its counters.
    pub fn bits(self, purpose: &str, counters: &[u64]) -> u64 {
        let mut bytes = self.seed.to_le_bytes().to_vec();
        bytes.extend(counters.iter().flat_map(|counter| counter.to_le_bytes()));
        bytes.extend_from_slice(purpose.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = artifact_hash(&bytes).0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Even in 0..1.
    pub fn unit(self, purpose: &str, counters: &[u64]) -> f64 {
        (self.bits(purpose, counters) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `len` numbers that are nearly normal, of mean 0 and deviation 1 (sums of twelve even ones).
    pub fn normal(self, purpose: &str, counters: &[u64], len: usize) -> Vec<f32> {
        let mut state = self.bits(purpose, counters) | 1;
        let mut even = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..len).map(|_| (0..12).map(|_| even()).sum()).collect()
    }
}
