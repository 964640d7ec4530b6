//! Request and response types and paths of the coordinator. The same types serve coordinator, node, command line and dashboard.

pub mod artifact;
pub mod audit;
pub mod job;
pub mod lease;
pub mod login;
pub mod machine;
pub mod network;
pub mod node;
pub mod path;
pub mod problem;
pub mod run;
pub mod sponsor;
