//! `market`: research tools and data sets. The same methods as `hub`, for other kinds of listing.

pub use crate::hub::{Config, Licence, Listings, PublishArgs};
