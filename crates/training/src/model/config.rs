//! Reading `config.json` as `transformers` writes it.

use serde_json::{Map, Value};

use crate::error::{Result, TrainingError};

/// The fields of a `config.json`.
pub(super) struct Config(Map<String, Value>);

impl Config {
    /// Reads the file and checks that it describes a model of `model_type`.
    pub(super) fn read(text: &str, model_type: &str) -> Result<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
            return Err(TrainingError::BadConfig("it is not a JSON object".to_owned()));
        };
        let config = Self(fields);
        config.expect("model_type", &Value::from(model_type))?;
        Ok(config)
    }

    /// A whole number from 1 to 2^31, or `default` where the field is absent or null.
    pub(super) fn number(&self, field: &str, default: Option<u32>) -> Result<u32> {
        let given = self.0.get(field).filter(|value| !value.is_null());
        let number = match given {
            Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| (1..1 << 31).contains(number)),
            None => default,
        };
        let found = || given.map_or("absent".to_owned(), Value::to_string);
        number.ok_or_else(|| TrainingError::BadConfig(format!("`{field}` is {}, but must be a whole number from 1", found())))
    }

    /// A number above 0.
    pub(super) fn positive(&self, field: &str) -> Result<f64> {
        let given = self.0.get(field);
        let number = given.and_then(Value::as_f64).filter(|number| *number > 0.0 && number.is_finite());
        let found = || given.map_or("absent".to_owned(), Value::to_string);
        number.ok_or_else(|| TrainingError::BadConfig(format!("`{field}` is {}, but must be a number above 0", found())))
    }

    /// A list of whole numbers from 1 to 2^16, at most 64 of them.
    pub(super) fn numbers(&self, field: &str) -> Result<Vec<u32>> {
        let list = self.get(field).and_then(Value::as_array).filter(|list| list.len() <= 64);
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=1 << 16).contains(n));
        let numbers = list.and_then(|list| list.iter().map(number).collect());
        numbers.ok_or_else(|| TrainingError::BadConfig(format!("`{field}` must be a list of at most 64 numbers from 1 to 65536")))
    }

    /// The base of rotary positions, where older and newer files have it; no scaling is supported.
    pub(super) fn rope_theta(&self) -> Result<f64> {
        let Some(Value::Object(parameters)) = self.get("rope_parameters").or_else(|| self.get("rope_scaling")) else {
            return self.positive("rope_theta");
        };
        let parameters = Self(parameters.clone());
        parameters.expect("rope_type", &Value::from("default"))?;
        if parameters.get("rope_theta").is_some() { parameters.positive("rope_theta") } else { self.positive("rope_theta") }
    }

    /// The number of classes of a classifier: two where the file does not say.
    pub(super) fn labels(&self) -> Result<u32> {
        match self.get("id2label").and_then(Value::as_object) {
            Some(labels) => u32::try_from(labels.len()).map_err(|_| TrainingError::BadConfig("`id2label` is too long".to_owned())),
            None => self.number("num_labels", Some(2)),
        }
    }

    /// A field as it is; none where it is absent or null.
    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A truth, or `default` where the field is absent.
    pub(super) fn flag(&self, field: &str, default: bool) -> bool {
        self.0.get(field).and_then(Value::as_bool).unwrap_or(default)
    }

    /// Refuses a model that computes something else than ours: an absent field means `expected`.
    pub(super) fn expect(&self, field: &str, expected: &Value) -> Result<()> {
        match self.get(field) {
            Some(found) if found != expected => {
                Err(TrainingError::BadConfig(format!("`{field}` is {found}; only {expected} is supported")))
            }
            _ => Ok(()),
        }
    }
}
