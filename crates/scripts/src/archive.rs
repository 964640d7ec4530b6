//! Readers of archives, into memory and within limits: no path of theirs is ever opened.

pub(crate) mod gzip;
pub(crate) mod tar;
pub(crate) mod zip;
