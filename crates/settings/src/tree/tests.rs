use proptest::prelude::*;

use super::*;

/// A tree as text: plain scalars as they are, texts in quotes, no value as `~`.
fn shape(tree: &Tree, index: u32) -> String {
    let node = tree.node(index);
    let children = || tree.children(node).map(|child| shape(tree, child)).collect::<Vec<_>>();
    match node.kind {
        Kind::Plain => tree.text(node).to_owned(),
        Kind::Text => format!("{:?}", tree.text(node)),
        Kind::Null => "~".to_owned(),
        Kind::List => format!("[{}]", children().join(", ")),
        Kind::Map => {
            let pairs: Vec<String> = children().chunks(2).map(|pair| pair.join(": ")).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

fn check(text: &str, expected: &str) {
    let tree = Tree::read(text).unwrap_or_else(|fault| panic!("{text:?}: {fault:?}"));
    assert_eq!(shape(&tree, tree.root()), expected, "{text:?}");
}

fn check_fault(text: &str, line: u32, column: u32, expected: &str) {
    let fault = Tree::read(text).expect_err("it is no tree");
    assert_eq!(fault.place, Place { line, column }, "{fault:?}");
    assert!(fault.why.contains(expected), "{fault:?} should contain {expected:?}");
}

#[test]
fn a_scalar_keeps_its_text_and_whether_it_was_quoted() {
    check("a: yes\nb: 'yes'\nc: \"n\\to\"\n", r#"{a: yes, b: "yes", c: "n\to"}"#);
    check("[33.10, '33.10', 0x1F, ~, null, '', -1e3]", r#"[33.10, "33.10", 0x1F, ~, ~, "", -1e3]"#);
    check("a:\nb: \n- x", r#"{a: ~, b: [x]}"#);
    check("two words", "two words");
    check("a: http://x:1/#y # comment\n", "{a: http://x:1/#y}");
    check("a: one\n  two\n", "{a: one two}");
}

#[test]
fn blocks_keep_and_fold_lines() {
    check("a: |\n  one\n   two\n\n  three\nb: 1\n", r#"{a: "one\n two\n\nthree\n", b: 1}"#);
    check("a: |-\n  one\n  two\n", r#"{a: "one\ntwo"}"#);
    check("a: |+\n  one\n\nb: 1\n", r#"{a: "one\n\n", b: 1}"#);
    check("a: >\n  one\n  two\n\n  three\n", r#"{a: "one two\nthree\n"}"#);
    check("a: |\n  true\n", r#"{a: "true\n"}"#);
}

#[test]
fn tags_say_that_a_scalar_is_a_text_or_no_value_and_nothing_else() {
    check(
        "[!!str 1, ! 1, !!null x, !!int '5', !!bool \"true\", !own 1, !own 'x']",
        r#"["1", "1", ~, 5, true, 1, "x"]"#,
    );
    check("[!!seq [a], !!map {a: 1}, !own {b: 2}]", "[[a], {a: 1}, {b: 2}]");
    check_fault("a: !!binary aGk=\n", 1, 13, "binary values have no place");
}

#[test]
fn an_alias_repeats_what_its_anchor_names_at_its_own_place() {
    check("a: &x {b: 1}\nc: *x\nd: [*x, &y z, *y]\n", "{a: {b: 1}, c: {b: 1}, d: [{b: 1}, z, z]}");
    check("a: &x 1\nb: &x 2\nc: *x\n", "{a: 1, b: 2, c: 2}");
    let tree = Tree::read("a: &x {b: 1}\nc: *x\n").expect("good");
    let alias = tree.key(tree.root(), "c").expect("it is there");
    assert_eq!(tree.node(alias).place, Place { line: 2, column: 4 });
    let within = tree.key(alias, "b").expect("it is there");
    assert_eq!(tree.node(within).place, Place { line: 1, column: 11 });
    check_fault("a: &x [*x]\n", 1, 8, "within what it repeats");
    check_fault("a: *x\n", 1, 4, "anchor");
}

#[test]
fn sections_are_merged_and_what_is_written_counts() {
    check(
        "base: &b {x: 1, y: 2}\nown:\n  y: 3\n  <<: *b\n  z: 4\n",
        "{base: {x: 1, y: 2}, own: {y: 3, z: 4, x: 1}}",
    );
    check("<<: [{a: 1, b: 1}, {b: 2, c: 2}]\nc: 3\n", "{c: 3, a: 1, b: 1}");
    check("'<<': 1\n", r#"{"<<": 1}"#);
    check_fault("a: 1\n<<: 5\n", 2, 5, "takes a section");
    check_fault("<<: [{a: 1}, [b]]\n", 1, 14, "takes a section");
}

#[test]
fn keys_stand_once_and_are_scalars() {
    check_fault("a: 1\nb: 2\na: 3\n", 3, 1, "\"a\" stands twice (first at line 1, column 1)");
    check_fault("a: 1\n'a': 3\n", 2, 1, "stands twice");
    check_fault("x: {b: 1, ä: 2, b: 3}\n", 1, 17, "(first at line 1, column 5)");
    check_fault("{[a]: 1, <<: {b: 1}}\n", 1, 2, "a key belongs here");
    check_fault("? {a: 1}\n: 2\n", 1, 3, "a key belongs here");
    check("{a, b: 1}", "{a: ~, b: 1}");
}

#[test]
fn a_text_is_one_document() {
    check("", "~");
    check("# nothing\n", "~");
    check("---\na: 1\n...\n", "{a: 1}");
    check_fault("a: 1\n---\nb: 2\n", 2, 1, "a second document");
    check_fault("a: [\n", 1, 4, "unclosed bracket");
    check_fault("a: b: c\n", 1, 5, "mapping values are not allowed");
    check_fault("a:\n\tb: 1\n", 2, 2, "tab");
}

/// A mark of the byte order and carriage returns, as editors of Windows write them.
#[test]
fn what_other_editors_write_is_read_alike() {
    check("\u{feff}a: 1\r\nb:\r\n  - x\r\n  - |\r\n    y\r\n", r#"{a: 1, b: [x, "y\n"]}"#);
    check("\u{feff}", "~");
    check("---\r\na: 1\r\n...\r\n", "{a: 1}");
    check("{\r\n\t\"a\": [1,\r\n\t2]\r\n}\r\n", r#"{"a": [1, 2]}"#);
    check_fault("\u{feff}a: 1\r\na: 2\r\n", 2, 1, "stands twice (first at line 1, column 1)");
    check_fault("---\n---\na: 1\n", 2, 1, "a second document");
}

#[test]
fn columns_count_characters() {
    let tree = Tree::read("ä: {ö: x}\n").expect("good");
    let inner = tree.key(tree.root(), "ä").and_then(|at| tree.key(at, "ö")).expect("it is there");
    assert_eq!(tree.node(inner).place, Place { line: 1, column: 8 });
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Tree::read(&nested(DEPTH_MAX)).is_ok());
    check_fault(&nested(DEPTH_MAX + 1), 1, 65, "write it flatter");
    check_fault(&nested(100_000), 1, 256, "write it flatter");
    let block: String = (0..=DEPTH_MAX).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    check_fault(&block, 65, 65, "write it flatter");
    check_fault(&"- ".repeat(100_000), 1, 129, "write it flatter");
}

#[test]
fn aliases_do_not_nest_deeper_than_what_is_written_may() {
    // Each line nests what the line before names 20 deeper.
    let deeper = |line: usize| match line {
        0 => format!("a0: &a0 {}x{}\n", "[".repeat(20), "]".repeat(20)),
        _ => format!("a{line}: &a{line} {}*a{}{}\n", "[".repeat(20), line - 1, "]".repeat(20)),
    };
    let three: String = (0..3).map(deeper).collect();
    assert!(Tree::read(&three).is_ok(), "61 sections and lists within each other");
    let four: String = (0..4).map(deeper).collect();
    check_fault(&four, 4, 29, "write it flatter");
}

#[test]
fn a_bomb_of_aliases_is_refused_before_it_goes_off() {
    let laughs = |line: usize| match line {
        0 => "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned(),
        _ => format!("a{line}: &a{line} [{}]\n", vec![format!("*a{}", line - 1); 10].join(", ")),
    };
    let bomb: String = (0..20).map(laughs).collect();
    check_fault(&bomb, 6, 15, "more than 250000 values");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 20].join(", "));
    check_fault(&long, 2, 61, "bytes of text, aliases followed");
    let merged: String = (0..20)
        .map(|line| match line {
            0 => "m0: &m0 {k: 1}\n".to_owned(),
            _ => format!("m{line}: &m{line} {{<<: [{}]}}\n", vec![format!("*m{}", line - 1); 10].join(", ")),
        })
        .collect();
    check_fault(&merged, 6, 45, "more than 250000 values");
}

#[test]
fn size_is_bounded() {
    let large = format!("# {}\n", "x".repeat(usize::try_from(FILE_BYTES_MAX).expect("it is small")));
    check_fault(&large, 1, 1, "more than the 4194304 that settings may have");
    let wide = format!("[{}]", "a,".repeat(300_000));
    check_fault(&wide, 1, 500_000, "more than 250000 values");
}

#[test]
fn many_keys_and_many_aliases_take_no_time_to_speak_of() {
    let many: String = (0..60_000).map(|n| format!("k{n}: &a{n} v\n")).collect();
    let aliases: String = (0..60_000).map(|n| format!("- *a{n}\n")).collect();
    let tree = Tree::read(&format!("{many}list:\n{aliases}")).expect("within the bounds");
    let list = tree.key(tree.root(), "list").expect("it is there");
    assert_eq!(tree.children(tree.node(list)).len(), 60_000);
}

/// A value of which the text is written in flow style. A plain scalar does not begin with a dot: `...` ends a document.
fn any_value() -> impl Strategy<Value = String> {
    let plain = "[a-z0-9][a-z0-9.]{0,5}".prop_filter("no value", |text| text != "null");
    let scalar = prop_oneof![plain, "[a-z:#\\[ ]{0,6}".prop_map(|text| format!("{text:?}"))];
    scalar.prop_recursive(6, 40, 5, |inner| {
        let key = "[a-z]{1,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|entries| {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("k{key}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_comes_back(text in any_value()) {
        let tree = Tree::read(&text).expect("it was written as YAML");
        prop_assert_eq!(shape(&tree, tree.root()), text);
    }

    #[test]
    fn no_text_panics_and_every_fault_has_a_place(text in "([-a: \n\\[\\]{},&*<!|>'\"#?~%]|\\PC){0,40}") {
        match Tree::read(&text) {
            Ok(tree) => drop(shape(&tree, tree.root())),
            Err(fault) => prop_assert!(fault.place.line >= 1 && fault.place.column >= 1, "{:?}", fault),
        }
    }
}
