//! The recipe's inner optimizer, whichever it is.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::error::Result;
use crate::model::Model;
use crate::muon::Muon;
use crate::optim::AdamW;
use crate::parameters::{Layout, Parameters, check_parameters};
use starling_rounds::recipe::{OptimizerKind, OptimizerRecipe};

/// One of the inner optimizers with its state.
pub enum Optimizer {
    /// AdamW for everything.
    AdamW(AdamW),
    /// Muon for the hidden layers' matrices, AdamW for the rest.
    Muon(Muon),
}

/// What an optimizer remembers, by the names of the variables.
pub(super) struct Moments {
    pub(super) updates: u64,
    pub(super) firsts: Parameters,
    pub(super) seconds: Parameters,
    /// Muon's, of the matrices that it moves.
    pub(super) momenta: Parameters,
}

impl Optimizer {
    /// The recipe's optimizer at rest.
    ///
    /// # Errors
    /// As [`Muon::new`].
    pub fn new(recipe: &OptimizerRecipe, model: &Model) -> Result<Self> {
        let variables = model.weights().variables();
        Ok(match recipe.method {
            OptimizerKind::Adamw => Self::AdamW(AdamW::new(recipe, variables)?),
            OptimizerKind::Muon { momentum } => Self::Muon(Muon::new(recipe, momentum, variables, |name| model.is_hidden_matrix(name))?),
        })
    }

    /// One update of every variable by its gradient times `gradient_scale`.
    ///
    /// # Errors
    /// [`crate::TrainingError::MissingTensor`] for a variable without a gradient, before anything has changed.
    pub fn update(
        &mut self,
        variables: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        learning_rate: f64,
        gradient_scale: f64,
    ) -> Result<()> {
        match self {
            Self::AdamW(adamw) => adamw.update(variables, gradients, learning_rate, gradient_scale),
            Self::Muon(muon) => muon.update(variables, gradients, learning_rate, gradient_scale),
        }
    }

    pub(super) fn moments(&self, variables: &BTreeMap<String, Var>) -> Result<Moments> {
        let (adamw, momenta) = match self {
            Self::AdamW(adamw) => (adamw, Parameters::new()),
            Self::Muon(muon) => (muon.rest(), muon.momenta()?),
        };
        let (firsts, seconds) = adamw.moments(variables)?;
        Ok(Moments { updates: adamw.updates(), firsts, seconds, momenta })
    }

    /// Puts back what [`Optimizer::moments`] gave.
    pub(super) fn restore(&mut self, moments: Moments, variables: &BTreeMap<String, Var>, device: &Device) -> Result<()> {
        let Moments { updates, firsts, seconds, momenta } = moments;
        let moved: Vec<String> = match self {
            Self::AdamW(_) => Vec::new(),
            Self::Muon(muon) => muon.momenta()?.into_keys().collect(),
        };
        let rest = variables.iter().filter(|(name, _)| !moved.contains(name));
        let layout: Layout = rest.map(|(name, variable)| (name.clone(), variable.dims().to_vec())).collect();
        check_parameters(&layout, &firsts)?;
        check_parameters(&layout, &seconds)?;
        match self {
            Self::AdamW(adamw) => {
                check_parameters(&Layout::new(), &momenta)?;
                adamw.restore(updates, firsts, seconds, device)
            }
            Self::Muon(muon) => {
                muon.restore(momenta, device)?;
                muon.rest_mut().restore(updates, firsts, seconds, device)
            }
        }
    }
}
