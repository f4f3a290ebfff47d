//! What the input says of its own work, beside what a device's profile gives. `snmp_scrape_*` are snmp_exporter's names.

use model::MetricKind;

use crate::series::Family;

/// Series of the input itself that find room in a device's table although its profile has filled it: what went wrong is said all the same.
pub(super) const ROOM: usize = 256;

macro_rules! own {
    ($($item:ident $kind:ident $name:literal $help:literal [$($label:literal),*];)*) => {
        $(pub(super) static $item: Family =
            Family { name: $name, help: $help, kind: MetricKind::$kind, labels: &[$($label),*] };)*

        /// All of them, for the page that lists them.
        #[cfg(test)]
        pub(super) fn families() -> impl Iterator<Item = &'static Family> {
            [$(&$item),*].into_iter()
        }
    };
}

own! {
    UP Gauge "up" "1 if the device answered, 0 if not." [];
    DURATION Gauge "snmp_scrape_duration_seconds" "How long the round took." [];
    WALK_DURATION Gauge "snmp_scrape_walk_duration_seconds"
        "How long asking took: module `system` asks for scalars, `if_mib` for all tables that are due." ["module"];
    PACKETS_SENT Gauge "snmp_scrape_packets_sent" "Packets sent in this round, retries included." ["module"];
    PACKETS_RETRIED Gauge "snmp_scrape_packets_retried" "Packets sent again in this round." ["module"];
    PDUS_RETURNED Gauge "snmp_scrape_pdus_returned" "Values that came back in this round." ["module"];
    PROFILE Gauge "pantau_snmp_profile_info" "Which profile the device is read by." ["profile"];
    WALK_COMPLETE Gauge "pantau_snmp_walk_complete" "1 if the table was read to its end when it was last asked for, 0 if not."
        ["table"];
    WALKS_ENDED_EARLY Counter "pantau_snmp_walks_ended_early_total" "Walks that did not reach their table's end, by reason."
        ["table", "reason"];
    VALUES_REFUSED Counter "pantau_snmp_values_refused_total"
        "Values that no sample was made of, by metric and reason: the device's marker for no value, a text without a number, a unit that nothing tells."
        ["metric", "reason"];
    LAST_POLL Gauge "snmp_table_last_poll_timestamp_seconds"
        "When a table that is asked for more rarely than every four minutes was last read; its values are said again until the next time."
        ["table"];
    DEVICE_LAST_POLL Gauge "snmp_device_last_poll_timestamp_seconds"
        "When a device whose interval is longer than four minutes was last asked; all its values are said again until the next time." [];
    DISCONTINUITY Gauge "snmp_discontinuity_timestamp_seconds"
        "Time of the first samples after something happened to the device: restart (its counters began anew; a restart of its SNMP agent alone looks alike), uptime_wrap (sysUpTime turned over after 497 days, counters go on), replacement (another kind of device answers). No series for what was not seen since the agent began to watch."
        ["kind"];
    INTERFACE_DISCONTINUITY Gauge "snmp_interface_discontinuity_timestamp_seconds"
        "Time of the first samples after something happened to an interface's counters while the device went on: counter_wrap (32 bits, where no 64-bit counters answer), counter_reset (they fell), reported (ifCounterDiscontinuityTime changed), renumbering (it has another ifIndex than before; its series keep their labels). Values are stored as the device gives them."
        ["ifIndex", "ifName", "ifAlias", "ifDescr", "kind"];
    DISCONTINUITIES Counter "pantau_snmp_discontinuities_total"
        "What happened to a device and its interfaces, by kind as in the two metrics of discontinuities." ["kind"];
    DEVICE_TIMEOUTS Counter "pantau_snmp_device_timeouts_total" "Requests to the device that were given up, retries included." [];
    DEVICE_BYTES Counter "pantau_snmp_device_bytes_total"
        "Bytes of UDP payload to (sent) and from (received) the device; received without what did not count." ["direction"];
    JOBS_TAKEN Counter "pantau_snmp_jobs_total" "Rounds, or parts of rounds, that the engine was given." [];
    JOBS_WAITED Counter "pantau_snmp_jobs_waited_total" "Of these, how many had to wait because the engine was full." [];
    REQUESTS Counter "pantau_snmp_requests_total" "Requests to all devices, retries not counted." [];
    RETRIES Counter "pantau_snmp_retries_total" "Requests sent again for want of a reply." [];
    TIMEOUTS Counter "pantau_snmp_timeouts_total" "Requests that were given up." [];
    REPLIES Counter "pantau_snmp_replies_total" "Replies that answered a request." [];
    DATAGRAMS Counter "pantau_snmp_datagrams_total" "UDP datagrams to (sent) and from (received) devices." ["direction"];
    BYTES Counter "pantau_snmp_bytes_total" "Bytes of UDP payload to (sent) and from (received) devices." ["direction"];
    SOCKET_CALLS Counter "pantau_snmp_socket_calls_total" "System calls that moved datagrams, up to 64 each." ["direction"];
    SOCKET_ERRORS Counter "pantau_snmp_socket_errors_total" "System calls that failed." ["direction"];
    KERNEL_DROPS Counter "pantau_snmp_kernel_drops_total"
        "Datagrams that the kernel dropped because a socket's receive buffer was full." [];
    IGNORED Counter "pantau_snmp_ignored_datagrams_total"
        "Datagrams that came and did not count: late (the request had been given up), duplicate, or garbage by what is wrong with it."
        ["reason"];
    REFUSALS Counter "pantau_snmp_refusals_total" "SNMPv3: reports that refuse." [];
    RESYNCHRONISED Counter "pantau_snmp_resynchronised_total"
        "SNMPv3: requests sent again because an engine id or its clock was learned." [];
    WAITS Counter "pantau_snmp_waits_total"
        "Requests that waited for their turn, by what for: another request to the same device, the site's bound, room in the receive buffer (socket), the bound of all (engine), a rate."
        ["limit"];
    WAITED Counter "pantau_snmp_waited_seconds_total" "How long all of them waited together." [];
    TABLES_PARKED Counter "pantau_snmp_tables_parked_total" "Tables that were left alone because they did not answer." [];
    TABLES_PARKED_NOW Gauge "pantau_snmp_tables_parked" "Tables that are left alone now." [];
    ENGINE_IDS_SHARED Counter "pantau_snmp_engine_ids_shared_total" "SNMPv3: rounds of devices whose engine id another device has too." [];
    JOBS_NOW Gauge "pantau_snmp_jobs" "Rounds, or parts of rounds, under way." [];
    JOBS_WAITING_NOW Gauge "pantau_snmp_jobs_waiting" "Those that wait because the engine is full." [];
    IN_FLIGHT_NOW Gauge "pantau_snmp_requests_in_flight" "Requests that wait for their reply." [];
    REQUESTS_WAITING_NOW Gauge "pantau_snmp_requests_waiting" "Requests that wait for a limit." [];
    DEVICES_NOW Gauge "pantau_snmp_devices" "Devices that the engine knows." [];
    DEVICES_SILENT_NOW Gauge "pantau_snmp_devices_silent" "Of these, devices that did not answer in their last round." [];
    SLOWEST Gauge "pantau_snmp_slowest_device_seconds"
        "The ten devices that took longest to answer all questions of their last round, and how long; waiting for their turn is not counted, silent devices are not among them."
        ["device"];
    DUPLICATE Gauge "pantau_snmp_duplicate_device_info"
        "Two devices of the settings that look like one, by their address or their SNMPv3 engine_id." ["device", "also", "by"];
    INTERFACES_NOT_REMEMBERED Counter "pantau_snmp_interfaces_not_remembered_total"
        "Interfaces that took their current index because there was no room to remember their first." [];
    INTERFACES_LEFT_OUT Gauge "pantau_snmp_interfaces_left_out"
        "Interfaces whose name is excluded by the settings: counted, not read into series." [];
}
