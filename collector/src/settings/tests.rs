use super::*;

fn check(text: &str, expected: &str) {
    let error =
        Checked::parse(text, "collector.yaml", Path::new("/nowhere")).expect_err("a mistake").to_string();
    assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
}

#[test]
fn no_file_is_the_quick_start() {
    let checked = Checked::quickstart().expect("defaults are right");
    assert_eq!((checked.listen, checked.data.as_path()), (LISTEN, Path::new("data")));
    assert!(checked.tls.is_none() && checked.readers.is_empty() && !checked.from_file);
    assert!(!checked.instance.is_empty());
}

#[test]
fn every_mistake_is_reported_at_its_place() {
    check("lisen: 127.0.0.1:1\n", "collector.yaml:1:1: unknown field `lisen`");
    check("listen: 127.0.0.1\n", "collector.yaml:1:9: ");
    check("identity:\n  region: 33.1\n", "collector.yaml:2:11: ");
    check("identity:\n  site: two words\n", "collector.yaml:2:9: \"two words\" is no name");
    check("server:\n  connections_max: 0\n", "collector.yaml:2:20: 0 is out of bounds: write 1 to ");
    check("ingest:\n  accepted_age: soon\n", "collector.yaml:2:17: ");
    check("readers:\n  - name: a\n    secret: x\n", "collector.yaml:3:5: unknown field `secret`");
}

#[test]
fn an_exposed_listener_needs_tls_or_says_insecure_and_needs_readers() {
    check(
        "\nlisten: 0.0.0.0:9797\n",
        "collector.yaml:2:9: listen: 0.0.0.0:9797 can be reached from other machines, and without TLS",
    );
    check(
        "insecure: true\nlisten: '[::]:9797'\n",
        "collector.yaml:2:9: listen: [::]:9797 can be reached from other machines: say under `readers`",
    );
    check(
        "tls: {}\nlisten: 10.0.0.1:1\n",
        "collector.yaml:2:9: listen: 10.0.0.1:1 can be reached from other machines: say under `readers`",
    );
}

#[test]
fn readers_have_one_secret_of_some_length() {
    check(
        "readers:\n  - name: a\n",
        "collector.yaml:2:5: readers[0]: reader \"a\" needs either `token` or `basic`",
    );
    check(
        "readers:\n  - name: a\n    token: {file: none}\n",
        "collector.yaml:3:12: readers[0].token: cannot read the secret in /nowhere/none: ",
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("short"), "x").expect("written");
    let text = "readers: [{name: a, token: {file: short}}]\n";
    let error = Checked::parse(text, "c", folder.path()).expect_err("too short").to_string();
    assert!(error.contains("shorter than 16 bytes"), "{error}");
}

#[test]
fn an_address_to_listen_on_is_given_in_numbers() {
    let check_listen = |text: &str, expected: &str| {
        check(
            &format!("listen: {text}\n"),
            &format!("collector.yaml:1:9: \"{text}\" is no address to listen on: {expected}"),
        );
    };
    check_listen("localhost", "names are not looked up here; write 127.0.0.1:9797");
    check_listen("localhost:80", "names are not looked up here; write 127.0.0.1:80");
    check_listen("10.0.0.1", "the port is missing; write 10.0.0.1:9797");
    check_listen("fd00::1", "the port is missing; write [fd00::1]:9797");
    check_listen("9797", "the address is missing; write 127.0.0.1:9797 for this machine alone");
    check_listen("0.0.0.0:99999", "write an IP address and a port from 0 to 65535, such as 127.0.0.1:9797");
}

#[test]
fn values_that_cannot_work_are_refused_at_their_place() {
    check("storage: {time: 0s}\n", "collector.yaml:1:17: storage.time: 0s is out of bounds: write 1h to ");
    check(
        "storage: {memory_max: 1}\n",
        "collector.yaml:1:23: storage.memory_max: 1 is out of bounds: write 16MiB to ",
    );
    check(
        "storage: {disk_max: 1}\n",
        "collector.yaml:1:21: storage.disk_max: 1 is out of bounds: write 64MiB to ",
    );
    check(
        "storage: {disk_reserve: 2TiB, disk_max: 1TiB}\n",
        "collector.yaml:1:25: storage.disk_reserve: 2TiB is more than disk_max, 1TiB",
    );
    check(
        "ingest: {accepted_age: 7d11h}\n",
        "collector.yaml:1:24: ingest.accepted_age: 7d11h is too short: agents keep for 7d12h",
    );
    check(
        "ingest: {accepted_ahead: 0s}\n",
        "collector.yaml:1:26: ingest.accepted_ahead: 0s is out of bounds: write 1s to 1d",
    );
    check(
        "ingest: {body_max: 1}\n",
        "collector.yaml:1:20: ingest.body_max: 1 is out of bounds: write 64KiB to 1GiB",
    );
    check("ingest: {body_max: 2TiB}\n", "collector.yaml:1:20: ingest.body_max: 2TiB is out of bounds");
    check(
        "ingest: {unpacked_max: 1MiB}\n",
        "collector.yaml:1:24: ingest.unpacked_max: 1MiB is out of bounds: write 16MiB to 4GiB",
    );
    check(
        "ingest: {bodies_max: 1MiB}\n",
        "collector.yaml:1:22: ingest.bodies_max: 1MiB is out of bounds: write 16MiB to ",
    );
    for limit in ["samples_max", "series_max", "concurrent_max"] {
        check(
            &format!("query:\n  {limit}: 0\n"),
            &format!("collector.yaml:2:{}: query.{limit}: 0 is out of bounds", limit.len() + 5),
        );
    }
    for span in ["timeout", "lookback"] {
        check(
            &format!("query:\n  {span}: 0s\n"),
            &format!("collector.yaml:2:{}: query.{span}: 0s is out of bounds", span.len() + 5),
        );
    }
    for span in ["head_timeout", "body_timeout", "stall_timeout", "idle_timeout"] {
        check(
            &format!("server: {{{span}: 0s}}\n"),
            &format!(
                "collector.yaml:1:{}: server.{span}: 0s is out of bounds: write 100ms to ",
                span.len() + 12
            ),
        );
    }
    check("data: /dev/null\n", "collector.yaml:1:7: data: /dev/null is no folder");
}

#[test]
fn the_agents_mistakes_are_placed_within_its_section() {
    check(
        "agent:\n  limits: {memory_bytes_max: 0}\n",
        "collector.yaml:2:30: agent.limits.memory_bytes_max: 0 holds no batch",
    );
    check(
        "agent:\n  inputs:\n    scrape:\n      - job_name: a\n        static_configs: [{targets: ['http://x/y']}]\n",
        "collector.yaml:5:37: agent.inputs.scrape[0].static_configs[0].targets[0]: \"http://x/y\" is no host:port",
    );
}

#[test]
fn readers_are_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("t"), "0123456789abcdef").expect("written");
    let check = |readers: &str, expected: &str| {
        let error = Checked::parse(&format!("readers:\n{readers}"), "c", folder.path())
            .expect_err("a mistake")
            .to_string();
        assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
    };
    check(
        "- {name: a, basic: {user: 'x:y', password: {file: t}}}\n",
        "c:2:27: readers[0].basic.user: a name with \":\" cannot log in",
    );
    check(
        "- {name: a, basic: {user: '', password: {file: t}}}\n",
        "c:2:27: readers[0].basic.user: it is empty",
    );
    check(
        "- {name: a, token: {file: t}}\n- {name: a, token: {file: t}}\n",
        "c:3:10: readers[1].name: another reader has the name",
    );
    check(
        "- {name: a, token: {file: t}}\n- {name: b, token: {file: t}}\n",
        "c:3:3: readers[1]: reader \"a\" has the same credentials",
    );
}

fn check_files(text: &str, folder: &Path, expected: &str) {
    let settings = Checked::parse(text, "c", folder).expect("good values");
    let said = settings.check_files().map_or_else(|error| error.to_string(), |()| "good".into());
    assert!(said.starts_with(expected), "{said:?} should start with {expected:?}");
}

#[test]
fn check_names_certificates_and_lists_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_files("", folder.path(), "good");
    check_files("tls: {}\n", folder.path(), "c:1:6: tls.certificate: there is no certificate ");
    check_files(
        "tls:\n  certificate: none.pem\n",
        folder.path(),
        "c:2:16: tls.certificate: there is no certificate ",
    );
    crate::tls::init(&folder.path().join("data"), &["localhost".into()]).expect("made");
    check_files("tls: {}\n", folder.path(), "good");
    check_files("tls: {key: none.key}\n", folder.path(), "c:1:12: tls.key: cannot read the private key ");
    crate::tls::init(&folder.path().join("other"), &["localhost".into()]).expect("made");
    check_files(
        "tls: {key: other/tls/server.key}\n",
        folder.path(),
        "c:1:12: tls.key: cannot use the private key ",
    );
    std::fs::write(folder.path().join("empty.pem"), "").expect("written");
    check_files(
        "tls: {certificate: empty.pem}\n",
        folder.path(),
        "c:1:20: tls.certificate: cannot read the certificate ",
    );
    check_files(
        "retention: {disk_max: 1000TiB, disk_reserve: 999TiB}\n",
        folder.path(),
        "c:1:46: retention.disk_reserve: 999TiB are to stay free, but the whole disk",
    );
    let scrape = "agent: {inputs: {scrape: [{job_name: a, file_sd_configs: [{files: [a.yml]}]}]}}\n";
    check_files(
        scrape,
        folder.path(),
        "c:1:68: agent.inputs.scrape[0].file_sd_configs[0].files[0]: cannot read ",
    );
}

#[test]
fn paths_start_at_the_file_and_certificates_in_the_data_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("grafana.token"), "0123456789abcdef\n").expect("written");
    let text = "listen: 0.0.0.0:9797\ntls: {}\ndata: store\n\
                readers: [{name: grafana, token: {file: grafana.token}, scope: {regions: [33.10]}}]\n";
    let checked = Checked::parse(text, "c", folder.path()).expect("good settings");
    assert_eq!(checked.data, folder.path().join("store"));
    let tls = checked.tls.expect("given");
    assert_eq!(tls.certificate, folder.path().join("store/tls/server.pem"));
    assert_eq!(checked.readers[0].secret, Digest::of("0123456789abcdef"));
    assert_eq!(checked.readers[0].scope.key(), "r33.10;");
    assert!(!format!("{:?}", checked.readers).contains("0123456789abcdef"));
    let bare = Checked::parse("tls:\n", "c", folder.path()).expect("good settings");
    assert!(bare.tls.is_some(), "who writes the word wants it");
}

/// The section was called `retention` before there were blocks.
#[test]
fn the_old_name_of_the_storage_section_keeps_working_and_mistakes_are_placed_under_it() {
    let parse =
        |text: &str| Checked::parse(text, "collector.yaml", Path::new("/nowhere")).expect("good settings");
    let old = parse("retention: {time: 90d, disk_max: 8GiB, series_max: 7}\n");
    let new = parse("storage: {time: 90d, disk_max: 8GiB, series_max: 7}\n");
    assert_eq!((&old.storage, old.storage_key, new.storage_key), (&new.storage, "retention", "storage"));
    check("retention: {time: 0s}\n", "collector.yaml:1:19: retention.time: 0s is out of bounds");
    check(
        "storage: {time: 1d}\nretention: {time: 1d}\n",
        "collector.yaml:2:12: retention: it is called `storage` now",
    );
}

#[test]
fn what_is_kept_is_chosen_by_selectors_as_in_queries() {
    let text = "storage:\n  durability: {interval: 200ms}\n  retention:\n\
                \x20   - {match: '{job=\"snmp\",__name__=~\"if.*\"}', time: 90d}\n    - {match: up, time: 1y}\n";
    let storage = Checked::parse(text, "c", Path::new("/nowhere")).expect("good settings").storage;
    assert_eq!(
        storage.durability,
        storage::Durability::Interval(settings::Span::new(std::time::Duration::from_millis(200)))
    );
    assert_eq!(
        storage.retention.iter().map(|rule| rule.selector.matchers().len()).collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(
        Checked::parse("storage: {durability: sync}", "c", Path::new("")).expect("good").storage,
        storage::Config::default()
    );
    check(
        "storage:\n  retention:\n    - {match: '{job=', time: 90d}\n",
        "collector.yaml:3:15: \"{job=\" selects no series: ",
    );
    check(
        "storage:\n  retention: [{match: up, time: 1s}]\n",
        "collector.yaml:2:33: storage.retention[0].time: 1s is out of bounds: write 1h to ",
    );
    check(
        "storage: {durability: {interval: 2m}}\n",
        "collector.yaml:1:34: storage.durability.interval: 2m is out of bounds: write 1ms to 1m",
    );
    check("storage: {durability: never}\n", "collector.yaml:1:23: ");
}

#[test]
fn only_who_sees_everything_is_an_administrator() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("t"), "0123456789abcdef").expect("written");
    let text = |scope: &str| format!("readers: [{{name: a, token: {{file: t}}, admin: true{scope}}}]\n");
    let whole = Checked::parse(&text(""), "c", folder.path()).expect("good settings");
    assert!(whole.readers[0].admin && !whole.admin_api);
    let error = Checked::parse(&text(", scope: {regions: ['33']}"), "c", folder.path()).expect_err("a part");
    assert!(error.to_string().contains("readers[0].admin: reader \"a\" sees only a part"), "{error}");
}

/// The folder of example settings, which people copy.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(EXAMPLES).join(name)).expect("the example is there")
}

#[test]
fn the_quick_start_written_out_is_what_happens_without_a_file() {
    let written =
        Checked::parse(&example("quickstart.yaml"), "quickstart.yaml", Path::new("configs")).expect("good");
    let quickstart = Checked::quickstart().expect("defaults are right");
    assert_eq!((written.listen, &written.agent), (quickstart.listen, &quickstart.agent));
    assert_eq!(written.data, Path::new("configs/../data"));
}

#[test]
fn the_example_is_right_and_what_it_comments_out_are_the_defaults() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("grafana.token"), "0123456789abcdef").expect("written");
    std::fs::write(folder.path().join("kudus.password"), "hunter2").expect("written");
    let text = example("collector.yaml");
    let plain = Checked::parse(&text, "collector.yaml", folder.path()).expect("good settings");
    assert_eq!(plain.listen.port(), LISTEN.port());
    assert_eq!(plain.readers[1].scope.key(), "r33.19;");

    let commented = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if !rest.starts_with("tls") && rest.trim_start().split(' ').next().is_some_and(is_key) => {
            rest
        }
        _ => line,
    });
    let mut in_storage = false;
    let whole: Vec<String> = commented
        .map(|line| {
            in_storage = line == "storage:" || (in_storage && !line.is_empty());
            let key = line.strip_prefix("  # ").filter(|_| in_storage);
            key.map_or_else(|| line.to_owned(), |key| format!("  {key}"))
        })
        .collect();
    let whole = whole.join("\n");
    let whole = Checked::parse(&whole, "collector.yaml", folder.path()).expect("good settings");
    let defaults = Checked::quickstart().expect("defaults are right");
    for settings in [&plain, &whole] {
        assert_eq!(settings.server, defaults.server);
        assert_eq!(settings.ingest, defaults.ingest);
        assert_eq!(settings.storage, defaults.storage);
        assert_eq!(settings.query, defaults.query);
        assert_eq!(settings.agent, defaults.agent);
        assert_eq!(settings.told, defaults.told);
    }
}

fn is_key(word: &str) -> bool {
    word.strip_suffix(':')
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

/// A unit whose user nobody made does not start.
#[test]
fn names_for_the_outside_have_defaults_and_are_taken_over() {
    let usual = Checked::parse("identity: {instance: c}\n", "c", Path::new("")).expect("good settings");
    assert_eq!(usual.external_url.as_str(), "http://c:9797");
    assert!(usual.external_labels.labels().is_empty() && usual.cors_origin.is_none());
    let text = "external_labels: {cluster: jateng}\nexternal_url: https://a/b/\ncors_origin: .*\n";
    let given = Checked::parse(text, "c", Path::new("")).expect("good settings");
    assert_eq!(given.external_url.as_str(), "https://a/b");
    assert_eq!(given.external_labels.labels().get("cluster"), Some("jateng"));
    assert!(given.cors_origin.is_some());
}

#[test]
fn every_unit_has_its_user() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd");
    for program in ["pantau-collector", "pantau-agent"] {
        let read = |name: String| std::fs::read_to_string(folder.join(name)).expect("it is there");
        let unit = read(format!("{program}.service"));
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect(key).to_owned();
        let users = read(format!("sysusers.d/{program}.conf"));
        let made: Vec<&str> =
            users.lines().filter_map(|line| line.strip_prefix("u ")?.split(' ').next()).collect();
        assert_eq!(made, [value("User=")]);
        assert_eq!(made, [value("Group=")], "systemd-sysusers makes a group of the user's name");
        assert!(users.contains(&format!("/var/lib/{}", value("StateDirectory="))), "{users}");
    }
}

/// What every mistake is answered, as it stood when somebody last read it; renewed with PANTAU_GOLDEN=1.
#[test]
fn mistakes_are_answered_as_the_golden_file_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/settings/golden/mistakes.txt");
    let said = |text: &str| match Checked::parse(text, "collector.yaml", Path::new("/nowhere")) {
        Err(error) => error.to_string(),
        Ok(settings) => settings.check_files().expect_err("every case is a mistake").to_string(),
    };
    settings::golden::check(&path, said);
}
