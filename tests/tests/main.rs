//! Real programs against real peers. One binary, a module a subject.

mod agents;
mod alike;
mod arrows;
mod clients;
mod conformance;
mod crash;
mod devices;
mod faults;
mod fsync;
mod gone;
mod host;
mod hostile;
mod oracle;
mod pair;
mod queries;
mod remote_read;
mod rules;
mod scopes;
mod simulator;
mod snmp;
mod store;
mod store_crash;
mod store_formats;
mod store_tools;
mod templates;
mod usm;
