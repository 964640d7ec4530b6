//! Text from a model, token by token.

use crate::error::{Result, TrainingError};
use crate::model::{Decoder, Model};
use crate::random::Stream;

/// How to choose each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token always; 1 samples from the model as it is.
    pub temperature: f64,
    /// Only the likeliest so many tokens are considered; of bytes, 256 considers all.
    pub top_k: usize,
    /// Fixes every choice.
    pub seed: u64,
}

/// An endless text after a prompt: an iterator over tokens. Stop by `take`.
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
    /// Reads the prompt; of a long one, only the end that fits the model's context. An empty one stands for a new line,
    /// which is byte 10 in every tokenizer here.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a temperature that is not from 0 to 10, a `top_k` of 0, or a model that writes no
    /// text.
    pub fn new(model: &'a Model, prompt: &[u32], sampling: Sampling) -> Result<Self> {
        if !(0.0..=10.0).contains(&sampling.temperature) {
            return Err(TrainingError::BadRequest(format!("temperature {} is not from 0 to 10", sampling.temperature)));
        }
        if sampling.top_k == 0 {
            return Err(TrainingError::BadRequest("top_k must be at least 1".to_owned()));
        }
        let prompt = if prompt.is_empty() { &[u32::from(b'\n')] } else { prompt };
        let mut decoder = Decoder::new(model)?;
        let mut logits = Vec::new();
        for token in &prompt[prompt.len().saturating_sub(decoder.context())..] {
            logits = decoder.feed(*token)?;
        }
        let stream = Stream::new("starling 2026 sampling v1", sampling.seed, &[]);
        Ok(Self { decoder, sampling, stream, logits })
    }

    fn choose(&mut self) -> u32 {
        let mut ranked: Vec<(u32, f64)> = (0..).zip(self.logits.iter().map(|logit| f64::from(*logit))).collect();
        // Ties keep the order of tokens.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(self.sampling.top_k);
        let Some(&(first, greatest)) = ranked.first() else {
            return u32::from(b'\n');
        };
        if self.sampling.temperature == 0.0 {
            return first;
        }
        for (_, logit) in &mut ranked {
            *logit = ((*logit - greatest) / self.sampling.temperature).exp();
        }
        let total: f64 = ranked.iter().map(|(_, weight)| weight).sum();
        let mut left = self.stream.unit() * total;
        for (token, weight) in ranked {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        first
    }
}

impl Iterator for Generator<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Result<u32>> {
        let token = self.choose();
        Some(self.decoder.feed(token).map(|logits| {
            self.logits = logits;
            token
        }))
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::Windows;
    use crate::tape::Tape;
    use starling_rounds::recipe::Recipe;

    fn model() -> Model {
        let recipe = Recipe { seed: 3, ..Recipe::preset("tiny").expect("valid") };
        Model::new(&recipe, &Model::initial(&recipe, None).expect("there"), &Device::Cpu).expect("fits")
    }

    fn text(prompt: &[u8], sampling: Sampling) -> Vec<u32> {
        let model = model();
        let prompt: Vec<u32> = prompt.iter().map(|byte| u32::from(*byte)).collect();
        let generator = Generator::new(&model, &prompt, sampling).expect("valid");
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
    fn generator__should_write_with_a_llama_as_its_whole_forward_pass_does() {
        let words = Recipe::preset("rust-words").expect("valid");
        let parameters = Model::initial(&words, None).expect("there");
        let model = Model::new(&words, &parameters, &Device::Cpu).expect("fits");
        let cold = Sampling { temperature: 0.0, top_k: 1, seed: 1 };
        let prompt: Vec<u32> = (300..310).collect();
        let made: Vec<u32> = Generator::new(&model, &prompt, cold).expect("valid").take(5).collect::<Result<_>>().expect("tokens");
        let mut tokens = prompt;
        for next in &made {
            let windows = Windows { tokens: tokens.clone().into(), targets: tokens.clone().into(), windows: 1, context: tokens.len() };
            let tape = Tape::inference();
            let logits = model.logits(&tape, &model.leaves(&tape).expect("there"), &windows.into()).expect("fits");
            let rows = logits.tensor().to_vec2::<f32>().expect("two dimensions");
            let last = rows.last().expect("a row");
            let best = last.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a token").0;
            assert_eq!(best, *next as usize);
            tokens.push(*next);
        }
        let fraud = Recipe::preset("fraud").expect("valid");
        let table = Model::new(&fraud, &Model::initial(&fraud, None).expect("there"), &Device::Cpu).expect("fits");
        assert!(matches!(Generator::new(&table, &[], cold), Err(TrainingError::BadRequest(_))));
    }

    #[test]
    fn generator__should_refuse_impossible_sampling() {
        let model = model();
        for (temperature, top_k) in [(-0.1, 1), (f64::NAN, 1), (11.0, 1), (1.0, 0)] {
            let sampling = Sampling { temperature, top_k, seed: 1 };
            assert!(matches!(Generator::new(&model, &[], sampling), Err(TrainingError::BadRequest(_))));
        }
    }
}
