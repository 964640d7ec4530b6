//! The coordinator: carries messages between tenants and nodes, keeps artifacts, and holds no key that moves money.
//!
//! `config -> db -> chain (observe, write facts) -> runs, leases (pure: facts and events -> intents) -> compute (rounds, here or by a program that stands by) -> engine (execute, idempotent) -> http (read, enqueue)`.
//! The chain is the truth. What must happen once on chain goes through the outbox.

pub mod artifacts;
pub mod auth;
pub mod board;
pub mod chain;
pub mod clock;
pub mod compute;
pub mod config;
pub mod db;
pub mod engine;
pub mod http;
pub mod hub;
pub mod lead;
pub mod leases;
pub mod outbox;
pub mod problem;
pub mod runs;
pub mod secret;
pub mod service;
pub mod sponsor;
pub mod streams;
pub mod vesting;
