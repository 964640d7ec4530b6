//! A small convolutional net for images: stages of a strided 3 x 3 convolution, layer norm over channels and ReLU, each
//! halving the image; then the mean over all places and a linear layer. No pooling (strides do it) and no batch norm
//! (its running means are state that nodes cannot average). Tensors are shaped as in PyTorch's `Conv2d` and `LayerNorm`.

use candle_core::{Device, Tensor};

use super::config::Config;
use super::weights::{Initial, Leaves, Weights, initial};
use crate::error::Result;
use crate::ops::{self, Images, Kernel};
use crate::parameters::{Layout, Parameters};
use crate::tape::{Tape, Value};
use starling_rounds::recipe::ConvolutionShape;

/// The `model_type` in `config.json`; `transformers` has no such model.
const MODEL_TYPE: &str = "starling-convolution";
const KERNEL: Kernel = Kernel { size: 3, stride: 2, padding: 1 };
const EPSILON: f64 = 1e-5;
const CLASSIFIER: &str = "classifier";

/// A convolutional net with its variables.
pub struct Convolution {
    shape: ConvolutionShape,
    weights: Weights,
}

impl Convolution {
    /// A model holding `parameters`.
    ///
    /// # Errors
    /// As [`Weights::new`] against [`Convolution::layout`].
    pub fn new(shape: &ConvolutionShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        Ok(Self { shape: shape.clone(), weights: Weights::new(Self::layout(shape), parameters, device)? })
    }

    /// Names and shapes of all trainable arrays, sorted by name; kernels are (out, in, 3, 3).
    #[must_use]
    pub fn layout(shape: &ConvolutionShape) -> Layout {
        let mut layout = Vec::new();
        let mut input = shape.channels;
        for (stage, output) in shape.stages.iter().enumerate() {
            layout.push((format!("{}.weight", convolution(stage)), vec![*output, input, 3, 3]));
            layout.push((format!("{}.bias", convolution(stage)), vec![*output]));
            layout.push((format!("{}.weight", norm(stage)), vec![*output]));
            layout.push((format!("{}.bias", norm(stage)), vec![*output]));
            input = *output;
        }
        layout.push((format!("{CLASSIFIER}.weight"), vec![shape.classes, input]));
        layout.push((format!("{CLASSIFIER}.bias"), vec![shape.classes]));
        super::sorted(layout)
    }

    /// The initial weights for `seed`, equal on every machine: kernels of deviation `sqrt(2 / inputs)` (arXiv:1502.01852),
    /// the classifier of `0.1 sqrt(2 / inputs)`, norms one, biases zero.
    #[must_use]
    pub fn initial(shape: &ConvolutionShape, seed: u64) -> Parameters {
        initial(Self::layout(shape), seed, |name, dimensions| match dimensions {
            [_, inputs @ ..] if !inputs.is_empty() => {
                let deviation = (2.0 / inputs.iter().product::<usize>() as f32).sqrt();
                Initial::Normal(deviation * if name.starts_with(CLASSIFIER) { 0.1 } else { 1.0 })
            }
            _ => Initial::Fill(if name.ends_with("norm.weight") { 1.0 } else { 0.0 }),
        })
    }

    /// `config.json` of this model.
    #[must_use]
    pub fn config_json(shape: &ConvolutionShape) -> String {
        let config = serde_json::json!({
            "channels": shape.channels,
            "classes": shape.classes,
            "model_type": MODEL_TYPE,
            "stages": shape.stages,
        });
        format!("{config:#}\n")
    }

    /// The shape that [`Convolution::config_json`] wrote.
    ///
    /// # Errors
    /// [`crate::TrainingError::BadConfig`], naming the field at fault.
    pub fn read_config(text: &str) -> Result<ConvolutionShape> {
        let config = Config::read(text, MODEL_TYPE)?;
        Ok(ConvolutionShape {
            channels: config.number("channels", None)?,
            stages: config.numbers("stages")?,
            classes: config.number("classes", None)?,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &ConvolutionShape {
        &self.shape
    }

    /// Its variables.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Its variables, to be replaced.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// Logits (images, classes) for `images` (images, channels, height, width).
    ///
    /// # Errors
    /// Images of another number of channels.
    pub fn logits(&self, tape: &Tape, leaves: &Leaves, images: &Tensor) -> Result<Value> {
        let (count, channels, height, width) = images.dims4()?;
        let mut size = Images { height, width, channels };
        let pixels = images.permute((0, 2, 3, 1))?.reshape((count * height * width, channels))?;
        let mut x = Value::constant(pixels); // (images * height * width, channels)
        for stage in 0..self.shape.stages.len() {
            let columns = ops::unfold(tape, &x, size, KERNEL)?; // (images * places, channels * 9)
            size = Images {
                height: KERNEL.places(size.height),
                width: KERNEL.places(size.width),
                channels: self.shape.stages[stage] as usize,
            };
            let weight = leaves.get(&format!("{}.weight", convolution(stage)))?;
            let weight = ops::reshape(tape, weight, &[size.channels, columns.tensor().dim(1)?])?; // (out, channels * 9)
            let bias = leaves.get(&format!("{}.bias", convolution(stage)))?;
            let y = ops::dense(tape, &columns, &weight, Some(bias))?; // (images * height * width, out)
            x = ops::relu(tape, &leaves.layer_norm(tape, &norm(stage), &y, EPSILON)?)?;
        }
        let means = ops::mean_of_groups(tape, &x, size.height * size.width)?; // (images, channels)
        leaves.linear(tape, CLASSIFIER, &means)
    }
}

fn convolution(stage: usize) -> String {
    format!("stages.{stage}.convolution")
}

fn norm(stage: usize) -> String {
    format!("stages.{stage}.norm")
}
