//! What the boards show. `SCOPE` in an expression is the chosen regions and sites, `HERE` is that and, where the board lets choose them,
//! the instances.
//!
//! A number that counts what is bad is 0 only where something is known (`or 0 * count(...)`): nothing at all shown as a green 0 would be a lie.
//!
//! Thresholds are those of the rule packs (`configs/rules/`). Only metrics that the agents, profiles and the collector really have.

pub(super) struct Board {
    /// Fixed for ever: links lead to it. Also the file's name.
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) says: &'static str,
    /// The metric whose labels the variables list.
    pub(super) metric: &'static str,
    /// Whether there is a variable for instances.
    pub(super) instance: bool,
    /// The least interval of a panel: that at which the data comes.
    pub(super) interval: &'static str,
    pub(super) panels: &'static [Panel],
}

pub(super) struct Panel {
    pub(super) kind: Kind,
    pub(super) title: &'static str,
    pub(super) says: &'static str,
    pub(super) unit: &'static str,
    /// Columns of 24.
    pub(super) wide: u32,
    pub(super) queries: &'static [Query],
    /// From which value on which colour; leading up to green where little is bad.
    pub(super) steps: &'static [(&'static str, f64)],
    /// Words for values that are codes.
    pub(super) words: &'static [(&'static str, &'static str)],
    /// The boards with the details (their uid), where a click leads: on the instance in tables.
    pub(super) details: &'static [&'static str],
}

impl Panel {
    const fn wide(self, wide: u32) -> Self {
        Self { wide, ..self }
    }

    const fn words(self, words: &'static [(&'static str, &'static str)]) -> Self {
        Self { words, ..self }
    }

    const fn details(self, details: &'static [&'static str]) -> Self {
        Self { details, ..self }
    }
}

/// The legend and the expression.
pub(super) struct Query(pub(super) &'static str, pub(super) &'static str);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number a series, now.
    Number,
    /// Lines over time.
    Lines,
    /// A table of what is now.
    Table,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Number => "stat",
            Self::Lines => "timeseries",
            Self::Table => "table",
        }
    }
}

type Texts = (&'static str, &'static str, &'static str);
type Steps = &'static [(&'static str, f64)];
type Queries = &'static [Query];

const fn number(texts: Texts, steps: Steps, queries: Queries) -> Panel {
    panel(Kind::Number, 3, texts, steps, queries)
}

const fn table(texts: Texts, steps: Steps, queries: Queries) -> Panel {
    panel(Kind::Table, 12, texts, steps, queries)
}

const fn lines(texts: Texts, queries: Queries) -> Panel {
    panel(Kind::Lines, 12, texts, &[], queries)
}

const fn panel(kind: Kind, wide: u32, (title, unit, says): Texts, steps: Steps, queries: Queries) -> Panel {
    Panel { kind, title, says, unit, wide, queries, steps, words: &[], details: &[] }
}

/// What is no disk, or an image that is always full; as in the rules.
macro_rules! no_disk {
    () => {
        r#"fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660|udf|erofs|cramfs""#
    };
}

const TO_NETWORK: &[&str] = &["pantau-network"];
const TO_HOSTS: &[&str] = &["pantau-hosts"];
const TO_OPTICS: &[&str] = &["pantau-optics"];
const TO_UPS: &[&str] = &["pantau-ups"];
const TO_AGENTS: &[&str] = &["pantau-agents"];
const TO_ANY: &[&str] = &["pantau-network", "pantau-hosts", "pantau-ups"];

/// What the values of `ifOperStatus` mean.
const STATES: &[(&str, &str)] = &[
    ("2", "down"),
    ("3", "testing"),
    ("4", "unknown"),
    ("5", "dormant"),
    ("6", "not present"),
    ("7", "lower layer down"),
];

/// Whatever is in the table is bad, at 0 too.
const LISTED: Steps = &[("red", 0.0)];
const LISTED_UNKNOWN: Steps = &[("orange", 0.0)];
const ANY: Steps = &[("red", 1.0)];
const MARGIN: Steps = &[("orange", 1.0), ("green", 3.0)];
const SATURATED: Steps = &[("orange", 0.8), ("red", 0.95)];

pub(super) const BOARDS: &[Board] = &[TROUBLE, HOSTS, NETWORK, OPTICS, UPS, AGENTS, PANTAU];

const TROUBLE: Board = Board {
    uid: "pantau-trouble",
    title: "Pantau: trouble first",
    says: "What is down, about to fail or full, the worst first. An empty table is good news, if the agents are connected.",
    metric: "up",
    instance: false,
    interval: "60s",
    panels: &[
        number(
            ("Targets down", "short", "Targets that did not answer when they were last asked."),
            ANY,
            &[Query("down", "count(up{SCOPE} == 0) or 0 * count(up{SCOPE})")],
        )
        .details(TO_NETWORK),
        number(
            ("Targets unknown", "short", UNKNOWN_SAYS),
            ANY,
            &[Query("unknown", "count((up{SCOPE} offset 1h or up{SCOPE} offset 6h or up{SCOPE} offset 1d) unless up{SCOPE}) or 0 * count(up{SCOPE})")],
        )
        .details(TO_AGENTS),
        number(
            (
                "Agents silent",
                "short",
                "Agents that sent nothing for two intervals. What they watch is unknown, not well.",
            ),
            ANY,
            &[Query(
                "silent",
                "count(pantau_agent_connected{SCOPE} == 0) or 0 * count(pantau_agent_connected{SCOPE})",
            )],
        )
        .details(TO_AGENTS),
        number(
            (
                "Ports down",
                "short",
                "Ports that are switched on, were up within the last hour or a day ago, and are not up now.",
            ),
            ANY,
            &[Query(
                "down",
                "count(ifOperStatus{SCOPE} != 1 and ifAdminStatus{SCOPE} == 1 and (min_over_time(ifOperStatus{SCOPE}[1h]) == 1 or ifOperStatus{SCOPE} offset 1d == 1)) or 0 * count(ifOperStatus{SCOPE})",
            )],
        )
        .details(TO_NETWORK),
        number(
            (
                "Ports without light",
                "short",
                "Optical modules that receive no light while their port is switched on.",
            ),
            ANY,
            &[Query(
                "dark",
                "count(optics_rx_signal_present{SCOPE} == 0 unless on (region, site, instance, ifName) ifAdminStatus{SCOPE} == 2) or 0 * count(optics_rx_signal_present{SCOPE})",
            )],
        )
        .details(TO_OPTICS),
        number(
            ("UPSes on battery", "short", "UPSes whose output comes from the battery now."),
            ANY,
            &[Query("on battery", "count(ups_on_battery{SCOPE} == 1) or 0 * count(ups_on_battery{SCOPE})")],
        )
        .details(TO_UPS),
        number(
            ("Alerts that fire", "short", "Alerts of all rules that fire now."),
            ANY,
            &[Query("firing", r#"count(ALERTS{SCOPE,alertstate="firing"}) or 0 * count(up{SCOPE})"#)],
        )
        .details(TO_ANY),
        number(
            (
                "Alerts unknown",
                "short",
                "Alerts that are held because their data comes from a silent agent: nobody knows whether they still hold.",
            ),
            ANY,
            &[Query("unknown", r#"count(ALERTS{SCOPE,alertstate="unknown"}) or 0 * count(up{SCOPE})"#)],
        )
        .details(TO_AGENTS),
        table(
            ("What is down", "short", "Targets that did not answer when they were last asked."),
            LISTED,
            &[Query("", "up{SCOPE} == 0")],
        )
        .words(&[("0", "down")])
        .details(TO_ANY),
        table(
            ("Of what nothing is known", "short", UNKNOWN_SAYS),
            LISTED_UNKNOWN,
            &[Query("", "(up{SCOPE} offset 1h or up{SCOPE} offset 6h or up{SCOPE} offset 1d) unless up{SCOPE}")],
        )
        .words(&[("0", "was down"), ("1", "was up")])
        .details(TO_ANY),
        table(
            (
                "Alerts",
                "short",
                "Alerts that fire, and those that are held as unknown because their agent is silent.",
            ),
            LISTED,
            &[Query("", r#"ALERTS{SCOPE,alertstate=~"firing|unknown"}"#)],
        )
        .words(&[("1", "active")])
        .wide(24)
        .details(TO_ANY),
        table(
            (
                "Worst 20 ports by optical margin",
                "dB",
                "Power received less the module's own limit for an alarm. Below 3 dB look at it, below 1 dB go there.",
            ),
            MARGIN,
            &[Query("", WORST_MARGIN)],
        )
        .details(TO_OPTICS),
        table(
            (
                "Worst 20 ports by errors",
                "percentunit",
                "Part of the packets received in the last 15 minutes that were broken.",
            ),
            &[("orange", 1e-6), ("red", 1e-4)],
            &[Query(
                "",
                "topk(20, increase(ifInErrors{SCOPE}[15m]) / ((increase(ifHCInUcastPkts{SCOPE}[15m]) or increase(ifInUcastPkts{SCOPE}[15m])) + increase(ifInErrors{SCOPE}[15m])) > 0)",
            )],
        )
        .details(TO_NETWORK),
        table(
            (
                "Fullest 20 ports",
                "percentunit",
                "Bits a second in the busier direction, of the port's speed, over the last minutes.",
            ),
            SATURATED,
            &[Query("", FULLEST)],
        )
        .details(TO_NETWORK),
        table(
            (
                "Fullest file systems",
                "percentunit",
                "Space taken, of what users can take; without memory and images.",
            ),
            &[("orange", 0.85), ("red", 0.95)],
            &[Query(
                "",
                concat!(
                    "topk(20, 1 - node_filesystem_avail_bytes{SCOPE,",
                    no_disk!(),
                    "} / (node_filesystem_size_bytes{SCOPE} > 0))"
                ),
            )],
        )
        .details(TO_HOSTS),
        table(
            (
                "Busiest processors of devices",
                "percentunit",
                "Routers and switches whose processors are busiest, over 10 minutes.",
            ),
            &[("orange", 0.85), ("red", 0.95)],
            &[Query("", "topk(20, avg_over_time(device_cpu_usage_ratio{SCOPE}[10m]))")],
        )
        .details(TO_NETWORK),
    ],
};

const UNKNOWN_SAYS: &str = "Targets that were asked an hour, six hours or a day ago and of which nothing is known now: their agent is silent, or they were removed.";

/// Limits of a module stand at the port where the device has one set for all lanes.
const WORST_MARGIN: &str = r#"bottomk(20, (optics_rx_power_dbm{HERE} - ignoring (level) optics_rx_power_threshold_dbm{HERE,level="low_alarm"}) or (optics_rx_power_dbm{HERE,lane!=""} - ignoring (level, lane) group_left () optics_rx_power_threshold_dbm{HERE,level="low_alarm",lane=""}))"#;
const FULLEST: &str = "topk(20, 8 * (rate(ifHCInOctets{SCOPE}[$__rate_interval]) > rate(ifHCOutOctets{SCOPE}[$__rate_interval]) or rate(ifHCOutOctets{SCOPE}[$__rate_interval])) / (1e6 * (ifHighSpeed{SCOPE} > 0)))";

const HOSTS: Board = Board {
    uid: "pantau-hosts",
    title: "Pantau: hosts",
    says: "Processor, memory, disks and network of hosts with an agent.",
    metric: "node_boot_time_seconds",
    instance: true,
    interval: "15s",
    panels: &[
        lines(
            ("Processor", "percentunit", "Time that processors were not idle, of all processors."),
            &[Query(
                "{{instance}}",
                r#"1 - avg by (region, site, instance) (rate(node_cpu_seconds_total{HERE,mode="idle"}[$__rate_interval]))"#,
            )],
        ),
        lines(
            ("Memory available", "percentunit", "Memory that programs can still get, of all memory."),
            &[Query(
                "{{instance}}",
                "node_memory_MemAvailable_bytes{HERE} / node_memory_MemTotal_bytes{HERE}",
            )],
        ),
        lines(
            (
                "File systems",
                "percentunit",
                "Space taken, of what users can take; without memory and images.",
            ),
            &[Query(
                "{{instance}} {{mountpoint}}",
                concat!(
                    "1 - node_filesystem_avail_bytes{HERE,",
                    no_disk!(),
                    "} / (node_filesystem_size_bytes{HERE} > 0)"
                ),
            )],
        ),
        lines(
            ("Load", "short", "Processes that run or wait, averaged over 5 minutes."),
            &[Query("{{instance}}", "node_load5{HERE}")],
        ),
        lines(
            ("Disks busy", "percentunit", "Time in which a request was under way."),
            &[Query(
                "{{instance}} {{device}}",
                "rate(node_disk_io_time_seconds_total{HERE}[$__rate_interval])",
            )],
        ),
        lines(
            ("Disk traffic", "Bps", "Bytes read and written a second."),
            &[
                Query(
                    "{{instance}} read",
                    "sum by (region, site, instance) (rate(node_disk_read_bytes_total{HERE}[$__rate_interval]))",
                ),
                Query(
                    "{{instance}} written",
                    "sum by (region, site, instance) (rate(node_disk_written_bytes_total{HERE}[$__rate_interval]))",
                ),
            ],
        ),
        lines(
            ("Network", "Bps", "Bytes received and sent a second, without the loopback."),
            &[
                Query(
                    "{{instance}} {{device}} in",
                    r#"rate(node_network_receive_bytes_total{HERE,device!="lo"}[$__rate_interval])"#,
                ),
                Query(
                    "{{instance}} {{device}} out",
                    r#"rate(node_network_transmit_bytes_total{HERE,device!="lo"}[$__rate_interval])"#,
                ),
            ],
        ),
        lines(
            (
                "Clock",
                "s",
                "How wrong the clock may be, as its kernel has it: 16 s where no time service sets it. The difference from the collector is on the board of agents.",
            ),
            &[Query("{{instance}}", "node_timex_maxerror_seconds{HERE}")],
        ),
    ],
};

const NETWORK: Board = Board {
    uid: "pantau-network",
    title: "Pantau: network device and port",
    says: "Devices that are read by SNMP: reachability, health, and the traffic and faults of their ports.",
    metric: "sysUpTime",
    instance: true,
    interval: "60s",
    panels: &[
        lines(
            ("Answers", "short", "1 while the device answers."),
            &[Query("{{instance}}", "up{HERE,job=\"snmp\"}")],
        ),
        lines(
            ("Uptime", "s", "Since the SNMP agent of the device started."),
            &[Query("{{instance}}", "sysUpTime{HERE} / 100")],
        ),
        lines(
            ("Processors", "percentunit", "How busy the device's processors are."),
            &[Query("{{instance}} {{cpu}} {{entity}}", "device_cpu_usage_ratio{HERE}")],
        ),
        lines(
            ("Temperatures", "celsius", "Sensors of the device."),
            &[Query("{{instance}} {{sensor}}", "device_temperature_celsius{HERE}")],
        ),
        lines(
            ("Traffic in", "bps", "Bits received a second, the 20 busiest ports."),
            &[Query(
                "{{instance}} {{ifName}} {{ifAlias}}",
                "topk(20, 8 * rate(ifHCInOctets{HERE}[$__rate_interval]))",
            )],
        ),
        lines(
            ("Traffic out", "bps", "Bits sent a second, the 20 busiest ports."),
            &[Query(
                "{{instance}} {{ifName}} {{ifAlias}}",
                "topk(20, 8 * rate(ifHCOutOctets{HERE}[$__rate_interval]))",
            )],
        ),
        lines(
            ("Errors", "pps", "Packets a second that were broken; ports without are left out."),
            &[
                Query("{{instance}} {{ifName}} in", "rate(ifInErrors{HERE}[$__rate_interval]) > 0"),
                Query("{{instance}} {{ifName}} out", "rate(ifOutErrors{HERE}[$__rate_interval]) > 0"),
            ],
        ),
        lines(
            ("Discards", "pps", "Good packets a second that were thrown away; ports without are left out."),
            &[
                Query("{{instance}} {{ifName}} in", "rate(ifInDiscards{HERE}[$__rate_interval]) > 0"),
                Query("{{instance}} {{ifName}} out", "rate(ifOutDiscards{HERE}[$__rate_interval]) > 0"),
            ],
        ),
        table(
            ("Ports that are not up", "short", "Ports that are switched on and not up."),
            LISTED,
            &[Query("", "ifOperStatus{HERE} != 1 and ifAdminStatus{HERE} == 1")],
        )
        .words(STATES),
        table(
            (
                "Fans and power supplies that are not well",
                "short",
                "Parts that the device does not call normal.",
            ),
            LISTED,
            &[Query("", "device_fan_ok{HERE} == 0 or device_power_supply_ok{HERE} == 0")],
        )
        .words(&[("0", "not well")]),
    ],
};

const OPTICS: Board = Board {
    uid: "pantau-optics",
    title: "Pantau: optics",
    says: "Light of optical modules. Modules measure to 3 dB at best: look at changes more than at figures.",
    metric: "optics_rx_power_dbm",
    instance: true,
    interval: "300s",
    panels: &[
        table(
            ("Worst 20 ports by margin", "dB", "Power received less the module's own limit for an alarm."),
            MARGIN,
            &[Query("", WORST_MARGIN)],
        ),
        table(
            ("No light", "short", "Modules that receive no light; ports that are switched off are left out."),
            LISTED,
            &[Query(
                "",
                "optics_rx_signal_present{HERE} == 0 unless on (region, site, instance, ifName) ifAdminStatus{HERE} == 2",
            )],
        )
        .words(&[("0", "dark")]),
        lines(
            ("Received", "dBm", "Optical power received."),
            &[Query("{{instance}} {{ifName}} {{sensor}} {{lane}}", "optics_rx_power_dbm{HERE}")],
        ),
        lines(
            ("Sent", "dBm", "Optical power sent."),
            &[Query("{{instance}} {{ifName}} {{sensor}} {{lane}}", "optics_tx_power_dbm{HERE}")],
        ),
        lines(
            (
                "Change within an hour",
                "dB",
                "Power received now less an hour ago. 3 dB less: somebody is in the closure.",
            ),
            &[Query(
                "{{instance}} {{ifName}} {{sensor}} {{lane}}",
                "optics_rx_power_dbm{HERE} - optics_rx_power_dbm{HERE} offset 1h",
            )],
        ),
        lines(
            ("Bias", "amp", "Current of the laser; one that grows for weeks says that it wears out."),
            &[Query("{{instance}} {{ifName}} {{sensor}} {{lane}}", "optics_bias_amperes{HERE}")],
        ),
        lines(
            ("Module temperature", "celsius", "Temperature of the module."),
            &[Query("{{instance}} {{ifName}} {{sensor}}", "optics_temperature_celsius{HERE}")],
        ),
    ],
};

const UPS: Board = Board {
    uid: "pantau-ups",
    title: "Pantau: UPS",
    says: "Mains, battery and load of UPSes that speak UPS-MIB.",
    metric: "ups_battery_status",
    instance: true,
    interval: "60s",
    panels: &[
        table(
            ("On battery", "s", "UPSes whose output comes from the battery, and for how long."),
            &[("orange", 30.0), ("red", 120.0)],
            &[Query("", "ups_on_battery_seconds{HERE} and ups_on_battery{HERE} == 1")],
        ),
        lines(
            ("Runtime", "s", "How long the battery would last now."),
            &[Query("{{instance}}", "ups_battery_runtime_seconds{HERE}")],
        ),
        lines(
            ("Charge", "percentunit", "Charge of the battery."),
            &[Query("{{instance}}", "ups_battery_charge_ratio{HERE}")],
        ),
        lines(
            ("Load", "percentunit", "Load of each output line, of what it may carry."),
            &[Query("{{instance}} {{line}}", "ups_output_load_ratio{HERE}")],
        ),
        lines(
            ("Input", "volt", "Voltage of the mains; 198 to 231 V is good."),
            &[Query("{{instance}} {{line}}", "ups_input_voltage_volts{HERE}")],
        ),
        lines(
            ("Battery temperature", "celsius", "Above 30 degrees batteries age fast."),
            &[Query("{{instance}}", "ups_battery_temperature_celsius{HERE}")],
        ),
    ],
};

const AGENTS: Board = Board {
    uid: "pantau-agents",
    title: "Pantau: agents and gaps",
    says: "Who reports, who is silent, and what is missing and why.",
    metric: "pantau_agent_connected",
    instance: false,
    interval: "15s",
    panels: &[
        table(
            ("Silent agents", "s", "Agents that sent nothing for two intervals, and since when."),
            LISTED,
            &[Query(
                "",
                "time() - pantau_agent_last_seen_timestamp_seconds{SCOPE} and on (agent) pantau_agent_connected{SCOPE} == 0",
            )],
        ),
        table(
            ("Missing data", "s", "Seconds of data that are missing, by agent and cause."),
            &[("orange", 60.0)],
            &[Query("", "pantau_agent_missing_seconds{SCOPE} > 0")],
        ),
        lines(
            ("Batches on their way", "short", "Batches that are known to exist and may still come."),
            &[Query("{{agent}}", "pantau_agent_pending_batches{SCOPE}")],
        ),
        lines(
            ("Spool", "bytes", "Bytes that agents keep on disk until a collector has them."),
            &[Query("{{instance}}", "pantau_agent_spool_bytes{SCOPE}")],
        ),
        lines(
            ("Clocks", "s", "The agent's clock less the collector's."),
            &[Query("{{agent}}", "pantau_agent_clock_offset_seconds{SCOPE}")],
        ),
        lines(
            ("Samples lost", "cps", "Samples a second that agents lost, by cause."),
            &[Query(
                "{{instance}} {{cause}}",
                "rate(pantau_agent_samples_lost_total{SCOPE}[$__rate_interval])",
            )],
        ),
        lines(
            ("Rounds that failed", "cps", "Rounds a second that did not end well, by input and result."),
            &[Query(
                "{{instance}} {{input}} {{result}}",
                r#"rate(pantau_agent_rounds_total{SCOPE,result!="ok"}[$__rate_interval])"#,
            )],
        ),
        lines(
            ("SNMP timeouts", "cps", "Requests a second that were given up, by agent."),
            &[Query("{{instance}}", "rate(pantau_snmp_timeouts_total{SCOPE}[$__rate_interval])")],
        ),
    ],
};

const PANTAU: Board = Board {
    uid: "pantau-self",
    title: "Pantau itself",
    says: "Whether collectors keep up: what comes in, is refused, is stored, and how long requests and rules take.",
    metric: "pantau_ready",
    instance: true,
    interval: "15s",
    panels: &[
        number(
            ("Ready", "short", "1 while queries and writes are answered."),
            &[("green", 1.0)],
            &[Query("{{instance}}", "pantau_ready{HERE}")],
        )
        .words(&[("0", "not ready"), ("1", "ready")])
        .wide(6),
        number(
            (
                "Journal failed",
                "short",
                "1 after a write to the journal failed: nothing is written until a restart.",
            ),
            ANY,
            &[Query("{{instance}}", "pantau_store_journal_poisoned{HERE}")],
        )
        .words(&[("0", "no"), ("1", "failed")])
        .wide(6),
        number(
            ("Series", "short", "Active series: those with samples in memory."),
            &[],
            &[Query("{{instance}}", "pantau_store_series{HERE}")],
        )
        .wide(6),
        number(
            ("On disk", "bytes", "Blocks and journal."),
            &[],
            &[Query("{{instance}}", "pantau_store_bytes{HERE}")],
        )
        .wide(6),
        lines(
            ("Samples", "cps", "Samples stored a second."),
            &[Query("{{instance}}", "rate(pantau_ingest_samples_total{HERE}[$__rate_interval])")],
        ),
        lines(
            ("Refused samples", "cps", "Samples refused a second, by reason and sender."),
            &[Query(
                "{{reason}} {{sender}}",
                "rate(pantau_ingest_refused_samples_total{HERE}[$__rate_interval])",
            )],
        ),
        lines(
            ("Requests, 99th percentile", "s", "From a request's head to its answer's head, by path."),
            &[Query(
                "{{path}}",
                "histogram_quantile(0.99, sum by (path, le) (rate(pantau_http_request_seconds_bucket{HERE}[$__rate_interval])))",
            )],
        ),
        lines(
            ("Rules", "cps", "Evaluations of rules that failed, and those that were missed, a second."),
            &[
                Query(
                    "failed {{rule_group}}",
                    "rate(prometheus_rule_evaluation_failures_total{HERE}[$__rate_interval])",
                ),
                Query(
                    "missed {{rule_group}}",
                    "rate(prometheus_rule_group_iterations_missed_total{HERE}[$__rate_interval])",
                ),
            ],
        ),
        lines(
            ("Messages that wait", "short", "Messages that a receiver does not have yet."),
            &[Query("{{receiver}}", "pantau_notify_waiting{HERE}")],
        ),
        lines(
            (
                "Notifications that fail",
                "cps",
                "A second: tries after which a message still waits, and alerts that an Alertmanager did not take.",
            ),
            &[
                Query("{{receiver}}", "rate(pantau_notify_failures_total{HERE}[$__rate_interval])"),
                Query(
                    "{{alertmanager}}",
                    "rate(prometheus_notifications_errors_total{HERE}[$__rate_interval])",
                ),
            ],
        ),
        lines(
            ("Memory", "bytes", "Memory of the collector, and of it the samples, labels and index."),
            &[
                Query("{{instance}}", "process_resident_memory_bytes{HERE}"),
                Query("{{instance}} store", "pantau_store_head_bytes{HERE}"),
            ],
        ),
        lines(
            (
                "Processor",
                "percentunit",
                "Processors that the collector keeps busy; 100 % is one whole processor.",
            ),
            &[Query("{{instance}}", "rate(process_cpu_seconds_total{HERE}[$__rate_interval])")],
        ),
    ],
};
