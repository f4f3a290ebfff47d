//! Texts as Prometheus expands them; `tests/tests/templates.rs` asks promtool for the same and more.

use proptest::prelude::*;

use super::*;

struct World;

impl Environment for World {
    fn query(&mut self, expr: &str) -> Result<Vec<QuerySample>, String> {
        let sample =
            |device: &str, value| QuerySample { labels: Labels::from_pairs([("device", device)]), value };
        match expr {
            "two" => Ok(vec![sample("b", 11.0), sample("a", 21.0)]),
            "many" => Ok((0..100_000).map(|index| sample(&index.to_string(), 1.0)).collect()),
            "none" => Ok(Vec::new()),
            other => Err(format!("no such query: {other}")),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_500)
    }
}

fn expand(text: &str) -> Result<String, String> {
    let template = Template::parse("t", text).map_err(|error| error.to_string())?;
    let data = AlertData {
        labels: &Labels::from_pairs([("instance", "sw1.example.org:161"), ("job", "snmp")]),
        external_labels: &Labels::from_pairs([("region", "ID-JB")]),
        external_url: "https://pantau.example.org/prom",
        value: 1234567.5,
        histogram: None,
    };
    template.expand(&data, &mut World).map_err(|error| error.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    assert_eq!(expand(text).expect_err("it cannot be expanded"), expected, "{text}");
}

#[test]
fn an_alert_says_who_and_how_much() {
    check("{{ $labels.instance }} is {{ $value }}", "sw1.example.org:161 is 1.2345675e+06");
    check("{{ .Labels.job }} {{ .Value | humanize }} {{ $labels.nothing }}.", "snmp 1.235M .");
    check(
        "{{ $externalLabels.region }} {{ externalURL }} {{ pathPrefix }}",
        "ID-JB https://pantau.example.org/prom /prom",
    );
    check("{{ $labels }}", "map[instance:sw1.example.org:161 job:snmp]");
}

#[test]
fn queries_are_ranged_over() {
    check("{{ range query \"two\" }}{{ .Labels.device }}={{ .Value }} {{ end }}", "b=11 a=21 ");
    check("{{ query \"two\" | sortByLabel \"device\" | first | label \"device\" }}", "a");
    check("{{ range $i, $s := query \"two\" }}{{ if $i }}, {{ end }}{{ $s | value }}{{ end }}", "11, 21");
    check("{{ range query \"none\" }}x{{ else }}nothing{{ end }}", "nothing");
    check("{{ range query \"two\" }}{{ .Value }}{{ break }}{{ end }}", "11");
    check("{{ with query \"two\" }}{{ . | first | value }}{{ end }}", "11");
}

#[test]
fn errors_bear_place_and_words() {
    check_error(
        "{{ query \"none\" | first }}",
        "error executing template t: template: t:1:130: executing \"t\" at <first>: error calling first: first() called on vector with no elements",
    );
    check_error("{{ nothing }}", "error parsing template t: template: t:1: function \"nothing\" not defined");
    check_error("{{ $nothing }}", "error parsing template t: template: t:1: undefined variable \"$nothing\"");
    check_error("a\n{{ if }}", "error parsing template t: template: t:2: missing value for if");
    check_error("{{ if true }}", "error parsing template t: template: t:1: unexpected EOF");
}

#[test]
fn templates_are_defined_and_called() {
    check("{{ define \"x\" }}<{{ . }}>{{ end }}{{ template \"x\" $labels.job }}", "<snmp>");
    check("{{ define \"x\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"b\") }}", "1-b");
    check("{{ define \"x\" }}<{{ . }}>{{ end }}{{ tmpl \"x\" 5 | print | toUpper }}", "<5>");
    check("{{ block \"b\" 7 }}[{{ . }}]{{ end }}", "[7]");
}

#[test]
fn moments_and_spans() {
    check("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC");
    check("{{ toTime 951782400 }}", "2000-02-29 00:00:00 +0000 UTC");
    check("{{ humanizeDuration 90061 }} {{ toDuration 5400.5 }} {{ now }}", "1d 1h 1m 1s 1h30m0.5s 1.5");
    check("{{ parseDuration \"1h30m\" }}", "5400");
}

#[test]
fn work_and_output_are_bounded() {
    let doubling = "{{ $x := \"0123456789abcdef\" }}".to_owned() + &"{{ $x = print $x $x }}".repeat(40);
    assert!(expand(&doubling).unwrap_err().contains("exceeds 1048576 bytes"));
    assert!(expand("{{ range 1000000000 }}{{ end }}").unwrap_err().contains("too much work"));
    assert!(expand("{{ range 100000 }}0123456789abcdef{{ end }}").unwrap_err().contains("1048576 bytes"));
    assert!(
        expand("{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}")
            .unwrap_err()
            .contains("depth")
    );
    assert!(
        expand(&format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000))).unwrap_err().contains("deep")
    );
    assert!(expand(&"{{ if true }}".repeat(5000)).unwrap_err().contains("deep"));
    assert!(
        expand("{{ range 1000 }}{{ query \"many\" | len }}{{ end }}").unwrap_err().contains("too much work")
    );
    // Every text of these is short enough, and together they would fill the memory.
    let wide = "{{ $x := printf \"%10000d\" 1 }}{{ $x = print $x $x $x $x $x $x $x $x $x $x }}{{ len (print"
        .to_owned();
    assert!(expand(&(wide + &" $x".repeat(50_000) + ") }}")).unwrap_err().contains("1048576 bytes"));
    let twice = "{{ $x := args 1 }}".to_owned() + &"{{ $x = args $x $x }}".repeat(60);
    assert!(expand(&(twice.clone() + "{{ $x }}")).unwrap_err().contains("1048576 bytes"));
    assert!(expand(&(twice.clone() + "{{ printf \"%v%d\" $x $x }}")).unwrap_err().contains("1048576 bytes"));
    assert!(expand(&(twice + &"{{ $x = args $x }}".repeat(60))).unwrap_err().contains("nested too deep"));
    let chain = "{{ if true }}x".to_owned() + &"{{ else if true }}y".repeat(5000) + "{{ end }}";
    assert!(expand(&chain).unwrap_err().contains("deep"));
}

proptest! {
    #[test]
    fn any_text_is_expanded_or_refused(text in "(\\{\\{|\\}\\}|-| |\\||\"|\\$x|:=|\\(|\\)|range|if|end|else|query|\\.|[a-z0-9%])*") {
        if let Ok(expanded) = expand(&text) {
            prop_assert!(expanded.len() <= OUTPUT_BYTES_MAX);
        }
    }

    #[test]
    fn a_text_without_actions_stays_as_it_is(text in "[^{]*") {
        prop_assert_eq!(expand(&text), Ok(text));
    }

    #[test]
    fn a_float_reads_back_equal(value in any::<f64>().prop_filter("numbers", |value| value.is_finite())) {
        prop_assert_eq!(number::general(value, None).parse::<f64>().unwrap().to_bits(), value.to_bits());
    }

    #[test]
    fn quoting_and_reading_are_inverse(text in "\\PC*") {
        prop_assert_eq!(expand(&format!("{{{{ {} }}}}", format::quote(&text))), Ok(text));
    }
}

#[test]
fn whether_a_template_asks_the_store_is_known() {
    let check = |text: &str, expected: bool| {
        assert_eq!(Template::parse("t", text).expect(text).queries(), expected, "{text}");
    };
    check("{{ $labels.query }} query {{ \"query\" | toUpper }}", false);
    for text in [
        "{{ query \"up\" }}",
        "{{ \"up\" | query | first | value }}",
        "{{ if true }}{{ else }}{{ with (query \"up\").a }}{{ end }}{{ end }}",
        "{{ range query \"up\" }}{{ end }}",
        "{{ define \"x\" }}{{ len (query \"up\") }}{{ end }}",
        "{{ define \"x\" }}{{ end }}{{ template \"x\" (query \"up\") }}",
        "{{ $x := 1 }}{{ $x = query \"up\" }}",
    ] {
        check(text, true);
    }
}
