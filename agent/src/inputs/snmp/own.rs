//! What the input says of its own work, beside what a device's profile gives. `snmp_scrape_*` are snmp_exporter's names.

use model::MetricKind;

use crate::series::Family;

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
        "When the device was last seen to have restarted: its counters began anew." [];
    INTERFACES_LEFT_OUT Gauge "pantau_snmp_interfaces_left_out"
        "Interfaces whose name is excluded by the settings: counted, not read into series." [];
}
