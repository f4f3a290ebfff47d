//! The collector: takes in what agents and others send, keeps it, and answers queries about it.
//!
//! One sample's way through here: [`server`] takes the connection, [`auth`] says who it is, [`ingest`] stamps, checks and hands it
//! to the store ([`storage`]) together with what the [`ledger`] learns, in one journal record; [`api`] and [`web`] read it back
//! through a [`Reader`](auth::Reader), which shows no more than its [`scope`]. [`embedded`] is an agent in the same process.
//! [`run`] starts, reloads and ends all of it; [`cli`] is the command line.

pub mod admin;
pub mod api;
pub mod auth;
pub mod cli;
pub mod cors;
pub mod embedded;
pub mod enrolment;
pub mod external;
pub mod health;
pub mod ingest;
pub mod ledger;
pub mod local;
pub mod metrics;
mod mistake;
pub mod notify;
pub mod outbox;
pub mod queries;
pub mod rules;
pub mod run;
pub mod scope;
pub mod self_series;
pub mod server;
pub mod settings;
pub mod state;
pub mod storage;
pub mod store_tools;
pub mod tls;
pub mod web;
