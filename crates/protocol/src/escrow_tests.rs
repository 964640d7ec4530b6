//! Tests of escrow.
