//! Parts that several screens are made of.

pub(crate) mod chart;
pub(crate) mod hub;
pub(crate) mod icons;
pub(crate) mod line;
pub(crate) mod palette;
pub(crate) mod quote;
pub(crate) mod sign_in;
pub(crate) mod ui;
