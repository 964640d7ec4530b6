//! Text from a model, byte by byte.

use crate::error::{Result, TrainingError};
use crate::model::{Decoder, Gpt};
use crate::random::Stream;

/// How to choose each byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest byte always; 1 samples from the model as it is.
    pub temperature: f64,
    /// Only the likeliest so many bytes are considered; 256 considers all.
    pub top_k: usize,
    /// Fixes every choice.
    pub seed: u64,
}

/// An endless text after a prompt: an iterator over bytes. Stop by `take`.
pub struct Generator<'a> {
    decoder: Decoder<'a>,
    sampling: Sampling,
    stream: Stream,
    logits: Vec<f32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 64, seed: 1 }
    }
}

impl<'a> Generator<'a> {
    /// Reads the prompt; of a long one, only the end that fits the model's context. An empty one stands for a new line.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a temperature that is not from 0 to 10 or a `top_k` of 0.
    pub fn new(model: &'a Gpt, prompt: &[u8], sampling: Sampling) -> Result<Self> {
        if !(0.0..=10.0).contains(&sampling.temperature) {
            return Err(TrainingError::BadRequest(format!("temperature {} is not from 0 to 10", sampling.temperature)));
        }
        if sampling.top_k == 0 {
            return Err(TrainingError::BadRequest("top_k must be at least 1".to_owned()));
        }
        let prompt = if prompt.is_empty() { b"\n" } else { prompt };
        let context = model.shape().context as usize;
        let mut decoder = Decoder::new(model);
        let mut logits = Vec::new();
        for byte in &prompt[prompt.len().saturating_sub(context)..] {
            logits = decoder.feed(u32::from(*byte))?;
        }
        let stream = Stream::new("starling 2026 sampling v1", sampling.seed, &[]);
        Ok(Self { decoder, sampling, stream, logits })
    }

    fn choose(&mut self) -> u8 {
        let mut ranked: Vec<(u8, f64)> = (0..=u8::MAX).zip(self.logits.iter().map(|logit| f64::from(*logit))).collect();
        // Ties keep the order of bytes.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(self.sampling.top_k);
        let Some(&(first, greatest)) = ranked.first() else {
            return b'\n';
        };
        if self.sampling.temperature == 0.0 {
            return first;
        }
        for (_, logit) in &mut ranked {
            *logit = ((*logit - greatest) / self.sampling.temperature).exp();
        }
        let total: f64 = ranked.iter().map(|(_, weight)| weight).sum();
        let mut left = self.stream.unit() * total;
        for (byte, weight) in ranked {
            left -= weight;
            if left < 0.0 {
                return byte;
            }
        }
        first
    }
}

impl Iterator for Generator<'_> {
    type Item = Result<u8>;

    fn next(&mut self) -> Option<Result<u8>> {
        let byte = self.choose();
        Some(self.decoder.feed(u32::from(byte)).map(|logits| {
            self.logits = logits;
            byte
        }))
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use candle_core::Device;

    use super::*;
    use starling_rounds::recipe::Recipe;

    fn model() -> Gpt {
        let recipe = Recipe::preset("tiny").expect("valid");
        Gpt::new(recipe.gpt(), &Gpt::initial(recipe.gpt(), 3), &Device::Cpu).expect("fits")
    }

    fn text(prompt: &[u8], sampling: Sampling) -> Vec<u8> {
        let model = model();
        let generator = Generator::new(&model, prompt, sampling).expect("valid");
        generator.take(80).collect::<Result<_>>().expect("text")
    }

    #[test]
    fn generator__should_repeat_itself_for_a_seed_only() {
        let sampling = |seed| Sampling { temperature: 1.0, top_k: 256, seed };
        assert_eq!(text(b"fn main", sampling(1)), text(b"fn main", sampling(1)));
        assert_ne!(text(b"fn main", sampling(1)), text(b"fn main", sampling(2)));
    }

    #[test]
    fn generator__should_take_the_likeliest_at_temperature_zero_or_one_candidate() {
        let cold = Sampling { temperature: 0.0, top_k: 256, seed: 1 };
        let single = Sampling { temperature: 1.0, top_k: 1, seed: 9 };
        assert_eq!(text(b"", cold), text(b"\n", single));
    }

    #[test]
    fn generator__should_read_only_the_end_of_a_long_prompt() {
        let long = [b'x'; 500].to_vec();
        assert_eq!(text(&long, Sampling::default()), text(&long[..32], Sampling::default()));
    }

    #[test]
    fn generator__should_refuse_impossible_sampling() {
        let model = model();
        for (temperature, top_k) in [(-0.1, 1), (f64::NAN, 1), (11.0, 1), (1.0, 0)] {
            let sampling = Sampling { temperature, top_k, seed: 1 };
            assert!(matches!(Generator::new(&model, b"", sampling), Err(TrainingError::BadRequest(_))));
        }
    }
}
