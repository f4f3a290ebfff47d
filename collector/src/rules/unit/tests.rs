//! Whole test files, where promtool 2.42 cannot be asked.

use super::*;

fn check(rules: &str, test: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rules.yml"), rules).expect("written");
    let path = folder.path().join("test.yml");
    std::fs::write(&path, format!("rule_files: [rules.yml]\n{test}")).expect("written");
    assert_eq!(run(&path, promql::Features::default()), expected, "{test}");
}

const SUMS: &str = "groups:\n- name: g\n  rules:\n  - {record: 'h:sum', expr: sum(h)}\n";

#[test]
fn native_histograms_are_given_recorded_and_compared() {
    let test = |sum: u32| {
        format!(
            "tests:\n- interval: 1m\n  input_series:\n  \
             - {{series: 'h{{a=\"1\"}}', values: '{{{{schema:0 sum:5 count:4 buckets:[1 2 1]}}}}x5'}}\n  \
             - {{series: 'h{{a=\"2\"}}', values: '{{{{sum:5 count:4 buckets:[1 2 1]}}}}+{{{{sum:1 count:1 buckets:[1]}}}}x5'}}\n  \
             promql_expr_test:\n  \
             - {{expr: 'h:sum', eval_time: 2m, exp_samples: [{{labels: 'h:sum', histogram: '{{{{sum:{sum} count:10 buckets:[4 4 2]}}}}'}}]}}\n"
        )
    };
    check(SUMS, &test(12), &[]);
    check(
        SUMS,
        &test(13),
        &[
            "    expr: \"h:sum\", time: 2m,\n        exp: {__name__=\"h:sum\"} {{count:10 sum:13 buckets:[4 4 2]}}\n        \
           got: {__name__=\"h:sum\"} {{count:10 sum:12 buckets:[4 4 2]}}",
        ],
    );
}

#[test]
fn a_fuzzy_test_passes_over_the_last_bit() {
    let test = |head: &str| {
        format!(
            "{head}tests:\n- interval: 1m\n  promql_expr_test: [{{expr: 0.1 + 0.2, eval_time: 0m, exp_samples: [{{labels: '{{}}', value: 0.3}}]}}]\n"
        )
    };
    check(SUMS, &test("fuzzy_compare: true\n"), &[]);
    check(
        SUMS,
        &test(""),
        &[
            "    expr: \"0.1 + 0.2\", time: 0s,\n        exp: {} 3E-01\n        got: {} 3.0000000000000004E-01",
        ],
    );
}

#[test]
fn groups_come_in_the_order_that_is_asked_for() {
    let rules = "groups:\n- name: b\n  rules:\n  - {record: two, expr: one * 2}\n- name: a\n  rules:\n  - {record: one, expr: vector(time())}\n";
    let test = |order: &str, value: u32| {
        format!(
            "group_eval_order: [{order}]\nevaluation_interval: 10s\ntests:\n- promql_expr_test: [{{expr: two, eval_time: 20s, exp_samples: [{{labels: two, value: {value}}}]}}]\n"
        )
    };
    check(rules, &test("a, b", 40), &[]);
    check(rules, &test("b, a", 20), &[]);
}
