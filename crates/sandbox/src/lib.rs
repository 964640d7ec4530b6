//! Runs strangers' code on Linux so that it sees, reaches and uses nothing but what was ordered for it.
//!
//! [`Sandbox::open`] looks whether this machine can give all of it and says how to mend what it cannot; [`Sandbox::start`] runs one [`Order`].
//! The unsafe parts are the work of programs that every distribution has: `bwrap`, `setpriv`, `prlimit`, `unshare`, `mount`.

mod account;
mod cell;
mod cgroup;
mod lack;
mod order;
mod outputs;
mod running;
mod sandbox;
mod seccomp;
mod stage;

pub use lack::Lack;
pub use order::{Bind, Ended, Limits, Network, Order, Piece, Reason, SandboxConfig, StartError, Stream};
pub use running::{Running, Stopper};
pub use sandbox::Sandbox;

/// The account that jobs run as when the node runs as root and its configuration names none.
pub const DEFAULT_USER: &str = "starling-job";
