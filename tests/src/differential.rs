//! Random PromQL beside a real Prometheus 2.42: what is asked, over which data, what counts as the same answer, and which differences the
//! documented changes of Prometheus 3 explain.
//!
//! In: seeds. Out: series ([`data`]), queries ([`generate`]) as trees that can be printed in the words of either version ([`query`]),
//! answers that can be compared ([`answer`]), and for two answers that differ the smallest part of the query that does, with the rule that
//! explains it, if one does ([`explain`]). `docs/conformance/differential.md` has the rules in words.
//!
//! Deliberately not here: native histograms, experimental functions and whatever else 2.42 does not know. All times of queries and all
//! steps are whole multiples of 30 s, samples lie 7 s past a grid of 15 s, ranges are multiples of 5 s and ranges of subqueries leave
//! 20 s after their steps: no sample ever lies on the left edge of a window, which Prometheus 3 has left open.

pub mod answer;
pub mod data;
pub mod explain;
pub mod generate;
pub mod query;
pub mod random;
