//! A multilayer perceptron for tables: linear layers with ReLU between them. Tensors are named and shaped as in PyTorch's
//! `Sequential(Linear, ReLU, Linear, ...)`.

use candle_core::Device;

use super::config::Config;
use super::weights::{Initial, Leaves, Weights, initial};
use crate::error::Result;
use crate::ops;
use crate::parameters::{Layout, Parameters};
use crate::tape::{Tape, Value};
use starling_rounds::recipe::PerceptronShape;

/// The `model_type` in `config.json`; `transformers` has no such model.
const MODEL_TYPE: &str = "starling-perceptron";

/// A perceptron with its variables.
pub struct Perceptron {
    shape: PerceptronShape,
    weights: Weights,
}

impl Perceptron {
    /// A model holding `parameters`.
    ///
    /// # Errors
    /// As [`Weights::new`] against [`Perceptron::layout`].
    pub fn new(shape: &PerceptronShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        Ok(Self { shape: shape.clone(), weights: Weights::new(Self::layout(shape), parameters, device)? })
    }

    /// Names and shapes of all trainable arrays, sorted by name; matrices are (out, in).
    #[must_use]
    pub fn layout(shape: &PerceptronShape) -> Layout {
        let inputs = [shape.features].into_iter().chain(shape.hidden.iter().copied());
        let outputs = shape.hidden.iter().copied().chain([shape.classes]);
        let arrays = inputs.zip(outputs).enumerate().flat_map(|(layer, (input, output))| {
            let name = of_layer(layer);
            [(format!("{name}.weight"), vec![output, input]), (format!("{name}.bias"), vec![output])]
        });
        super::sorted(arrays.collect())
    }

    /// The initial weights for `seed`, equal on every machine: matrices of deviation `sqrt(2 / inputs)`
    /// (arXiv:1502.01852), the last of a tenth of it, biases zero.
    #[must_use]
    pub fn initial(shape: &PerceptronShape, seed: u64) -> Parameters {
        let last = format!("{}.weight", of_layer(shape.hidden.len()));
        initial(Self::layout(shape), seed, |name, dimensions| match dimensions {
            [_, inputs] => Initial::Normal((2.0 / *inputs as f32).sqrt() * if name == last { 0.1 } else { 1.0 }),
            _ => Initial::Fill(0.0),
        })
    }

    /// `config.json` of this model.
    #[must_use]
    pub fn config_json(shape: &PerceptronShape) -> String {
        let config = serde_json::json!({
            "classes": shape.classes,
            "features": shape.features,
            "hidden": shape.hidden,
            "model_type": MODEL_TYPE,
        });
        format!("{config:#}\n")
    }

    /// The shape that [`Perceptron::config_json`] wrote.
    ///
    /// # Errors
    /// [`crate::TrainingError::BadConfig`], naming the field at fault.
    pub fn read_config(text: &str) -> Result<PerceptronShape> {
        let config = Config::read(text, MODEL_TYPE)?;
        Ok(PerceptronShape {
            features: config.number("features", None)?,
            hidden: config.numbers("hidden")?,
            classes: config.number("classes", None)?,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &PerceptronShape {
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

    /// Logits (rows, classes) for rows of the table (rows, features).
    ///
    /// # Errors
    /// Rows of another width.
    pub fn logits(&self, tape: &Tape, leaves: &Leaves, rows: &Value) -> Result<Value> {
        let mut x = rows.clone(); // (rows, features)
        for layer in 0..self.shape.hidden.len() {
            x = ops::relu(tape, &leaves.linear(tape, &of_layer(layer), &x)?)?; // (rows, hidden[layer])
        }
        leaves.linear(tape, &of_layer(self.shape.hidden.len()), &x)
    }
}

/// In a `Sequential` each linear layer is followed by its ReLU.
fn of_layer(layer: usize) -> String {
    format!("layers.{}", 2 * layer)
}
