//! Real programs against real peers. One binary, a module a subject.

mod agents;
mod arrows;
mod clients;
mod crash;
mod fsync;
mod host;
mod hostile;
mod simulator;
mod usm;
