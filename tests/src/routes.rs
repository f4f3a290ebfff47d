//! Every route of the collector: the one list that tests of who may ask what walk through.
//!
//! `tests/tests/hostile.rs` checks that it is whole, against the collector's sources.

use crate::writer;

/// Who a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Probes without credentials.
    Everyone,
    /// Readers, and on an open listener everybody on the machine.
    Readers,
    /// Enrolled agents.
    Agents,
    /// Readers with `admin: true`, where the settings open the admin API.
    Administrators,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Such as `GET`.
    pub method: &'static str,
    /// The path as the program has it, or the constant that names it there.
    pub name: &'static str,
    /// What to ask: a path with what it needs, which answers 2xx to whom it is for.
    pub ask: &'static str,
    /// Who may.
    pub whom: For,
}

impl Route {
    /// Headers of a request, its body's kind.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        if self.whom == For::Agents || self.name == READ { &writer::HEADERS } else { &[] }
    }

    /// A body that may be sent; agents' routes need samples instead.
    pub fn body(&self) -> Vec<u8> {
        if self.name == READ { writer::packed(&READ_EVERYTHING) } else { Vec::new() }
    }
}

const fn route(method: &'static str, name: &'static str, ask: &'static str, whom: For) -> Route {
    Route { method, name, ask, whom }
}

const READ: &str = "/api/v1/read";

/// A request of remote read: every series (`__name__ =~ ".+"`), from the beginning to the end of 2100.
const READ_EVERYTHING: [u8; 31] = [
    10, 25, // a query
    16, 255, 175, 143, 230, 178, 119, // its end
    26, 16, // a condition
    8, 2, 18, 8, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 26, 2, b'.', b'+', //
    18, 2, 1, 0, // frames, or samples: in frames texts stand as they are
];

/// Every route.
pub const ROUTES: [Route; 50] = [
    route("GET", "/", "/", For::Readers),
    route("GET", "/-/healthy", "/-/healthy", For::Everyone),
    route("GET", "/-/ready", "/-/ready", For::Everyone),
    route("GET", "/metrics", "/metrics", For::Readers),
    route("GET", "/federate", "/federate?match[]=up", For::Readers),
    route("POST", "/api/v1/write", "/api/v1/write", For::Agents),
    route("GET", "/api/v1/query", "/api/v1/query?query=up", For::Readers),
    route("POST", "/api/v1/query", "/api/v1/query?query=up", For::Readers),
    route("GET", "/api/v1/query_range", "/api/v1/query_range?query=up&start=1&end=2&step=1", For::Readers),
    route("POST", "/api/v1/query_range", "/api/v1/query_range?query=up&start=1&end=2&step=1", For::Readers),
    route("GET", "/api/v1/query_exemplars", "/api/v1/query_exemplars?query=up&start=1&end=2", For::Readers),
    route("POST", "/api/v1/query_exemplars", "/api/v1/query_exemplars?query=up&start=1&end=2", For::Readers),
    route("GET", "/api/v1/labels", "/api/v1/labels", For::Readers),
    route("POST", "/api/v1/labels", "/api/v1/labels", For::Readers),
    route("GET", "/api/v1/label/{name}/values", "/api/v1/label/job/values", For::Readers),
    route("POST", "/api/v1/label/{name}/values", "/api/v1/label/job/values", For::Readers),
    route("GET", "/api/v1/series", "/api/v1/series?match[]=up", For::Readers),
    route("POST", "/api/v1/series", "/api/v1/series?match[]=up", For::Readers),
    route("GET", "/api/v1/metadata", "/api/v1/metadata", For::Readers),
    route("GET", "/api/v1/rules", "/api/v1/rules", For::Readers),
    route("GET", "/api/v1/alerts", "/api/v1/alerts", For::Readers),
    route("GET", "/api/v1/alertmanagers", "/api/v1/alertmanagers", For::Readers),
    route("GET", "/api/v1/notifications", "/api/v1/notifications", For::Readers),
    route("GET", "/api/v1/features", "/api/v1/features", For::Readers),
    route("GET", "/api/v1/status/buildinfo", "/api/v1/status/buildinfo", For::Readers),
    route("GET", "/api/v1/format_query", "/api/v1/format_query?query=up", For::Readers),
    route("POST", "/api/v1/format_query", "/api/v1/format_query?query=up", For::Readers),
    route("GET", "/api/v1/parse_query", "/api/v1/parse_query?query=up", For::Readers),
    route("POST", "/api/v1/parse_query", "/api/v1/parse_query?query=up", For::Readers),
    route("GET", "/api/v1/status/config", "/api/v1/status/config", For::Readers),
    route("GET", "/api/v1/status/flags", "/api/v1/status/flags", For::Readers),
    route("GET", "/api/v1/status/runtimeinfo", "/api/v1/status/runtimeinfo", For::Readers),
    route("GET", "/api/v1/status/tsdb/blocks", "/api/v1/status/tsdb/blocks", For::Readers),
    route("GET", "/api/v1/status/walreplay", "/api/v1/status/walreplay", For::Readers),
    route("GET", "/api/v1/status/tsdb", "/api/v1/status/tsdb", For::Readers),
    route("POST", "/api/v1/admin/tsdb/delete_series", DELETE, For::Administrators),
    route("PUT", "/api/v1/admin/tsdb/delete_series", DELETE, For::Administrators),
    route(
        "POST",
        "/api/v1/admin/tsdb/clean_tombstones",
        "/api/v1/admin/tsdb/clean_tombstones",
        For::Administrators,
    ),
    route(
        "PUT",
        "/api/v1/admin/tsdb/clean_tombstones",
        "/api/v1/admin/tsdb/clean_tombstones",
        For::Administrators,
    ),
    route("POST", "/api/v1/admin/tsdb/snapshot", "/api/v1/admin/tsdb/snapshot", For::Administrators),
    route("PUT", "/api/v1/admin/tsdb/snapshot", "/api/v1/admin/tsdb/snapshot", For::Administrators),
    route("GET", "AGENTS", "/api/v1/pantau/agents", For::Readers),
    route("GET", "GAPS", "/api/v1/pantau/gaps", For::Readers),
    route("POST", "/api/v1/read", "/api/v1/read", For::Readers),
    route("GET", "/api/v1/status/active_queries", "/api/v1/status/active_queries", For::Readers),
    route(
        "POST",
        "/api/v1/status/active_queries/kill",
        "/api/v1/status/active_queries/kill?id=1",
        For::Readers,
    ),
    route("GET", "/api/v1/targets", "/api/v1/targets", For::Readers),
    route("GET", "/api/v1/targets/metadata", "/api/v1/targets/metadata", For::Readers),
    route("GET", "/api/v1/scrape_pools", "/api/v1/scrape_pools", For::Readers),
    route("GET", "/sd/http", "/sd/http", For::Readers),
];

/// What is deleted when an administrator may: nothing that is there.
const DELETE: &str = "/api/v1/admin/tsdb/delete_series?match[]=nobody_writes_this";
