use model::Timestamp;

use super::*;

fn check(text: &str, expected: &str) {
    let expr = parse_with(text, Features::ALL).unwrap_or_else(|error| panic!("{text}: {error}"));
    let printed = expr.to_string();
    assert_eq!(printed, expected, "{text}");
    let again = parse_with(&printed, Features::ALL).unwrap_or_else(|error| panic!("{printed}: {error}"));
    assert_eq!(again.to_string(), printed, "printed, read and printed again");
}

fn check_error(text: &str, expected: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!(error.to_string(), expected, "{text}");
}

/// Runs on the smallest stack that the program's threads have.
fn on_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread starts");
    thread.join().expect("neither the stack nor a check gives way");
}

#[test]
fn operators_bind_as_in_prometheus() {
    check("1 + 2 * 3", "1 + 2 * 3");
    check("-1 ^ 2", "-1 ^ 2");
    check("a or b and c unless d", "a or b and c unless d");
    for (text, op) in [("a + b * c", "+"), ("a * b + c", "+"), ("a ^ b ^ c", "^"), ("a == b + c", "==")] {
        let Kind::Binary(binary) = parse(text).expect("it is right").kind else { panic!("{text} is binary") };
        assert_eq!(binary.op.as_str(), op, "{text}");
    }
    let Kind::Binary(power) = parse("2 ^ 3 ^ 2").expect("it is right").kind else { panic!("binary") };
    assert!(matches!(power.lhs.kind, Kind::Number(2.0)), "powers group to the right");
    let Kind::Negate(inner) = parse("-a ^ 2").expect("it is right").kind else {
        panic!("a sign binds looser than ^")
    };
    assert!(matches!(inner.kind, Kind::Binary(_)));
}

#[test]
fn selectors_and_their_modifiers() {
    check("up", "up");
    check(r#"up{job="a",instance!~"b.*",}"#, r#"up{instance!~"b.*",job="a"}"#);
    check(r#"{"a.b", "c.d"='e'}"#, r#"{"c.d"="e",__name__="a.b"}"#);
    check("up[5m] offset 1h @ 10.5", "up[5m] @ 10.500 offset 1h");
    check("up @ end() offset -30s", "up @ end() offset -30s");
    check("rate(up[300])[1h:]", "rate(up[5m])[1h:]");
    check("max_over_time(rate(up[5m])[1h:1m] @ start())", "max_over_time(rate(up[5m])[1h:1m] @ start())");
    check("sum", "sum");
    // Found beside Prometheus 2.42: these keywords name metrics, and those do not.
    for name in ["and", "or", "unless", "by", "without", "offset", "start", "end", "sum", "limitk"] {
        check(&format!("{name}{{a=\"b\"}} + {name}"), &format!("{name}{{a=\"b\"}} + {name}"));
    }
    check("and and or or unless", "and and or or unless");
    for word in ["atan2", "on", "ignoring", "group_left", "group_right", "bool", "BOOL"] {
        assert!(parse(word).is_err() && parse(&format!("sum({word}[5m])")).is_err(), "{word}");
        check(&format!("{{__name__=\"{word}\"}}"), &format!("{{__name__=\"{word}\"}}"));
        check(&format!("{{\"{word}\"}}"), &format!("{{__name__=\"{word}\"}}"));
    }
    check_error("bool", "1:1: parse error: unexpected <bool>");
    check_error("x + on", "1:7: parse error: unexpected end of input in grouping opts, expected \"(\"");
    check(r#"{__name__="up"}"#, r#"{__name__="up"}"#);
    check(r#"up{b="c",a="d"} @ 1 offset 5m"#, r#"up{a="d",b="c"} @ 1.000 offset 5m"#);
    check("up # a remark\n + 1", "up + 1");
}

#[test]
fn aggregations_and_matching() {
    check("sum by (job, ) (up)", "sum by (job) (up)");
    check("SUM(up) WITHOUT (a)", "sum without (a) (up)");
    check(r#"topk(3, up)"#, "topk(3, up)");
    check(r#"count_values by ("a.b") ("v", up)"#, r#"count_values by ("a.b") ("v", up)"#);
    check("a / on(x) group_left(y) b", "a / on (x) group_left (y) b");
    check("a > bool ignoring(x) b", "a > bool ignoring (x) b");
    check("a + fill(0) b", "a + fill_left (0) fill_right (0) b");
}

#[test]
fn numbers_strings_and_lengths() {
    check("Inf + NaN", "+Inf + NaN");
    check("- -1 + +2 - -5m", "1 + 2 - -5m");
    check("0x1F + 1e3 + .5 + 5m", "31 + 1000 + 0.5 + 5m");
    check(r#"label_replace(up, "a", '\x41\u00e9\n', `b`, "")"#, r#"label_replace(up, "a", "Aé\n", "b", "")"#);
    check("up[2 * (step() + 1s)]", "up[(2s * (step() + 1s))]");
    check("up offset -min_of(step(), 1s) ^ 0", "up offset -(min_of(step(), 1s)) ^ 0");
}

#[test]
fn errors_say_what_and_where() {
    check_error("", "1:1: parse error: no expression found in input");
    check_error("foo + * bar", "1:7: parse error: unexpected <op:*>");
    check_error("sum(rate(foo[5m])", "1:18: parse error: unclosed left parenthesis");
    check_error("foo bar", "1:5: parse error: unexpected identifier \"bar\"");
    check_error("foo{a=\"b\"", "1:10: parse error: unexpected end of input inside braces");
    check_error(
        "foo{a=b}",
        "1:7: parse error: unexpected identifier \"b\" in label matching, expected string",
    );
    check_error("\n  foo)", "2:6: parse error: unexpected right parenthesis ')'");
    check_error(
        "{a=~\".*\"}",
        "1:1: parse error: vector selector must contain at least one non-empty matcher",
    );
    check_error("up{__name__=\"x\"}", "1:4: parse error: metric name must not be set twice: \"up\" or \"x\"");
    check_error("nope(up)", "1:1: parse error: unknown function with name \"nope\"");
    check_error(
        "rate(up)",
        "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
    );
    check_error("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0");
    check_error("1 > 2", "1:3: parse error: comparisons between scalars must use BOOL modifier");
    check_error("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression");
    check_error("(a) + on (x) 1", "1:1: parse error: vector matching only allowed between instant vectors");
    check_error("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators");
    check_error(
        "a * on(x) group_left(x) b",
        "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once",
    );
    check_error("a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times");
    check_error("sum(a)[5m]", "1:7: parse error: ranges only allowed for vector selectors");
    check_error("a[0s]", "1:3: parse error: duration must be greater than 0");
    check_error("a[5m:0]", "1:6: parse error: duration must be greater than 0");
    check_error(
        "-\"a\"",
        "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
    );
    check_error("up @ inf", "1:6: parse error: timestamp out of bounds for @ modifier: NaN");
    check_error(
        "topk(up)",
        "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    );
}

#[test]
fn what_is_experimental_must_be_enabled() {
    check_error("a + fill(0) b", "1:5: parse error: binop fill modifiers are experimental and not enabled");
    check_error("a[5m * 2]", "1:6: parse error: experimental duration expression is not enabled");
    check_error(
        "rate(a[5m] anchored)",
        "1:12: parse error: anchored modifier is experimental and not enabled",
    );
    let none = Features { functions: false, ..Features::default() };
    assert!(parse_with("limitk(1, up)", none).is_err() && parse_with("mad_over_time(up[5m])", none).is_err());
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for text in
        ["a[1e300]", "a offset 1e300", "a offset -1e300", "a[5m:1e300]", "a[9999999999y]", "a @ 1e300"]
    {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains("out of"), "{error}");
    }
}

#[test]
fn deep_nesting_ends_in_an_error_and_not_the_process() {
    on_small_stack(|| {
        let n = 100_000;
        for text in [
            "(".repeat(n),
            format!("{}1{}", "(".repeat(n), ")".repeat(n)),
            "-".repeat(n),
            format!("{}1", "-".repeat(n)),
            format!("1{}", "+1".repeat(n)),
            format!("1{}", "^1".repeat(n)),
            format!("{}x{}", "sum(".repeat(n / 4), ")".repeat(n / 4)),
            format!("x{}", "[1m:]".repeat(n / 5)),
            format!("x[{}1m", "-".repeat(n)),
            format!("x[{}1m", "(".repeat(n)),
            format!("x{}", " or x".repeat(n / 5)),
            format!("x[1m{}]", "^1".repeat(n)),
        ] {
            let start: String = text.chars().take(12).collect();
            assert!(parse_with(&text, Features::ALL).is_err(), "{start}…");
        }
    });
}

#[test]
fn the_deepest_tree_is_walked_on_a_small_stack() {
    on_small_stack(|| {
        let n = Expr::DEPTH_MAX - 1;
        for text in [
            format!("{}1{}", "(".repeat(n), ")".repeat(n)),
            format!("{}x", "-".repeat(n)),
            format!("x{}", " or x".repeat(n)),
        ] {
            let expr = parse(&text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(expr.to_string().len(), text.len());
            assert!(expr.pinned(Timestamp::from_millis(0)).is_some());
        }
    });
}

#[test]
fn length_and_regular_expressions_are_bounded() {
    assert!(parse(&"a".repeat(Expr::BYTES_MAX)).is_ok());
    let error = parse(&"a".repeat(Expr::BYTES_MAX + 1)).expect_err("too long").message;
    assert!(error.contains("262144"), "{error}");
    let many = format!("{{a=\"b\", {}}}", r#"c=~"d","#.repeat(REGEX_COUNT_MAX + 1));
    let error = parse(&many).expect_err("too many").message;
    assert!(error.contains("100 regular expressions"), "{error}");
}

/// A thousand selectors of some 6 MiB each took 6 GiB before anything was asked for.
#[test]
fn what_regular_expressions_take_together_is_bounded() {
    let large = "([a-z]{1,200}){1,20}".repeat(4);
    let selector = format!("{{a=~\"{large}\"}}");
    let many = vec![selector.as_str(); 80].join(" or ");
    let error = parse(&many).expect_err("too large together").message;
    assert!(error.contains("take more than 64 MiB: use fewer or simpler ones"), "{error}");
    assert!(parse(&selector).is_ok(), "one may be as large");
    let mut room = model::PatternRoom::default();
    let fit = (0..80).take_while(|_| parse_matchers_within(&mut room, &selector).is_ok()).count();
    assert!((1..80).contains(&fit), "selectors of a request share the room: {fit}");
}

#[test]
fn lists_are_bounded() {
    for (text, expected) in [
        (format!("label_join(a, \"b\", \"\"{})", ", \"c\"".repeat(1000)), "more than 200 arguments"),
        (format!("sum by ({}b) (a)", "b,".repeat(1000)), "more than 1000 labels"),
        (format!("a{{{}}}", "b=\"c\",".repeat(1001)), "more than 1000 matchers"),
    ] {
        let error = parse(&text).expect_err("too many").message;
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn matchers_of_a_selector() {
    let matchers = parse_matchers(r#"up{job=~"a|b"}"#).expect("a selector");
    let shown: Vec<_> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [r#"job=~"a|b""#, r#"__name__="up""#]);
    for bad in ["", "up[5m]", "up + 1", "{}", "sum(up)", "up offset 1m", "{a=\"\"}"] {
        assert!(parse_matchers(bad).is_err(), "{bad}");
    }
}

#[test]
fn annotations_find_lines_and_columns() {
    assert_eq!(position("ab\ncd", 0), (1, 1));
    assert_eq!(position("ab\ncd", 4), (2, 2));
}

#[test]
fn what_moves_with_time_cannot_be_pinned() {
    let at = Timestamp::from_millis(1500);
    let pinned = |text: &str| parse(text).expect("it is right").pinned(at).map(|expr| expr.to_string());
    assert_eq!(pinned("a + b @ 3"), Some("a @ 1.500 + b @ 3.000".into()));
    assert_eq!(pinned("rate(a[5m:])"), Some("rate(a[5m:] @ 1.500)".into()));
    assert_eq!(pinned("a + time()"), None);
    assert_eq!(pinned("max_over_time(vector(time())[5m:])"), None);
}
