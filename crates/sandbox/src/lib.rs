//! Runs strangers' code on Linux so that it sees, reaches and uses nothing but what was ordered for it.
//!
//! [`check`] says of each thing whether this machine gives it and how to mend what it does not; [`Sandbox::open`] refuses where one is lacking;
//! [`Sandbox::start`] runs one [`Order`].
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

pub use lack::{Check, Lack};
pub use order::{Bind, Ended, Limits, Network, Order, Piece, Reason, SandboxConfig, StartError, Stream};
pub use running::{Peek, Running, Stopper};
pub use sandbox::{Sandbox, check};

/// The account that jobs run as when the node runs as root and its configuration names none.
pub const DEFAULT_USER: &str = "starling-job";
