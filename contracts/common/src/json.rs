//! JSON as the contracts read and write it: an error ends the call.

use crate::env;
use serde::{
    Serialize,
    de::{DeserializeOwned, Expected, Unexpected},
};
use starling_json::{Fault, Unreadable};
use std::fmt;

/// An error of JSON. There is no value of it: the call has ended with its words.
#[derive(Debug)]
pub enum Fatal {}

/// Reads a value, or ends the call.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fatal> {
    starling_json::read(bytes)
}

/// Reads a value from text, or ends the call.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Fatal> {
    from_slice(text.as_bytes())
}

/// Writes a value.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Fatal> {
    starling_json::write(value).map(String::into_bytes)
}

/// Writes a value as text.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> String {
    let Ok(text) = starling_json::write::<T, Fatal>(value);
    text
}

/// Reads what another contract answered; nothing if it is something else.
pub(crate) fn answer<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    starling_json::read::<T, Unreadable>(bytes).ok()
}

#[cold]
fn end(why: &dyn fmt::Display) -> ! {
    env::panic_str(&format!("the JSON does not fit: {why}"))
}

#[cold]
fn end_at(what: &str, name: &str) -> ! {
    end(&format_args!("{what} `{name}`"))
}

impl fmt::Display for Fatal {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Fatal {}

impl Fault for Fatal {
    fn at(wanted: &'static str, position: usize) -> Self {
        end(&format_args!("expected {wanted} at byte {position}"))
    }
}

impl serde::ser::Error for Fatal {
    fn custom<T: fmt::Display>(why: T) -> Self {
        end(&why)
    }
}

/// The texts leave out what serde would add of types and values: to print any of them costs 20 kB of code.
impl serde::de::Error for Fatal {
    fn custom<T: fmt::Display>(why: T) -> Self {
        end(&why)
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        end(&"a value is of the wrong kind")
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        end(&"a number is out of its range")
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        end(&"a list has the wrong length")
    }

    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        end_at("unknown variant", variant)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        end_at("unknown field", field)
    }

    fn missing_field(field: &'static str) -> Self {
        end_at("missing field", field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        end_at("duplicate field", field)
    }
}
