//! A reference file and the comparison with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Tensor;
use safetensors::{Dtype, SafeTensors};
use starling_training::{
    AdamW, Array, Device, Leaves, Muon, OptimizerKind, OptimizerRecipe, Parameters, Result, Tape, Value, Weights, check_parameters,
    global_norm, model_files, ops,
};

/// As in `reference.py`.
const BATCHES: usize = 4;
const WARMUP: f64 = 20.0;
const PEAK: f64 = 3e-4;

/// What one reference file holds.
pub(crate) struct Reference {
    name: &'static str,
    /// The model's `config.json`.
    pub(crate) config: String,
    /// What trains.
    pub(crate) weights: Parameters,
    /// What is frozen below adapters.
    pub(crate) base: Parameters,
    gradients: Parameters,
    inputs: BTreeMap<String, Array>,
    logits: Array,
    losses: Vec<f64>,
}

/// An optimizer's update: weights, gradients, learning rate and the factor that clips.
pub(crate) type Update = Box<dyn FnMut(&Weights, &BTreeMap<String, Tensor>, f64, f64) -> Result<()>>;

/// AdamW for everything.
pub(crate) fn adamw(weights: &Weights) -> Update {
    let mut adamw = AdamW::new(&recipe(), weights.variables()).expect("at rest");
    Box::new(move |weights, gradients, rate, scale| adamw.update(weights.variables(), gradients, rate, scale))
}

/// Muon for matrices, AdamW for the rest.
pub(crate) fn muon(weights: &Weights) -> Update {
    let mut muon = Muon::new(&recipe(), 0.95, weights.variables(), |name| name.ends_with(".weight")).expect("at rest");
    Box::new(move |weights, gradients, rate, scale| muon.update(weights.variables(), gradients, rate, scale))
}

/// The inputs of one step.
pub(crate) struct Batch<'a> {
    inputs: &'a BTreeMap<String, Array>,
    index: usize,
}

impl Reference {
    /// The checked-in file, or the one in the folder that `STARLING_REFERENCE` names.
    pub(crate) fn read(name: &'static str) -> Self {
        let folder = std::env::var_os("STARLING_REFERENCE").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| [env!("CARGO_MANIFEST_DIR"), "reference"].iter().collect());
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).expect("checked in");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("readable");
        let config = header.metadata().as_ref().and_then(|fields| fields.get("config")).expect("there").clone();
        let [mut weights, mut base, mut gradients, mut inputs] = [const { Parameters::new() }; 4];
        let (mut logits, mut losses) = (Array::zeros(&[]), Vec::new());
        for (name, view) in SafeTensors::deserialize(&bytes).expect("readable").iter() {
            let values = numbers(view.dtype(), view.data());
            #[expect(clippy::cast_possible_truncation, reason = "all but the losses are exact in f32")]
            let floats = values.iter().map(|value| *value as f32).collect();
            let array = Array { shape: view.shape().to_vec(), values: floats };
            match name.split_once('/') {
                Some(("weight", name)) => drop(weights.insert(name.to_owned(), array)),
                Some(("base", name)) => drop(base.insert(name.to_owned(), array)),
                Some(("gradient", name)) => drop(gradients.insert(name.to_owned(), array)),
                Some(("input", name)) => drop(inputs.insert(name.to_owned(), array)),
                _ if name == "logits" => logits = array,
                _ => losses = values,
            }
        }
        Self { name, config, weights, base, gradients, inputs, logits, losses }
    }

    /// Compares logits, loss and gradients of the first batch, then the whole curve of training of `weights`.
    ///
    /// `forward` gives the logits and the leaves they were made of.
    pub(crate) fn compare(
        &self,
        weights: &Weights,
        forward: impl Fn(&Tape, &Batch<'_>) -> Result<(Value, Leaves)>,
        optimizer: impl Fn(&Weights) -> Update,
    ) {
        let step = |index: usize| -> Result<(Vec<f32>, f64, BTreeMap<String, Tensor>)> {
            let batch = Batch { inputs: &self.inputs, index };
            let tape = Tape::training();
            let (logits, leaves) = forward(&tape, &batch)?;
            let loss = ops::cross_entropy(&tape, &logits, &batch.ids("targets"))?;
            let value = f64::from(loss.tensor().to_scalar::<f32>()?);
            Ok((values(&logits)?, value, leaves.gradients(tape, &loss)?))
        };
        let (found, value, gradients) = step(0).expect("computable");
        let greatest = self.logits.values.iter().fold(0f32, |greatest, logit| greatest.max(logit.abs()));
        let off = found.iter().zip(&self.logits.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / greatest;
        assert!(found.len() == self.logits.values.len() && off <= 1e-5, "{}: logits differ by {off:e}", self.name);
        let loss_off = (value - self.losses[0]).abs();
        assert!(loss_off <= 1e-6, "{}: loss {value} against {}", self.name, self.losses[0]);
        let gradients: Parameters = gradients.into_iter().map(|(name, g)| (name, Array::from_tensor(&g).expect("f32"))).collect();
        check_parameters(weights.layout(), &gradients).expect("a finite gradient for each variable and no other");
        let gradient_off = self.compare_gradients(&gradients);

        let mut optimizer = optimizer(weights);
        let mut curve_off: f64 = 0.0;
        for (index, expected) in self.losses.iter().enumerate() {
            let (_, loss, gradients) = step(index).expect("computable");
            curve_off = curve_off.max((loss - expected).abs());
            assert!(curve_off <= 1e-3, "{} step {index}: loss {loss} against {expected}", self.name);
            let scale = (1.0 / global_norm(&gradients).expect("f32")).min(1.0);
            let rate = PEAK * ((index + 1) as f64 / WARMUP).min(1.0);
            optimizer(weights, &gradients, rate, scale).expect("all there");
        }
        println!(
            "parity {}: logits {off:.1e}, loss {loss_off:.1e}, gradients {gradient_off:.1e}, loss over {} steps {curve_off:.1e}",
            self.name,
            self.losses.len()
        );
    }

    /// The greatest difference of a gradient, relative to its norm or a thousandth of the norm of all.
    fn compare_gradients(&self, gradients: &Parameters) -> f64 {
        let norm = |array: &Array| array.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let global = self.gradients.values().map(norm).sum::<f64>().sqrt();
        let mut worst: f64 = 0.0;
        for (name, expected) in &self.gradients {
            let found = gradients.get(name).unwrap_or_else(|| panic!("{}: {name} has no gradient", self.name));
            let pairs = found.values.iter().zip(&expected.values);
            let difference = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
            let off = difference / norm(expected).sqrt().max(1e-3 * global);
            assert!(off <= 1e-5, "{}: the gradient of {name} differs by {off:e}", self.name);
            worst = worst.max(off);
        }
        worst
    }

    /// The logits of the first batch.
    pub(crate) fn logits(&self, forward: impl Fn(&Tape, &Batch<'_>) -> Result<(Value, Leaves)>) -> Vec<f32> {
        let (logits, _) = forward(&Tape::inference(), &Batch { inputs: &self.inputs, index: 0 }).expect("computable");
        values(&logits).expect("f32")
    }

    /// Writes `files` and the logits as they are now, where `STARLING_EXPORT` asks for it.
    pub(crate) fn export(&self, forward: impl Fn(&Tape, &Batch<'_>) -> Result<(Value, Leaves)>, files: &[(&str, &[u8])]) {
        let Some(folder) = std::env::var_os("STARLING_EXPORT") else { return };
        let folder = PathBuf::from(folder).join(self.name);
        std::fs::create_dir_all(folder.join("adapter")).expect("writable");
        let values = self.logits(forward);
        let logits = Array { shape: self.logits.shape.clone(), values };
        let logits = model_files(String::new(), &Parameters::from([("logits".to_owned(), logits)])).safetensors;
        for (name, bytes) in files.iter().chain(&[("logits.safetensors", &logits[..])]) {
            std::fs::write(folder.join(name), bytes).expect("writable");
        }
    }
}

impl Batch<'_> {
    fn part(&self, name: &str) -> &[f32] {
        let array = &self.inputs[name];
        let size = array.values.len() / BATCHES;
        &array.values[self.index % BATCHES * size..][..size]
    }

    /// Numbers in the shape of one batch.
    pub(crate) fn floats(&self, name: &str) -> Result<Tensor> {
        Ok(Tensor::from_slice(self.part(name), &self.inputs[name].shape[1..], &Device::Cpu)?)
    }

    /// Whole numbers, flat.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the file holds small whole numbers")]
    pub(crate) fn ids(&self, name: &str) -> Arc<[u32]> {
        self.part(name).iter().map(|value| *value as u32).collect()
    }
}

fn values(value: &Value) -> Result<Vec<f32>> {
    Ok(value.tensor().flatten_all()?.to_vec1()?)
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<4>();
    match dtype {
        Dtype::F32 => chunks.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        Dtype::I32 => chunks.iter().map(|bytes| f64::from(i32::from_le_bytes(*bytes))).collect(),
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        other => panic!("no reference holds {other:?}"),
    }
}

fn recipe() -> OptimizerRecipe {
    OptimizerRecipe { method: OptimizerKind::Adamw, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.1 }
}
