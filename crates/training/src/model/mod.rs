//! The models, one readable file each, and the adapters that train a part of them.

mod any;
mod bert;
mod config;
mod convolution;
mod decoder;
pub(crate) mod gpt;
mod llama;
mod lora;
mod perceptron;
mod weights;

pub use any::{Model, Net};
pub use bert::{Bert, Texts};
pub use convolution::Convolution;
pub use decoder::Decoder;
pub use gpt::Gpt;
pub use llama::Llama;
pub use lora::{Lora, LoraShape};
pub use perceptron::Perceptron;
pub use starling_rounds::recipe::{BertHead, BertShape, ConvolutionShape, LlamaShape, PerceptronShape};
pub use weights::{Leaves, Weights};

use crate::parameters::Layout;

/// A layout in its order of names.
fn sorted(arrays: Vec<(String, Vec<u32>)>) -> Layout {
    let wide = |shape: Vec<u32>| shape.into_iter().map(|dimension| dimension as usize).collect();
    let mut layout: Layout = arrays.into_iter().map(|(name, shape)| (name, wide(shape))).collect();
    layout.sort();
    layout
}

#[cfg(test)]
mod tests;
