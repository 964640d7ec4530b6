//! Where an error becomes a panic: the transaction fails, nothing has changed, and the attached deposit goes back.

use near_sdk::env;
use std::fmt::Display;

/// Takes the value or panics with the error's own words.
pub trait OrPanic<T> {
    /// The value; a panic with the error's text if there is none.
    fn or_panic(self) -> T;

    /// The value; a panic with `message` if there is none.
    fn or_panic_with(self, message: &str) -> T;
}

impl<T, E: Display> OrPanic<T> for Result<T, E> {
    fn or_panic(self) -> T {
        self.unwrap_or_else(|error| env::panic_str(&error.to_string()))
    }

    fn or_panic_with(self, message: &str) -> T {
        self.unwrap_or_else(|_| env::panic_str(message))
    }
}

impl<T> OrPanic<T> for Option<T> {
    fn or_panic(self) -> T {
        self.or_panic_with("there is no such record")
    }

    fn or_panic_with(self, message: &str) -> T {
        self.unwrap_or_else(|| env::panic_str(message))
    }
}

/// Panics with `message` unless the condition holds.
pub fn require(condition: bool, message: &str) {
    if !condition {
        env::panic_str(message);
    }
}
