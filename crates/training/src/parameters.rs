//! Named `f32` arrays: what a model's weights are outside of candle, and how they become one flat vector.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::error::{Result, TrainingError};

/// A dense array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many as the product of `shape`.
    pub values: Vec<f32>,
}

/// Arrays sorted by name in byte order, which is the order of every hash, norm and flat vector.
pub type Parameters = BTreeMap<String, Array>;

/// Name and shape of each array, sorted by name.
pub type Layout = Vec<(String, Vec<usize>)>;

impl Array {
    /// Zeros of a shape.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), values: vec![0.0; shape.iter().product()] }
    }

    /// A copy of a tensor, from whichever device it is on.
    ///
    /// # Errors
    /// A tensor that is not `f32`.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        Ok(Self { shape: tensor.dims().to_vec(), values: tensor.flatten_all()?.to_vec1()? })
    }

    /// A copy on a device.
    ///
    /// # Errors
    /// Values that do not fill the shape.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, self.shape.as_slice(), device)?)
    }
}

/// The layout of `parameters`.
#[must_use]
pub fn layout_of(parameters: &Parameters) -> Layout {
    parameters.iter().map(|(name, array)| (name.clone(), array.shape.clone())).collect()
}

/// All values in the order of names.
#[must_use]
pub fn flatten(parameters: &Parameters) -> Vec<f32> {
    let mut flat = Vec::with_capacity(parameters.values().map(|array| array.values.len()).sum());
    for array in parameters.values() {
        flat.extend_from_slice(&array.values);
    }
    flat
}

/// The reverse of [`flatten`] for a given layout.
///
/// # Errors
/// [`TrainingError::BadRequest`] where `flat` has another length than the layout.
pub fn unflatten(layout: &Layout, flat: &[f32]) -> Result<Parameters> {
    let needed: usize = layout.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    if flat.len() != needed {
        return Err(TrainingError::BadRequest(format!("{} values given, the model has {needed}", flat.len())));
    }
    let mut rest = flat;
    let mut parameters = Parameters::new();
    for (name, shape) in layout {
        let (values, after) = rest.split_at(shape.iter().product());
        parameters.insert(name.clone(), Array { shape: shape.clone(), values: values.to_vec() });
        rest = after;
    }
    Ok(parameters)
}

/// Checks that `parameters` are exactly those of `layout`, and finite.
///
/// # Errors
/// The first of [`TrainingError::UnknownTensor`], [`TrainingError::MissingTensor`], [`TrainingError::WrongShape`],
/// [`TrainingError::NotFinite`].
pub fn check_parameters(layout: &Layout, parameters: &Parameters) -> Result<()> {
    if let Some(name) = parameters.keys().find(|name| !layout.iter().any(|(known, _)| known == *name)) {
        return Err(TrainingError::UnknownTensor(name.clone()));
    }
    for (name, shape) in layout {
        let array = parameters.get(name).ok_or_else(|| TrainingError::MissingTensor(name.clone()))?;
        if array.shape != *shape || array.values.len() != shape.iter().product::<usize>() {
            return Err(TrainingError::WrongShape { name: name.clone(), expected: shape.clone(), found: array.shape.clone() });
        }
        if !array.values.iter().all(|value| value.is_finite()) {
            return Err(TrainingError::NotFinite(name.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn sample() -> Parameters {
        let array = |shape: &[usize], first: u8| {
            let count: usize = shape.iter().product();
            Array { shape: shape.to_vec(), values: (0..count).map(|i| f32::from(first) + i as f32).collect() }
        };
        [("b".to_owned(), array(&[2], 10)), ("a".to_owned(), array(&[2, 3], 0))].into()
    }

    #[test]
    fn flatten__should_follow_names_and_be_reversible() {
        let parameters = sample();
        let flat = flatten(&parameters);
        assert_eq!(flat, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 11.0]);
        assert_eq!(unflatten(&layout_of(&parameters), &flat).expect("fits"), parameters);
        assert!(unflatten(&layout_of(&parameters), &flat[1..]).is_err());
    }

    #[test]
    fn check_parameters__should_name_the_tensor_at_fault() {
        let layout = layout_of(&sample());
        let refusal = |change: fn(&mut Parameters)| {
            let mut parameters = sample();
            change(&mut parameters);
            check_parameters(&layout, &parameters).expect_err("must be refused").to_string()
        };
        assert!(check_parameters(&layout, &sample()).is_ok());
        assert_eq!(refusal(|p| drop(p.remove("a"))), "tensor `a` is missing");
        assert!(refusal(|p| drop(p.insert("c".to_owned(), Array::zeros(&[1])))).contains("`c` does not belong"));
        assert!(refusal(|p| drop(p.insert("b".to_owned(), Array::zeros(&[3])))).contains("shape [3], the model needs [2]"));
        assert!(refusal(|p| p.get_mut("b").expect("there").values[1] = f32::NAN).contains("`b` holds a value"));
    }
}
