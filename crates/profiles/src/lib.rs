//! Device profiles: YAML text in, a plan of what to ask and samples out.
//!
//! A device family is one YAML file (`configs/profiles/*.yaml`, embedded; an override folder's files come as text). [`Set`] reads and
//! checks them and picks the most specific one for a device; [`Profile::plan`] says what to ask; an [`Evaluator`] per device turns
//! what was answered into values of series.
//!
//! In: texts, an identity, cells of tables as an agent gave them. Out: a plan, series with labels, values, and the reason for every
//! value that is withheld: a null marker, an encoding that no case explains, a text that is no number never become a sample.
//!
//! Not here: the network, files, a clock, intervals (the caller asks when the plan's budget allows), memory of first indices (the
//! [`Sink`] is asked for it), MIBs.
//!
//! Limits: [`limits`] has a number for everything that a file or a device can bring.

mod compile;
mod condition;
mod error;
mod evaluator;
mod format;
pub mod limits;
mod profile;
mod recorded;
mod resolve;
mod set;
mod text;
mod trial;
mod units;

pub use error::ProfileError;
pub use evaluator::{Evaluator, Handle, Outcome, Readings, Reason, Sink};
pub use profile::{Budget, Class, Family, Plan, Profile, ScalarPlan, TablePlan};
pub use recorded::{Recorded, RecordedError};
pub use set::{Choice, Identity, Set};
pub use trial::{Sample, Samples};
