//! AdamW in one pass, the global norm that clips, and the recipe's rate.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;

use crate::error::{Result, TrainingError};
use crate::ops::host::{Host, is_fused, map_indices, vectorized};
use crate::ops::math::{nearest_f32, sum};
use crate::parameters::{Array, Parameters};
use crate::schedule::Schedule;
use starling_rounds::recipe::{OptimizerRecipe, Recipe};

/// The learning rate of the global inner step `step`, counted from 0 over all rounds, where all work before it was
/// accepted.
#[must_use]
pub fn learning_rate(recipe: &Recipe, step: u64) -> f64 {
    let tokens = recipe.tokens_per_inner_step();
    Schedule::of(recipe).rate(step.saturating_mul(tokens), tokens)
}

/// The norm of all gradients together, in the order of names.
///
/// # Errors
/// Candle's.
pub fn global_norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64> {
    const CHUNK: usize = 4_096;
    let mut squares = 0.0;
    for gradient in gradients.values() {
        if is_fused(gradient) {
            let gradient = gradient.contiguous()?;
            let values = Host::of(&gradient)?;
            let values: &[f32] = &values;
            let parts = map_indices(values.len().div_ceil(CHUNK), |part| {
                let chunk = &values[part * CHUNK..values.len().min((part + 1) * CHUNK)];
                vectorized(
                    #[inline(always)]
                    || sum(chunk, |g| g * g),
                )
            });
            parts.into_iter().for_each(|part| squares += f64::from(part));
        } else {
            squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    Ok(squares.sqrt())
}

/// AdamW (arXiv:1711.05101, Alg. 2, decay decoupled and scaled by the learning rate).
pub struct AdamW {
    recipe: OptimizerRecipe,
    updates: u64,
    moments: BTreeMap<String, Moments>,
}

/// Running means of the gradient and of its square.
enum Moments {
    /// Beside the kernel that updates weights and moments in one pass.
    Host { first: Vec<f32>, second: Vec<f32> },
    /// On another device, updated by candle's operations.
    Device { first: Tensor, second: Tensor },
}

impl AdamW {
    /// An optimizer at rest: all moments zero.
    ///
    /// # Errors
    /// Candle's.
    pub fn new(recipe: &OptimizerRecipe, variables: &BTreeMap<String, Var>) -> Result<Self> {
        let moments = variables.iter().map(|(name, variable)| {
            let count = variable.elem_count();
            let moments = if is_fused(variable) {
                Moments::Host { first: vec![0.0; count], second: vec![0.0; count] }
            } else {
                Moments::Device { first: variable.zeros_like()?, second: variable.zeros_like()? }
            };
            Ok((name.clone(), moments))
        });
        Ok(Self { recipe: recipe.clone(), updates: 0, moments: moments.collect::<Result<_>>()? })
    }

    /// Updates made so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One update of every variable by its gradient times `gradient_scale`; matrices decay, vectors do not.
    ///
    /// # Errors
    /// [`TrainingError::MissingTensor`] for a variable without a gradient, before anything has changed.
    pub fn update(
        &mut self,
        variables: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        learning_rate: f64,
        gradient_scale: f64,
    ) -> Result<()> {
        let missing = |name: &&String| !gradients.contains_key(*name) || !self.moments.contains_key(*name);
        if let Some(name) = variables.keys().find(missing) {
            return Err(TrainingError::MissingTensor(name.clone()));
        }
        self.updates += 1;
        for (name, variable) in variables {
            if let (Some(gradient), Some(moments)) = (gradients.get(name), self.moments.get_mut(name)) {
                let decays = variable.rank() > 1;
                let step = Step::new(&self.recipe, self.updates, learning_rate, gradient_scale, decays);
                step.apply(variable, &gradient.contiguous()?, moments)?;
            }
        }
        Ok(())
    }

    /// First and second moments by name, for a checkpoint.
    ///
    /// # Errors
    /// Candle's.
    pub fn moments(&self, variables: &BTreeMap<String, Var>) -> Result<(Parameters, Parameters)> {
        let (mut firsts, mut seconds) = (Parameters::new(), Parameters::new());
        for (name, moments) in &self.moments {
            let shape = variables.get(name).map(|variable| variable.dims().to_vec()).unwrap_or_default();
            let (first, second) = match moments {
                Moments::Host { first, second } => (first.clone(), second.clone()),
                Moments::Device { first, second } => (first.flatten_all()?.to_vec1()?, second.flatten_all()?.to_vec1()?),
            };
            firsts.insert(name.clone(), Array { shape: shape.clone(), values: first });
            seconds.insert(name.clone(), Array { shape, values: second });
        }
        Ok((firsts, seconds))
    }

    /// Puts back what [`AdamW::moments`] and [`AdamW::updates`] gave; the arrays' shapes were checked by the caller.
    pub(crate) fn restore(
        &mut self,
        updates: u64,
        mut firsts: Parameters,
        mut seconds: Parameters,
        device: &candle_core::Device,
    ) -> Result<()> {
        for (name, moments) in &mut self.moments {
            let missing = || TrainingError::MissingTensor(name.clone());
            let restored_first = firsts.remove(name).ok_or_else(missing)?;
            let restored_second = seconds.remove(name).ok_or_else(missing)?;
            match moments {
                Moments::Host { first, second } => (*first, *second) = (restored_first.values, restored_second.values),
                Moments::Device { first, second } => {
                    (*first, *second) = (restored_first.to_tensor(device)?, restored_second.to_tensor(device)?);
                }
            }
        }
        self.updates = updates;
        Ok(())
    }
}

/// The coefficients of one update.
#[derive(Clone, Copy)]
struct Step {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    gradient_scale: f64,
    /// Weights are multiplied by it.
    keep: f64,
    /// Learning rate over the bias correction of the first moment.
    rate: f64,
    /// One over the root of the bias correction of the second.
    root_correction: f64,
}

impl Step {
    fn new(recipe: &OptimizerRecipe, updates: u64, learning_rate: f64, gradient_scale: f64, decays: bool) -> Self {
        let power = |beta: f64| beta.powi(i32::try_from(updates).unwrap_or(i32::MAX));
        let decay = if decays { recipe.weight_decay } else { 0.0 };
        Self {
            beta1: recipe.beta1,
            beta2: recipe.beta2,
            epsilon: recipe.epsilon,
            gradient_scale,
            keep: 1.0 - learning_rate * decay,
            rate: learning_rate / (1.0 - power(recipe.beta1)),
            root_correction: 1.0 / (1.0 - power(recipe.beta2)).sqrt(),
        }
    }

    fn apply(&self, variable: &Var, gradient: &Tensor, moments: &mut Moments) -> Result<()> {
        match moments {
            Moments::Host { first, second } => {
                let kernel = OnePass { step: *self, moments: RefCell::new((first, second)) };
                variable.inplace_op2(gradient, &kernel)?;
            }
            Moments::Device { first, second } => {
                let gradient = (gradient * self.gradient_scale)?;
                *first = ((&*first * self.beta1)? + (&gradient * (1.0 - self.beta1))?)?;
                *second = ((&*second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
                let root = ((second.sqrt()? * self.root_correction)? + self.epsilon)?;
                let change = (first.div(&root)? * self.rate)?;
                variable.set(&((variable.as_detached_tensor() * self.keep)? - change)?)?;
            }
        }
        Ok(())
    }
}

impl Step {
    /// One pass over slices of equal length: no value depends on its neighbours.
    fn of_slices(self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let Self { beta1, beta2, epsilon, gradient_scale, keep, rate, root_correction } = self;
        let [b1, b2, c1, c2] = [beta1, beta2, 1.0 - beta1, 1.0 - beta2].map(nearest_f32);
        let [scale, epsilon, keep] = [gradient_scale, epsilon, keep].map(nearest_f32);
        let [rate, correction] = [rate, root_correction].map(nearest_f32);
        vectorized(
            #[inline(always)]
            || {
                let state = first.iter_mut().zip(second.iter_mut());
                for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradient).zip(state) {
                    let gradient = gradient * scale;
                    *first = b1 * *first + c1 * gradient;
                    *second = b2 * *second + c2 * gradient * gradient;
                    *weight = *weight * keep - rate * *first / (second.sqrt() * correction + epsilon);
                }
            },
        );
    }
}

/// Weights and both moments in one pass over memory.
struct OnePass<'a> {
    step: Step,
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl OnePass<'_> {
    /// Values that one thread takes at a time.
    const CHUNK: usize = 65_536;
}

impl InplaceOp2 for OnePass<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(weights), CpuStorage::F32(gradient)) = (s1, s2) else {
            candle_core::bail!("adamw needs f32");
        };
        let (Some((w1, w2)), Some((g1, g2))) = (l1.contiguous_offsets(), l2.contiguous_offsets()) else {
            candle_core::bail!("adamw needs contiguous tensors");
        };
        let (first, second) = &mut *self.moments.borrow_mut();
        let (weights, gradient) = (&mut weights[w1..w2], &gradient[g1..g2]);
        if rayon::current_num_threads() == 1 || weights.len() <= Self::CHUNK {
            self.step.of_slices(weights, gradient, first, second);
        } else {
            let moments = first.par_chunks_mut(Self::CHUNK).zip(second.par_chunks_mut(Self::CHUNK));
            let weights = weights.par_chunks_mut(Self::CHUNK).zip(gradient.par_chunks(Self::CHUNK));
            let step = self.step;
            weights.zip(moments).for_each(|((weights, gradient), (first, second))| step.of_slices(weights, gradient, first, second));
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use candle_core::Device;

    use super::*;

    fn recipe() -> Recipe {
        Recipe::preset("tiny").expect("valid")
    }

    #[test]
    fn learning_rate__should_warm_up_and_follow_the_cosine_to_the_floor() {
        let recipe = recipe(); // 50 steps, 5 of warm-up, 1e-2 to 1e-3
        let rates: Vec<f64> = (0..60).map(|step| learning_rate(&recipe, step)).collect();
        assert!((rates[0] - 2e-3).abs() < 1e-12 && (rates[4] - 1e-2).abs() < 1e-12 && (rates[5] - 1e-2).abs() < 1e-12);
        assert!((rates[27] - 5.5e-3).abs() < 1e-4, "half way: {}", rates[27]);
        assert!(rates[5..50].windows(2).all(|pair| pair[1] < pair[0]));
        assert!(rates[49..].iter().all(|rate| (rate - 1e-3).abs() < 1e-12));
    }

    /// Three updates of a matrix and a vector from fixed gradients.
    fn three_updates(on_host: bool) -> BTreeMap<String, Vec<f32>> {
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor");
        let variables: BTreeMap<String, Var> = [("matrix", vec![1usize, 3]), ("vector", vec![3])]
            .map(|(name, shape)| (name.to_owned(), Var::from_tensor(&tensor(&[1.0, -2.0, 0.5], &shape)).expect("a variable")))
            .into();
        let mut optimizer = AdamW::new(&recipe().optimizer, &variables).expect("at rest");
        if !on_host {
            for (name, moments) in &mut optimizer.moments {
                let zeros = variables[name].zeros_like().expect("zeros");
                *moments = Moments::Device { first: zeros.clone(), second: zeros };
            }
        }
        for gradient in [[0.1, -0.2, 3.0], [0.4, 0.0, -1.0], [0.1, 0.1, 0.1]] {
            let gradients = variables.iter().map(|(name, v)| (name.clone(), tensor(&gradient, v.dims()))).collect();
            optimizer.update(&variables, &gradients, 0.01, 0.5).expect("all there");
        }
        assert_eq!(optimizer.updates(), 3);
        variables.iter().map(|(n, v)| (n.clone(), v.flatten_all().and_then(|t| t.to_vec1()).expect("f32"))).collect()
    }

    #[test]
    fn update__should_follow_the_paper() {
        // Algorithm 2 in f64, with betas 0.9 and 0.98, decay 0.1 and gradients halved.
        let exact = |decay: f64, start: f64, gradients: [f64; 3]| {
            let (mut weight, mut first, mut second) = (start, 0.0, 0.0);
            for (index, gradient) in (1..).zip(gradients) {
                let gradient = gradient * 0.5;
                first = 0.9 * first + 0.1 * gradient;
                second = 0.98 * second + 0.02 * gradient * gradient;
                let (m, v) = (first / (1.0 - 0.9f64.powi(index)), second / (1.0 - 0.98f64.powi(index)));
                weight -= 0.01 * (m / (v.sqrt() + 1e-8) + decay * weight);
            }
            weight
        };
        let columns = [(1.0, [0.1, 0.4, 0.1]), (-2.0, [-0.2, 0.0, 0.1]), (0.5, [3.0, -1.0, 0.1])];
        for on_host in [true, false] {
            let found = three_updates(on_host);
            for (index, (start, gradients)) in columns.into_iter().enumerate() {
                let (matrix, vector) = (exact(0.1, start, gradients), exact(0.0, start, gradients));
                assert!((f64::from(found["matrix"][index]) - matrix).abs() < 1e-6, "{found:?} {matrix}");
                assert!((f64::from(found["vector"][index]) - vector).abs() < 1e-6, "{found:?} {vector}");
            }
        }
    }

    #[test]
    fn update__should_refuse_a_variable_without_a_gradient() {
        let variable = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).expect("a variable");
        let variables: BTreeMap<String, Var> = [("w".to_owned(), variable)].into();
        let mut optimizer = AdamW::new(&recipe().optimizer, &variables).expect("at rest");
        let error = optimizer.update(&variables, &BTreeMap::new(), 0.1, 1.0).expect_err("no gradient");
        assert_eq!(error.to_string(), "tensor `w` is missing");
        assert_eq!(optimizer.updates(), 0);
    }

    #[test]
    fn global_norm__should_be_that_of_all_values_together() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).expect("a tensor");
        let gradients = [("a".to_owned(), tensor(&[3.0, 0.0])), ("b".to_owned(), tensor(&[4.0, 12.0]))].into();
        assert!((global_norm(&gradients).expect("f32") - 13.0).abs() < 1e-6);
    }
}
