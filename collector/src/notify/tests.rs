use super::http::tests::{answer, fake, next};
use super::*;
use alerting::NoticeKind;

fn settings(folder: &Path, text: &str) -> Checked {
    Checked::parse(text, "collector.yaml", folder).expect("good settings")
}

fn notice(name: &str, kind: NoticeKind) -> Notice {
    let Alert { labels, annotations, value, starts_at, ends_at, generator_url, .. } =
        alert::example(name, Kind::Firing);
    Notice { labels, annotations, value, starts_at, ends_at, kind, generator_url }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(crate::state::now().as_millis() + millis)
}

/// Names and states of a webhook body's alerts.
fn names(body: &str) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let alerts = body["alerts"].as_array().expect("a list").iter();
    alerts
        .map(|alert| {
            format!(
                "{} {}",
                alert["labels"]["alertname"].as_str().expect("a name"),
                alert["status"].as_str().expect("text")
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tell_is_one_message_and_only_changes_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, seen) = fake(vec![answer("200 OK", "", ""); 3]);
    let text = format!(
        "external_labels: {{cluster: jateng}}\nnotify: {{webhook: [{{name: noc, url: '{address}/x'}}]}}\n"
    );
    let settings = settings(folder.path(), &text);
    let metrics = Metrics::new();
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let notifier = Notifier::start(&settings, &metrics, runtime).expect("it starts");
        notifier.tell(vec![notice("a", NoticeKind::Firing), notice("b", NoticeKind::Firing)], at(0));
        notifier.tell(vec![notice("a", NoticeKind::Firing)], at(1));
        notifier.tell(vec![notice("b", NoticeKind::Resolved), notice("a", NoticeKind::Firing)], at(2));
        let (_, body) = next(&seen);
        assert_eq!(names(&body), ["a firing", "b firing"]);
        assert!(body.contains("\"cluster\":\"jateng\""), "{body}");
        assert_eq!(names(&next(&seen).1), ["b resolved"]);
        notifier.stop();
        assert!(
            metrics.text().contains("pantau_notify_delivered_total{receiver=\"webhook.noc\"} 2"),
            "{}",
            metrics.text()
        );
        // After a restart what still fires is told to nobody anew, and what is over is.
        let metrics = Metrics::new();
        let notifier = Notifier::start(&settings, &metrics, notifier.runtime.clone()).expect("it starts");
        notifier.tell(vec![notice("a", NoticeKind::Firing)], at(3));
        notifier.tell(vec![notice("a", NoticeKind::Resolved)], at(4));
        assert_eq!(names(&next(&seen).1), ["a resolved"]);
        notifier.stop();
    })
    .await
    .expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_took_is_delivered_after_a_restart_and_what_is_refused_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let section = |address: &str| format!("notify: {{webhook: [{{name: noc, url: '{address}/x'}}]}}\n");
    let nobody = settings(folder.path(), &section("http://127.0.0.1:1"));
    let (address, seen) = fake(vec![answer("400 Bad", "", "never"), answer("200 OK", "", "")]);
    let somebody = settings(folder.path(), &section(&address));
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let metrics = Metrics::new();
        let notifier = Notifier::start(&nobody, &metrics, runtime).expect("it starts");
        notifier.tell(vec![notice("a", NoticeKind::Firing)], at(0));
        notifier.tell(vec![notice("b", NoticeKind::Firing)], at(0));
        notifier.reload(&somebody).expect("taken over");
        assert_eq!(names(&next(&seen).1), ["a firing"]);
        assert_eq!(names(&next(&seen).1), ["b firing"]);
        notifier.stop();
        let text = metrics.text();
        assert!(
            text.contains("pantau_notify_given_up_total{reason=\"refused\",receiver=\"webhook.noc\"} 1"),
            "{text}"
        );
        assert!(text.contains("pantau_notify_waiting{receiver=\"webhook.noc\"} 0"), "{text}");
    })
    .await
    .expect("no panic");
}

#[tokio::test]
async fn a_test_says_what_each_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, seen) = fake(vec![answer("200 OK", "", "{}"), answer("503 Busy", "", "later")]);
    let text = format!(
        "alerting: {{alertmanagers: [{{url: '{address}'}}]}}\nnotify: {{language: id, webhook: [{{name: noc, url: '{address}/x'}}]}}\n"
    );
    let said = test(&settings(folder.path(), &text), at(0)).await.expect("all can be made");
    assert_eq!(said[0], (format!("alertmanager {address}/api/v2/alerts"), Ok("it answered 200 {}".into())));
    assert_eq!(said[1], (format!("webhook.noc ({address})"), Err("it answered 503 later".into())));
    assert!(next(&seen).1.contains("Ini uji coba pemberitahuan"));
    assert!(!folder.path().join("data").exists(), "a test keeps nothing");
}

#[test]
fn mistakes_stand_at_their_place() {
    let check = |text: &str, expected: &str| {
        let why = Checked::parse(text, "c", Path::new("/nowhere")).expect_err("a mistake").to_string();
        assert!(why.starts_with(expected), "{why}");
    };
    check("alerting:\n  alertmanagers:\n  - url: am\n", "c:3:10: alerting.alertmanagers[0].url: no address");
    check(
        "notify:\n  webhook:\n  - {name: a, url: 'http://h'}\n  - {name: a, url: 'http://i'}\n",
        "c:4:12: notify.webhook[1].name: another webhook",
    );
    check("notify:\n  language: fr\n", "c:2:13: ");
    check("notify:\n  give_up_after: 1s\n", "c:2:18: notify.give_up_after: 1s is out of bounds");
    check(
        "notify:\n  telegram:\n  - {name: a, chat: 1, token: 123:abc}\n",
        "c:3:31: a secret does not stand in the settings",
    );
    let twice = "alerting: {alertmanagers: [{url: 'http://h'}, {url: 'http://h/'}]}";
    check(twice, "c:1:53: alerting.alertmanagers[1].url: another Alertmanager has the same address");
}
