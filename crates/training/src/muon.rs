//! Muon (Keller Jordan, 2024): matrices move by the orthogonalised momentum of their gradients, all else by AdamW.
//!
//! As PyTorch's `torch.optim.Muon` with Nesterov momentum and `match_rms_adamw` (arXiv:2502.16982), which lets one learning
//! rate serve both; except that the iteration runs in `f32` where PyTorch's runs in bfloat16.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::error::{Result, TrainingError};
use crate::ops::host::{is_fused, map_pairs};
use crate::ops::math::nearest_f32;
use crate::ops::product;
use crate::optim::{AdamW, global_norm};
use crate::parameters::{Array, Layout, Parameters, check_parameters};
use starling_rounds::recipe::OptimizerRecipe;

/// Coefficients of the quintic iteration, steeper at zero than one that converges.
const COEFFICIENTS: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
const ITERATIONS: usize = 5;
/// The least norm that a matrix is divided by.
const LEAST_NORM: f64 = 1e-7;
/// An AdamW update's usual root mean square, which a matrix's update is scaled to.
const USUAL_UPDATE: f64 = 0.2;

/// Muon for some matrices and AdamW for the rest.
pub struct Muon {
    momentum: f64,
    weight_decay: f64,
    momenta: BTreeMap<String, Tensor>, // (rows, columns) each
    rest: AdamW,
}

impl Muon {
    /// An optimizer at rest: `is_matrix` names the variables that Muon moves, which should be the hidden layers'
    /// matrices and neither embeddings nor heads; `recipe` is AdamW's for the rest, its decay that of both.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] where `is_matrix` names something that is not two-dimensional, or a momentum that is
    /// not from 0 to below 1.
    pub fn new(
        recipe: &OptimizerRecipe,
        momentum: f64,
        variables: &BTreeMap<String, Var>,
        is_matrix: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        if !(0.0..1.0).contains(&momentum) {
            return Err(TrainingError::BadRequest(format!("momentum {momentum} is not from 0 to below 1")));
        }
        let (matrices, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            variables.iter().map(|(name, variable)| (name.clone(), variable.clone())).partition(|(name, _)| is_matrix(name));
        if let Some((name, variable)) = matrices.iter().find(|(_, variable)| variable.rank() != 2) {
            return Err(TrainingError::BadRequest(format!("`{name}` of shape {:?} is no matrix for Muon", variable.dims())));
        }
        let momenta = matrices.iter().map(|(name, variable)| Ok((name.clone(), variable.zeros_like()?)));
        let momenta = momenta.collect::<Result<_>>()?;
        Ok(Self { momentum, weight_decay: recipe.weight_decay, momenta, rest: AdamW::new(recipe, &rest)? })
    }

    /// One update of every variable by its gradient times `gradient_scale`.
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
        let missing = |name: &&String| !gradients.contains_key(*name);
        if let Some(name) = variables.keys().find(missing) {
            return Err(TrainingError::MissingTensor(name.clone()));
        }
        let rest = variables.iter().filter(|(name, _)| !self.momenta.contains_key(*name));
        let rest = rest.map(|(name, variable)| (name.clone(), variable.clone())).collect();
        self.rest.update(&rest, gradients, learning_rate, gradient_scale)?;
        for (name, momentum) in &mut self.momenta {
            let missing = || TrainingError::MissingTensor(name.clone());
            let (variable, gradient) = (variables.get(name).ok_or_else(missing)?, gradients.get(name).ok_or_else(missing)?);
            // The mean of gradients, and Nesterov's look ahead from it.
            *momentum = combined(self.momentum, momentum, (1.0 - self.momentum) * gradient_scale, gradient)?;
            let ahead = combined(self.momentum, momentum, (1.0 - self.momentum) * gradient_scale, gradient)?;
            let update = orthogonalised(&ahead)?; // (rows, columns)
            let (rows, columns) = update.dims2()?;
            let rate = learning_rate * USUAL_UPDATE * (rows.max(columns) as f64).sqrt();
            variable.set(&combined(1.0 - learning_rate * self.weight_decay, &variable.as_detached_tensor(), -rate, &update)?)?;
        }
        Ok(())
    }

    /// Momenta of the matrices by name, for a checkpoint.
    ///
    /// # Errors
    /// Candle's.
    pub fn momenta(&self) -> Result<Parameters> {
        self.momenta.iter().map(|(name, momentum)| Ok((name.clone(), Array::from_tensor(momentum)?))).collect()
    }

    /// What moves all that is not a matrix.
    #[must_use]
    pub fn rest(&self) -> &AdamW {
        &self.rest
    }

    /// As [`Muon::rest`], to be restored.
    pub(crate) fn rest_mut(&mut self) -> &mut AdamW {
        &mut self.rest
    }

    /// Puts back what [`Muon::momenta`] gave.
    pub(crate) fn restore(&mut self, mut momenta: Parameters, device: &Device) -> Result<()> {
        let layout: Layout = self.momenta.iter().map(|(name, momentum)| (name.clone(), momentum.dims().to_vec())).collect();
        check_parameters(&layout, &momenta)?;
        for (name, momentum) in &mut self.momenta {
            let array = momenta.remove(name).ok_or_else(|| TrainingError::MissingTensor(name.clone()))?;
            *momentum = array.to_tensor(device)?;
        }
        Ok(())
    }
}

/// The matrix of the same singular vectors, its singular values brought near one.
fn orthogonalised(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let turned = rows > columns;
    let norm = global_norm(&BTreeMap::from([(String::new(), matrix.clone())]))?.max(LEAST_NORM);
    let mut x = combined(1.0 / norm, matrix, 0.0, matrix)?;
    if turned {
        x = x.t()?.contiguous()?;
    }
    let (a, b, c) = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let square = multiply(&x, &x.t()?)?; // (less, less)
        let polynomial = combined(b, &square, c, &multiply(&square, &square)?)?; // (less, less)
        x = combined(a, &x, 1.0, &multiply(&polynomial, &x)?)?; // (less, more)
    }
    if turned { Ok(x.t()?.contiguous()?) } else { Ok(x) }
}

fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if is_fused(a) { product(a, b, None) } else { Ok(a.matmul(b)?) }
}

/// `p a + q b` of equal shapes.
pub(crate) fn combined(p: f64, a: &Tensor, q: f64, b: &Tensor) -> Result<Tensor> {
    if !is_fused(a) {
        return Ok(((a * p)? + (b * q)?)?);
    }
    let (p, q) = (nearest_f32(p), nearest_f32(q));
    map_pairs(a, b, move |a, b| p * a + q * b)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::random::Stream;
    use starling_rounds::recipe::Recipe;

    fn random(rows: usize, columns: usize) -> Tensor {
        let mut values = vec![0.0; rows * columns];
        Stream::new("muon test", 1, &[]).fill_normal(1.0, &mut values);
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("a tensor")
    }

    #[test]
    fn orthogonalised__should_bring_singular_values_near_one_whatever_the_scale() {
        for (rows, columns) in [(6, 6), (4, 9), (9, 4), (1, 5)] {
            for scale in [1e-4, 1.0, 1e4] {
                let x = orthogonalised(&(random(rows, columns) * scale).expect("scaled")).expect("a matrix");
                assert_eq!(x.dims(), [rows, columns]);
                let less = rows.min(columns);
                let x = if rows > columns { x.t().expect("turned") } else { x };
                let square = x.matmul(&x.t().expect("turned")).expect("fits").to_vec2::<f32>().expect("two dimensions");
                let trace: f32 = (0..less).map(|i| square[i][i]).sum::<f32>() / less as f32;
                assert!((0.4..1.6).contains(&trace), "{rows} {columns} {scale}: mean square of singular values {trace}");
            }
        }
        let zeros = orthogonalised(&random(2, 3).zeros_like().expect("zeros")).expect("a matrix");
        assert_eq!(zeros.to_vec2::<f32>().expect("two dimensions"), vec![vec![0.0; 3]; 2]);
    }

    #[test]
    fn muon__should_refuse_what_is_no_matrix_and_missing_gradients() {
        let recipe = Recipe::preset("tiny").expect("valid").optimizer;
        let variables: BTreeMap<String, Var> = [("bias", random(1, 4).squeeze(0)), ("matrix", Ok(random(3, 4)))]
            .map(|(name, tensor)| (name.to_owned(), Var::from_tensor(&tensor.expect("a tensor")).expect("a variable")))
            .into();
        let refusal = Muon::new(&recipe, 0.95, &variables, |_| true).err().expect("refused").to_string();
        assert!(refusal.contains("`bias` of shape [4]"), "{refusal}");
        assert!(Muon::new(&recipe, 1.0, &variables, |name| name == "matrix").is_err());
        let mut muon = Muon::new(&recipe, 0.95, &variables, |name| name == "matrix").expect("at rest");
        let gradients = BTreeMap::from([("bias".to_owned(), random(1, 4).squeeze(0).expect("one row"))]);
        let error = muon.update(&variables, &gradients, 0.1, 1.0).expect_err("no gradient");
        assert_eq!(error.to_string(), "tensor `matrix` is missing");
        assert_eq!(muon.rest().updates(), 0);
        assert!(muon.momenta().expect("readable")["matrix"].values.iter().all(|value| *value == 0.0));
    }
}
