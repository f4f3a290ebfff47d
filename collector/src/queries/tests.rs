//! Queries without a store.

use super::*;

fn queries(places: usize) -> Queries {
    Queries::new(places, Arc::new(Metrics::new()))
}

fn asked(scope: Scope) -> Asked {
    Asked {
        query: "up == 0".into(),
        start: Timestamp::from_millis(1000),
        end: Timestamp::from_millis(61_000),
        step: Duration::from_secs(15),
        timeout: Duration::from_secs(60),
        scope,
        origin: Origin::Request {
            method: "GET".into(),
            path: "/api/v1/query_range",
            reader: "grafana".into(),
            client: "10.0.0.1".into(),
        },
    }
}

fn kudus() -> Scope {
    Scope::new(vec!["33.19".parse().expect("a code")], Vec::new())
}

fn soon() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(30)
}

#[test]
fn each_scope_sees_and_ends_its_own_and_who_sees_everything_all() {
    let queries = queries(1);
    let (whole, whole_ticket) = queries.begin(asked(Scope::everything()));
    let (part, part_ticket) = queries.begin(asked(kudus()));
    let seen = |scope: &Scope| queries.active(scope).iter().map(|active| active.id).collect::<Vec<_>>();
    assert_eq!((seen(&Scope::everything()), seen(&kudus())), (vec![1, 2], vec![2]));
    let other = Scope::new(vec!["33.20".parse().expect("a code")], Vec::new());
    assert!(seen(&other).is_empty());
    assert!(!queries.kill(1, &kudus()) && !queries.kill(2, &other) && !queries.kill(3, &kudus()));
    assert!(queries.kill(2, &kudus()) && part.was_killed() && !whole.was_killed());
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(part_ticket.interrupt(later)(), Some(Interrupt::Canceled));
    assert_eq!(whole_ticket.interrupt(later)(), None);
    assert_eq!(whole_ticket.interrupt(Instant::now())(), Some(Interrupt::TimedOut));
    drop(whole);
    assert_eq!(whole_ticket.interrupt(later)(), Some(Interrupt::Canceled), "its client left");
    drop((part_ticket, whole_ticket));
    assert!(seen(&Scope::everything()).is_empty());
    let ended = |outcome| queries.shared.metrics.queries_ended.with_label_values(&[outcome]).get();
    assert_eq!((ended("killed"), ended("left"), queries.shared.metrics.queries_active.get()), (1, 1, 0));
}

#[tokio::test]
async fn a_query_waits_for_its_place_and_no_longer_than_it_may() {
    let queries = Arc::new(queries(1));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (first, begun) = (Arc::clone(&queries), Arc::new(Notify::new()));
    let started = Arc::clone(&begun);
    let first = tokio::spawn(async move {
        first
            .run(soon(), move || {
                started.notify_one();
                wait.recv().is_ok()
            })
            .await
    });
    begun.notified().await;
    let late = queries.run(tokio::time::Instant::now(), || 1).await;
    assert_eq!(late, Err(NotRun::TimedOut));
    // Streams do not wait for it.
    assert!(queries.stream_place(soon()).await.is_ok());
    go.send(()).expect("the first query waits");
    assert_eq!(first.await.expect("no panic"), Ok(true));
    assert_eq!(queries.run(soon(), || 2).await, Ok(2));
}

#[tokio::test]
async fn work_that_panics_ends_alone() {
    let queries = queries(1);
    assert_eq!(queries.run(soon(), || panic!("a mistake")).await, Err::<(), _>(NotRun::Broken));
    assert_eq!(queries.run(soon(), || 1).await, Ok(1));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn queries_have_a_lower_priority_than_what_waits_for_them() {
    // The nineteenth field of stat is the thread's niceness; the name in brackets holds no blank here.
    let nice = || {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
        stat.split(' ').nth(18).and_then(|nice| nice.parse::<i32>().ok()).expect("a number")
    };
    let own = nice();
    let theirs = queries(1).run(soon(), nice).await.expect("a place is free");
    assert!(theirs > own || own >= 19, "{own} {theirs}");
}

#[test]
fn a_line_is_as_prometheus_writes_it() {
    let statistics = Statistics { samples_read: 7, samples_peak: 5, ..Statistics::default() };
    let (waited, took) = (Duration::from_millis(500), Duration::from_millis(2000));
    let at = Timestamp::from_millis(1500);
    let ended = Ended { outcome: Ok(&statistics), samples: Some(9) };
    let line = log::line(&asked(kudus()), &ended, waited, took, at);
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let expected = serde_json::json!({
        "params": {"query": "up == 0", "start": "1970-01-01T00:00:01Z", "end": "1970-01-01T00:01:01Z", "step": 15},
        "stats": {
            "timings": {
                "evalTotalTime": 1.5, "resultSortTime": 0, "queryPreparationTime": 0, "innerEvalTime": 1.5,
                "execQueueTime": 0.5, "execTotalTime": 2.0,
            },
            "samples": {"totalQueryableSamples": 9, "peakSamples": 5},
        },
        "httpRequest": {"clientIP": "10.0.0.1", "method": "GET", "path": "/api/v1/query_range"},
        "reader": "grafana",
        "ts": "1970-01-01T00:00:01.5Z",
    });
    assert_eq!(value, expected);
    assert_eq!(line.matches('\n').count(), 1);
    let rule = Asked { origin: Origin::Rule { file: "f".into(), group: "g".into() }, ..asked(kudus()) };
    let ended = Ended { outcome: Err("no".into()), samples: None };
    let line = log::line(&rule, &ended, waited, took, at);
    assert!(
        line.contains(r#""error":"no""#) && line.contains(r#""ruleGroup":{"file":"f","name":"g"}"#),
        "{line}"
    );
}

#[test]
fn the_log_is_bounded_and_its_owners_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queries.log");
    let mut file = log::LogFile::open(path.clone(), 1000).expect("writable");
    for _ in 0..20 {
        file.write(&"x".repeat(300)).expect("written");
    }
    let size = |name| std::fs::metadata(folder.path().join(name)).expect("it is there").len();
    assert_eq!((size("queries.log"), size("queries.log.1")), (600, 900));
    #[cfg(unix)]
    {
        let about = std::fs::metadata(&path).expect("it is there");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, 0o600);
    }
}

#[test]
fn queries_are_logged_as_long_as_there_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let queries = queries(1);
    assert!(!queries.logs());
    let config = log::Config { file: Some("queries.log".into()), ..log::Config::default() };
    queries.open_log(&config, folder.path()).expect("writable");
    assert!(queries.logs());
    let (_client, ticket) = queries.begin(asked(Scope::everything()));
    ticket.done(&Ended { outcome: Err("no".into()), samples: None });
    queries.open_log(&log::Config::default(), folder.path()).expect("no log is fine");
    assert!(!queries.logs());
    // Another thread writes it, also after the log was closed.
    let read = || std::fs::read_to_string(folder.path().join("queries.log")).unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(30);
    while !read().ends_with('\n') && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(read().contains(r#""error":"no""#), "{}", read());
    let nowhere = log::Config { file: Some("no/such/folder".into()), ..config };
    assert!(queries.open_log(&nowhere, folder.path()).is_err());
}
