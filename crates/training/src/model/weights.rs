//! What all models share: their variables, how they begin, and how a forward pass sees them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::lora::Adapter;
use crate::error::{Result, TrainingError};
use crate::ops;
use crate::parameters::{Array, Layout, Parameters, check_parameters};
use crate::random::Stream;
use crate::tape::{Tape, Value};

/// The trainable variables of a model, sorted by name.
pub struct Weights {
    layout: Layout,
    device: Device,
    variables: BTreeMap<String, Var>,
}

/// The weights of one forward pass on its tape, as the models' modules read them.
#[derive(Clone)]
pub struct Leaves {
    values: BTreeMap<String, Value>,
    pub(super) adapters: BTreeMap<String, Adapter>,
    /// What stands before the names of the values' gradients.
    pub(super) prefix: String,
}

/// How an array begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Initial {
    /// Each value the same.
    Fill(f32),
    /// Normal of mean 0 and this deviation.
    Normal(f32),
}

impl Weights {
    /// Variables holding `parameters`, which must be those of `layout`.
    ///
    /// # Errors
    /// As [`check_parameters`].
    pub fn new(layout: Layout, parameters: &Parameters, device: &Device) -> Result<Self> {
        check_parameters(&layout, parameters)?;
        let variables = parameters.iter().map(|(name, array)| {
            let variable = Var::from_tensor(&array.to_tensor(device)?)?;
            Ok((name.clone(), variable))
        });
        Ok(Self { device: device.clone(), variables: variables.collect::<Result<_>>()?, layout })
    }

    /// Where the variables are.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Names and shapes, sorted by name.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The variables by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// A copy of the current values.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters> {
        let copies = self.variables.iter().map(|(name, v)| Ok((name.clone(), Array::from_tensor(v.as_tensor())?)));
        copies.collect()
    }

    /// Replaces all values.
    ///
    /// # Errors
    /// As [`Weights::new`]; nothing has changed then.
    pub fn load(&mut self, parameters: &Parameters) -> Result<()> {
        check_parameters(&self.layout, parameters)?;
        for (name, variable) in &self.variables {
            let array = parameters.get(name).ok_or_else(|| TrainingError::MissingTensor(name.clone()))?;
            variable.set(&array.to_tensor(&self.device)?)?;
        }
        Ok(())
    }

    /// Puts the variables on a tape.
    #[must_use]
    pub fn leaves(&self, tape: &Tape) -> Leaves {
        self.with(|variable| tape.variable(variable))
    }

    /// The same values, of which no gradient is wanted.
    #[must_use]
    pub fn frozen(&self) -> Leaves {
        self.with(|variable| Value::constant(variable.as_detached_tensor()))
    }

    fn with(&self, value: impl Fn(&Var) -> Value) -> Leaves {
        let values = self.variables.iter().map(|(name, variable)| (name.clone(), value(variable))).collect();
        Leaves { values, adapters: BTreeMap::new(), prefix: String::new() }
    }
}

/// Initial values for `seed`, equal on every machine: an array's random numbers follow from its place in `layout`.
pub(super) fn initial(layout: Layout, seed: u64, rule: impl Fn(&str, &[usize]) -> Initial) -> Parameters {
    let arrays = (0u64..).zip(layout).map(|(index, (name, dimensions))| {
        let mut array = Array::zeros(&dimensions);
        match rule(&name, &dimensions) {
            Initial::Fill(value) => array.values.fill(value),
            Initial::Normal(deviation) => {
                let mut stream = Stream::new("starling 2026 initial weights v1", seed, &[index]);
                stream.fill_normal(deviation, &mut array.values);
            }
        }
        (name, array)
    });
    arrays.collect()
}

impl Leaves {
    /// The leaf of that name.
    ///
    /// # Errors
    /// [`TrainingError::MissingTensor`].
    pub fn get(&self, name: &str) -> Result<&Value> {
        self.values.get(name).ok_or_else(|| TrainingError::MissingTensor(name.to_owned()))
    }

    /// All leaves of the model itself, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.values.iter()
    }

    /// Gradients of `loss` for each leaf that wants one, by name; consumes what was recorded on `tape`.
    ///
    /// # Errors
    /// [`TrainingError::MissingTensor`] for a leaf that the loss does not depend on.
    pub fn gradients(&self, tape: Tape, loss: &Value) -> Result<BTreeMap<String, Tensor>> {
        let mut gradients = tape.backward(loss)?;
        let wanted = self.all().into_iter().filter(|(_, leaf)| leaf.slot().is_wanted());
        wanted.map(|(name, leaf)| Ok((name.clone(), gradients.take(leaf).ok_or(TrainingError::MissingTensor(name))?))).collect()
    }

    /// Every leaf, the adapters' too, by the name of its gradient.
    fn all(&self) -> Vec<(String, &Value)> {
        let own = self.values.iter().map(|(name, leaf)| (format!("{}{name}", self.prefix), leaf));
        own.chain(self.adapters.values().flat_map(Adapter::leaves)).collect()
    }

    /// Computes a block of a model from `x` and from the leaves whose names begin with `block`; on a tape that recomputes,
    /// once more for its gradients.
    ///
    /// # Errors
    /// Those of `compute`.
    pub(super) fn block(
        &self,
        tape: &Tape,
        block: &str,
        x: &Value,
        compute: impl Fn(&Tape, &Self, &Value) -> Result<Value> + 'static,
    ) -> Result<Value> {
        if !tape.recomputes() {
            return compute(tape, self, x);
        }
        let own = self.of_block(block);
        let output = compute(&Tape::inference(), &own, x)?.tensor;
        let (kept, input) = (own.clone(), x.clone());
        let arguments: Vec<&Value> = own.all().into_iter().map(|(_, leaf)| leaf).chain([x]).collect();
        Ok(tape.record(&arguments, output, move |gradient, gradients| {
            let tape = Tape::training();
            let (leaves, x) = (kept.again(&tape), input.on(&tape));
            let output = compute(&tape, &leaves, &x)?;
            let mut found = tape.backward_from(&output, gradient)?;
            let pairs = kept.all().into_iter().zip(leaves.all()).map(|((_, outer), (_, inner))| (outer, inner));
            for (outer, inner) in pairs.chain([(&input, &x)]) {
                if let Some(gradient) = found.take(inner) {
                    gradients.add(outer.slot(), gradient)?;
                }
            }
            Ok(())
        }))
    }

    fn of_block(&self, block: &str) -> Self {
        let own = |name: &str| name.starts_with(block);
        let values = self.values.iter().filter(|(name, _)| own(name)).map(|(name, leaf)| (name.clone(), leaf.clone()));
        let adapters = self.adapters.iter().filter(|(module, _)| own(module)).map(|(module, adapter)| (module.clone(), adapter.clone()));
        Self { values: values.collect(), adapters: adapters.collect(), prefix: self.prefix.clone() }
    }

    /// The same weights on another tape.
    fn again(&self, tape: &Tape) -> Self {
        let values = self.values.iter().map(|(name, leaf)| (name.clone(), leaf.on(tape)));
        let adapters = self.adapters.iter().map(|(module, adapter)| (module.clone(), adapter.again(tape)));
        Self { values: values.collect(), adapters: adapters.collect(), prefix: self.prefix.clone() }
    }

    /// Puts another value in the place of a leaf.
    pub(super) fn replace(&mut self, name: &str, value: Value) -> Result<()> {
        let leaf = self.values.get_mut(name).ok_or_else(|| TrainingError::UnknownTensor(name.to_owned()))?;
        *leaf = value;
        Ok(())
    }

    /// `x w^T + b` with the arrays `module.weight` (out, in) and, where the model has it, `module.bias` (out):
    /// PyTorch's `Linear`.
    pub(super) fn linear(&self, tape: &Tape, module: &str, x: &Value) -> Result<Value> {
        let weight = self.get(&format!("{module}.weight"))?;
        let y = ops::dense(tape, x, weight, self.values.get(&format!("{module}.bias")))?;
        self.adapted(tape, module, x, y)
    }

    /// Several of [`Leaves::linear`] on one `x`, their columns side by side.
    pub(super) fn linear_columns<const N: usize>(&self, tape: &Tape, modules: [&str; N], x: &Value) -> Result<Value> {
        if modules.iter().any(|module| self.adapters.contains_key(*module)) {
            let each = modules.iter().map(|module| self.linear(tape, module, x)).collect::<Result<Vec<_>>>()?;
            return ops::join_columns(tape, &each.iter().collect::<Vec<_>>());
        }
        let layer = |module| Ok((self.get(&format!("{module}.weight"))?, self.values.get(&format!("{module}.bias"))));
        ops::dense_columns(tape, x, &modules.iter().map(layer).collect::<Result<Vec<_>>>()?)
    }

    /// `x w + b` with `module.weight` (in, out) and `module.bias` (out): GPT-2's `Conv1D`.
    pub(super) fn conv1d(&self, tape: &Tape, module: &str, x: &Value) -> Result<Value> {
        let (weight, bias) = (self.get(&format!("{module}.weight"))?, self.get(&format!("{module}.bias"))?);
        let y = ops::linear(tape, x, weight, bias)?;
        self.adapted(tape, module, x, y)
    }

    /// Layer norm with `module.weight` and `module.bias`.
    pub(super) fn layer_norm(&self, tape: &Tape, module: &str, x: &Value, epsilon: f64) -> Result<Value> {
        let (weight, bias) = (self.get(&format!("{module}.weight"))?, self.get(&format!("{module}.bias"))?);
        ops::layer_norm(tape, x, weight, bias, epsilon)
    }

    fn adapted(&self, tape: &Tape, module: &str, x: &Value, y: Value) -> Result<Value> {
        match self.adapters.get(module) {
            Some(adapter) => adapter.apply(tape, x, &y),
            None => Ok(y),
        }
    }
}
