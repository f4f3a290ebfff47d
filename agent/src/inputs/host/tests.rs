//! The host input as a whole: a tree of files written by hand gives known text; the machine at hand gives sane values; a hung
//! mount holds nobody up; the documentation lists every metric.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use model::{Labels, MetricKind, Timestamp};

use super::*;

fn context() -> Context {
    Context {
        instance: "kudus".into(),
        labels: Labels::empty(),
        base: PathBuf::from("/"),
        state: None,
        series_max: 20_000,
    }
}

/// One round as `name{labels} value`, by series, without `job` and `instance`.
async fn lines(host: &mut Host, table: &mut SeriesTable, at: i64) -> Vec<(Labels, MetricKind, f64)> {
    let mut round = Round::begin(table, Timestamp::from_millis(at), Vec::new());
    let result = host.collect(&mut round).await;
    let (points, refused) = round.finish();
    assert_eq!(refused, 0);
    if let Err(why) = result {
        eprintln!("{why}");
    }
    let live = points.iter().filter(|point| !model::is_stale(point.value));
    let said = live.map(|point| {
        let entry = table.entry(point.series);
        let kind = entry.metadata.as_ref().expect("every metric of the host says what it is").kind;
        (entry.labels.clone(), kind, point.value)
    });
    said.collect()
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::io::ErrorKind;
    use std::sync::mpsc;

    use super::super::crew::tests::HandClock;
    use super::super::linux::{Ask, FAMILIES, NAMINGS, Space, Timex, collectors};
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/host").join(name)
    }

    fn fixture_config() -> Config {
        Config {
            path_procfs: fixture("proc"),
            path_sysfs: fixture("sys"),
            path_rootfs: fixture("root"),
            path_udev: fixture("udev"),
            textfile: textfile::Config { folders: vec![fixture("textfile")] },
            ..Config::default()
        }
    }

    /// A machine that answers as the fixtures' would.
    fn fixture_ask() -> Ask {
        let root = fixture("root");
        Ask {
            space: Arc::new(move |path| match path.strip_prefix(&root).map(Path::to_str) {
                Ok(Some("")) => Ok(Space {
                    block: 4096,
                    blocks: 1000,
                    free: 500,
                    avail: 450,
                    files: 64,
                    files_free: 32,
                    readonly: false,
                }),
                Ok(Some("srv/data disk")) => Ok(Space {
                    block: 1024,
                    blocks: 9,
                    free: 8,
                    avail: 7,
                    files: 6,
                    files_free: 5,
                    readonly: false,
                }),
                _ => Err(std::io::Error::from(ErrorKind::PermissionDenied)),
            }),
            timex: || {
                Some(Timex {
                    offset: -1_500,
                    frequency: 65_536 * 20,
                    max_error: 500_000,
                    estimated_error: 16,
                    status: 0x2001,
                    constant: 6,
                    tick: 10_000,
                    tai: 37,
                    ..Timex::default()
                })
            },
            uname: Arc::new(|| ["Linux", "6.1.0", "#1 SMP", "x86_64", "kudus", "(none)"].map(String::from)),
        }
    }

    fn fixture_host(clock: Arc<dyn Clock>) -> Host {
        let (config, context) = (fixture_config(), context());
        let sources = collectors(&config, &context.base, &fixture_ask());
        Host::with(&config, &context, sources, clock)
    }

    /// The text of a round, families sorted, without what depends on the machine that runs the test.
    fn text(lines: &[(Labels, MetricKind, f64)]) -> String {
        let mut families: BTreeMap<&str, (MetricKind, Vec<String>)> = BTreeMap::new();
        let folder = fixture("textfile").display().to_string();
        for (labels, kind, value) in lines {
            let name = labels.metric_name().expect("a sample has a name");
            let mut rest = labels.to_builder();
            rest.remove("job").remove("instance");
            let line = rest.build().to_string().replace(&folder, "/textfile");
            let value = if name.contains("duration") || name.contains("mtime") { f64::NAN } else { *value };
            // Counted in pages by the kernel; pages differ by machine.
            let page = rustix::param::page_size() as f64;
            let value = if name.ends_with("_mem_bytes") { value / page * 4096.0 } else { value };
            let family = families.entry(name).or_insert_with(|| (*kind, Vec::new()));
            assert_eq!(family.0, *kind, "{name} is one thing");
            family.1.push(format!("{line} {value}\n"));
        }
        let mut out = String::new();
        for (name, (kind, mut lines)) in families {
            lines.sort();
            let _ = write!(out, "# TYPE {name} {kind}\n{}", lines.concat());
        }
        out
    }

    #[tokio::test]
    async fn files_written_by_hand_give_known_text() {
        let clock = HandClock::new();
        clock.turn(Duration::from_secs(1_700_000_000));
        let mut host = fixture_host(clock);
        let mut table = host.new_table();
        let first = text(&lines(&mut host, &mut table, 1).await);
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/host.prom");
        if std::env::var_os("PANTAU_GOLDEN").is_some() {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &first).unwrap();
        }
        let expected =
            std::fs::read_to_string(&golden).expect("tests/golden/host.prom stands beside the fixtures");
        for (line, (have, want)) in first.lines().zip(expected.lines()).enumerate() {
            assert_eq!(have, want, "line {} (renew with PANTAU_GOLDEN=1 if this is meant)", line + 1);
        }
        assert_eq!(first.lines().count(), expected.lines().count());
        // What is remembered between rounds must not change what is said.
        for at in 2..30 {
            assert_eq!(text(&lines(&mut host, &mut table, at).await), expected, "round {at}");
        }
    }

    #[tokio::test]
    async fn this_machine_gives_sane_values() {
        let mut host = Host::new(&Config::default(), &context());
        let mut table = host.new_table();
        let first = lines(&mut host, &mut table, 1).await;
        let second = lines(&mut host, &mut table, 2).await;
        let value = |lines: &[(Labels, MetricKind, f64)], name: &str| {
            let mut all = lines.iter().filter(|(labels, ..)| labels.metric_name() == Some(name)).peekable();
            assert!(all.peek().is_some(), "{name} is there");
            all.map(|(_, _, value)| value).sum::<f64>()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        for round in [&first, &second] {
            assert!(
                value(round, "node_memory_MemTotal_bytes") > value(round, "node_memory_MemAvailable_bytes")
            );
            assert!((now - value(round, "node_time_seconds")).abs() < 60.0);
            assert!(value(round, "node_boot_time_seconds") < now);
            assert!(value(round, "node_cpu_seconds_total") > 0.0);
            assert!(value(round, "node_processes_pids") >= 1.0);
            assert_eq!(value(round, "pantau_agent_sources_given_up_total"), 0.0);
            assert!(round.len() > 150, "{} series", round.len());
        }
        // The first round reads a cold machine, the second must know every series of it.
        for (labels, kind, value) in &first {
            if *kind == MetricKind::Counter {
                let again = second.iter().find(|(have, ..)| have == labels);
                assert!(again.is_some_and(|(_, _, later)| later >= value), "{labels} goes on and not back");
            }
        }
    }

    #[tokio::test]
    async fn a_hung_mount_is_named_and_holds_nobody_up() {
        let (asked, was_asked) = mpsc::channel::<()>();
        let (open, gate) = mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let mut ask = fixture_ask();
        let inner = Arc::clone(&ask.space);
        ask.space = Arc::new(move |path| {
            if path.ends_with("srv/data disk") {
                let _ = asked.send(());
                let _ = gate.lock().unwrap().recv();
            }
            inner(path)
        });
        let (config, context, clock) = (fixture_config(), context(), HandClock::new());
        let sources = collectors(&config, &context.base, &ask);
        let mut host = Host::with(&config, &context, sources, Arc::clone(&clock) as Arc<dyn Clock>);
        let mut table = host.new_table();

        // The clock is turned past the deadline as soon as the hung mount is asked.
        let turner = std::thread::spawn(move || {
            was_asked.recv().unwrap();
            clock.turn(Duration::from_secs(3));
            was_asked
        });
        let stuck = text(&lines(&mut host, &mut table, 1).await);
        let was_asked = turner.join().unwrap();
        let error =
            r#"node_filesystem_device_error{device="/dev/sdb1", fstype="xfs", mountpoint="/srv/data disk"}"#;
        let named = r#"pantau_agent_source_stuck{source="filesystem /srv/data disk (xfs on /dev/sdb1 ro)"}"#;
        assert!(
            stuck.contains(&format!("{error} 1\n")) && stuck.contains(&format!("{named} 1\n")),
            "{stuck}"
        );
        assert!(!stuck.contains("node_filesystem_size_bytes{device=\"/dev/sdb1\""));
        assert!(
            stuck.contains("node_filesystem_size_bytes{device=\"/dev/sda2\"")
                && stuck.contains("node_load1 ")
        );
        assert!(stuck.contains("node_scrape_collector_success{collector=\"filesystem\"} 1"), "{stuck}");

        // It stays stuck and nobody asks it again.
        lines(&mut host, &mut table, 2).await;
        assert!(was_asked.try_recv().is_err());

        // It heals: the thread that hung puts it back, and the round after that has its figures.
        drop(open);
        while host.crew.visit(|_| {}).healed == 0 {
            tokio::task::yield_now().await;
        }
        let healed = text(&lines(&mut host, &mut table, 3).await);
        assert!(healed.contains(&format!("{error} 0\n")) && healed.contains(&format!("{named} 0\n")));
        assert!(healed.contains("pantau_agent_sources_healed_total 1"));
    }

    /// Copies a folder, each file changed by `change`; links are left out.
    fn copy_changed(from: &Path, to: &Path, change: &mut impl FnMut(Vec<u8>) -> Vec<u8>) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
            if kind.is_dir() {
                copy_changed(&entry.path(), &path, change);
            } else if kind.is_file() {
                std::fs::write(path, change(std::fs::read(entry.path()).unwrap())).unwrap();
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(12))]

        /// Kernels, drivers and scripts write what they like: sources may fail, but not panic.
        #[test]
        fn damaged_files_panic_nowhere(seed: u64) {
            let mut state = seed | 1;
            let mut random = move |below: usize| {
                // xorshift64: any spread will do
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % below.max(1) as u64) as usize
            };
            let folder = tempfile::tempdir().unwrap();
            copy_changed(&fixture(""), folder.path(), &mut |mut bytes| {
                match random(4) {
                    0 => bytes.truncate(random(bytes.len())),
                    1 => (0..8).for_each(|_| {
                        let at = random(bytes.len());
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = random(256) as u8;
                        }
                    }),
                    2 => bytes.extend(bytes.clone()),
                    _ => bytes = bytes.split(|&byte| byte == b' ').rev().collect::<Vec<_>>().join(&b' '),
                }
                bytes
            });
            let mut config = fixture_config();
            config.path_procfs = folder.path().join("proc");
            config.path_sysfs = folder.path().join("sys");
            config.path_rootfs = folder.path().join("root");
            config.textfile.folders = vec![folder.path().join("textfile")];
            let sources = collectors(&config, Path::new("/"), &fixture_ask());
            let mut host = Host::with(&config, &context(), sources, Arc::new(RealClock));
            let mut table = host.new_table();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for at in 1..3 {
                let mut round = Round::begin(&mut table, Timestamp::from_millis(at), Vec::new());
                let result = runtime.block_on(host.collect(&mut round));
                let why = result.map_or_else(|why| why.to_string(), |()| String::new());
                proptest::prop_assert!(!why.contains("panicked"), "{}", why);
            }
        }
    }

    #[tokio::test]
    async fn collectors_and_devices_can_be_left_out() {
        let mut config = fixture_config();
        config.collectors = Patterns::only("cpu|filesystem|netdev");
        config.network_devices = Patterns::only("lo");
        let sources = collectors(&config, Path::new("/"), &fixture_ask());
        let mut host = Host::with(&config, &context(), sources, Arc::new(RealClock));
        let mut table = host.new_table();
        let text = text(&lines(&mut host, &mut table, 1).await);
        assert!(text.contains("node_network_receive_bytes_total{device=\"lo\"}") && !text.contains("eth0"));
        assert!(text.contains("node_cpu_seconds_total") && !text.contains("node_boot_time_seconds"));
        assert!(!text.contains("node_load1"));
    }

    #[test]
    fn the_documentation_lists_every_metric() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let mut table = String::from("| metric | type | labels | what it is |\n|---|---|---|---|\n");
        let mut rows: Vec<String> = Vec::new();
        let host: [&[&crate::series::Family]; 2] = [super::super::FAMILIES, textfile::FAMILIES];
        for family in FAMILIES.iter().chain(&host).flat_map(|families| families.iter()) {
            let help = family.help.replace('|', "\\|");
            rows.push(format!(
                "| `{}` | {} | {} | {help} |\n",
                family.name,
                family.kind,
                family.labels.join(", ")
            ));
        }
        for naming in NAMINGS.iter().flat_map(|namings| namings.iter()) {
            let name = format!("{}<field>{}", naming.prefix, naming.suffix);
            let help = naming.help.trim_end_matches(':');
            rows.push(format!("| `{name}` | {} | {} | {help} |\n", naming.kind, naming.labels.join(", ")));
        }
        rows.sort();
        rows.dedup();
        table.push_str(&rows.concat());
        let (begin, end) = ("<!-- host metrics: written by a test -->\n", "<!-- end of host metrics -->\n");
        let page = std::fs::read_to_string(&path).expect("docs/metrics.md is there");
        let (before, rest) = page.split_once(begin).expect("the page has a place for the host's metrics");
        let (have, after) = rest.split_once(end).expect("the place has an end");
        if std::env::var_os("PANTAU_GOLDEN").is_some() {
            std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
            return;
        }
        assert!(have == table, "docs/metrics.md is out of date: renew it with PANTAU_GOLDEN=1");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_portable_names_are_those_of_linux() {
    let linux: Vec<&str> =
        linux::FAMILIES.iter().flat_map(|families| families.iter()).map(|family| family.name).collect();
    for family in portable::FAMILIES {
        assert!(linux.contains(&family.name) || family.name.starts_with("node_memory_"), "{}", family.name);
    }
}

#[tokio::test]
async fn the_portable_sources_use_the_same_names() {
    let (config, context) = (Config::default(), context());
    let mut host =
        Host::with(&config, &context, portable::collectors(&config, &context.base), Arc::new(RealClock));
    let mut table = host.new_table();
    let names: Vec<String> = lines(&mut host, &mut table, 1)
        .await
        .iter()
        .filter_map(|(labels, ..)| labels.metric_name().map(str::to_owned))
        .collect();
    for name in ["node_load1", "node_memory_MemTotal_bytes", "node_cpu_seconds_total", "node_time_seconds"] {
        assert!(names.iter().any(|have| have == name), "{name} is among {names:?}");
    }
}

#[test]
fn mistakes_in_the_settings_are_told() {
    let check = |text: &str, expected: &str| {
        let read = settings::parse::<Config>(text, "host.yaml").map_err(|why| why.to_string());
        let why = read.and_then(|config| config.validate().map_err(|why| why.to_string())).unwrap_err();
        assert!(why.contains(expected), "{why:?} should contain {expected:?}");
    };
    check("colectors: {}", "host.yaml:1:1: unknown field");
    check("disks:\n  exclude: '('\n", "host.yaml:2:12: \"(\" is no regular expression");
    check("interval: 50ms", "interval: 50ms is too often");
    check("interval: 2d", "interval: 2d is too rare");
    check("textfile: {folders: ['']}", "textfile.folders[0]: it is empty");
    check("timeout: 20s", "timeout: 20s must lie between 0 and the interval, 15s");
    check("source_timeout: 11s", "source_timeout: 11s must lie between");
    check("job: ''", "job: it is empty");
    assert_eq!(settings::parse::<Config>("", "host.yaml").unwrap(), Config::default());
    let quick = settings::parse::<Config>("interval: 2s", "host.yaml").unwrap();
    assert!(
        quick.validate().is_ok() && quick.timeout() == Span::from_secs(2),
        "the defaults follow the interval"
    );
}
