//! A whole training run in one process and in virtual time: the round protocol that nodes and coordinator run
//! (`starling-rounds`), real training of small models (`starling-training`), and everything that goes wrong.
//!
//! - [`Scenario`]: participants with their speeds and behaviours, lines, absences, crashes; all follows from its seed.
//! - [`simulate`]: runs it. Each participant holds its own copy of the outer state, checks and applies every record and
//!   signs its own root; a difference ends the simulation with an error.
//! - [`Learning`] trains for real, [`Idle`] has sizes only.
//! - [`Outcome`]: rows, tables, JSON; [`plot::svg`] draws them.
//! - [`figures`]: what `docs/PROOF.md` says of it.
//!
//! What is not simulated: money and signatures, lying judges, and two coordinators.

mod attack;
mod chance;
mod clock;
pub mod figures;
mod framing;
mod hub;
mod idle;
mod learning;
mod node;
mod outcome;
pub mod plot;
mod scenario;
pub mod text;
mod work;
mod world;

pub use chance::Chance;
pub use clock::Micros;
pub use framing::Framing;
pub use idle::Idle;
pub use learning::{Learning, PAYLOAD, Reading, TRIGGER};
pub use outcome::{Outcome, Row};
pub use scenario::{Behaviour, Costs, Participant, Scenario};
pub use work::Work;
pub use world::{SimulationError, simulate};
