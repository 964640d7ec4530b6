//! What strangers meet: an API that keeps to its document, and a road to the first payment from behind a router.

use anyhow::Result;

use super::{Figure, coordinator::system_test};
use crate::python;

/// Seconds of questions.
const API_SECONDS: u32 = 300;

pub(super) fn api() -> Result<Vec<Figure>> {
    python::install(python::SCHEMATHESIS)?;
    let mut figures = vec![Figure::new("asked by", python::SCHEMATHESIS)];
    figures.extend(system_test("api__", &[("STARLING_API_SECONDS", API_SECONDS.to_string())])?);
    Ok(figures)
}

pub(super) fn nat() -> Result<Vec<Figure>> {
    system_test("nat__", &[])
}
