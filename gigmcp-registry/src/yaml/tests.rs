use serde::{Deserialize, Serialize};

use super::*;

/// What is refused, in words, with line and column; the tree must be complete unless the parser stopped.
fn faults(text: &[u8]) -> Vec<(usize, usize, String)> {
    let (_, faults) = tree(text, &Limits::default());
    let place = |fault: &YamlFault| crate::diagnostic::Place::of(text, fault.span.clone());
    faults.iter().map(|fault| (place(fault).line, place(fault).column, fault.problem.to_string())).collect()
}

/// Attacks, each with a twin from which only the attack is removed.
#[test]
fn what_two_programs_could_read_in_two_ways_is_refused() {
    for (case, attack, line, column, expected, twin) in [
        ("W44 `on` as a value", "a: on\n", 1, 4, "`on` is true for YAML 1.1", "a: \"on\"\n"),
        ("W44 `on` as a key", "on: 1\n", 1, 1, "`on` is true for YAML 1.1", "\"on\": 1\n"),
        ("`no` in a list", "a: [de, no]\n", 1, 9, "`no` is false for YAML 1.1", "a: [de, nl]\n"),
        (
            "octal",
            "a: 0755\n",
            1,
            4,
            "`0755` is an octal number for YAML 1.1 and a decimal one for YAML 1.2",
            "a: 755\n",
        ),
        ("sexagesimal", "a: 12:30\n", 1, 4, "`12:30` is a number to the base of 60 for YAML 1.1", "a: '12:30'\n"),
        ("date", "a: 2001-01-01\n", 1, 4, "`2001-01-01` is a date for YAML 1.1", "a: '2001-01-01'\n"),
        ("null", "a: ~\n", 1, 4, "there is no value", "a: '~'\n"),
        ("nothing", "a:\nb: 1\n", 1, 2, "there is no value", "a: ''\nb: 1\n"),
        (
            "merge key",
            "a: {<<: {b: 1}}\n",
            1,
            5,
            "a merge key; each value is written out where it stands",
            "a: {c: {b: 1}}\n",
        ),
        ("anchor", "a: &x 1\n", 1, 7, "an anchor; each value is written out where it stands", "a: 1\n"),
        ("alias", "a: *x\n", 1, 4, "an alias; each value is written out where it stands", "a: x\n"),
        ("tag", "a: !!str 1\n", 1, 10, "a tag; types follow from the field", "a: '1'\n"),
        ("own tag", "a: !exec id\n", 1, 10, "a tag; types follow from the field", "a: id\n"),
        ("tag on a mapping", "a: !x {b: 1}\n", 1, 7, "a tag; types follow from the field", "a: {b: 1}\n"),
        ("duplicate key", "a: 1\nb: 2\na: 3\n", 3, 1, "the key \"a\" stands here a second time", "a: 1\nb: 2\nc: 3\n"),
        (
            "duplicate key in quotes",
            "a: 1\n\"\\u0061\": 2\n",
            2,
            1,
            "the key \"a\" stands here a second time",
            "a: 1\n\"\\u0062\": 2\n",
        ),
        (
            "duplicate key in JSON",
            "{\"a\": 1, \"a\": 2}",
            1,
            10,
            "the key \"a\" stands here a second time",
            "{\"a\": 1, \"b\": 2}",
        ),
        ("a list as a key", "? [a]\n: 1\n", 1, 3, "a key is not text", "? a\n: 1\n"),
        ("a number as a key", "1: a\n", 1, 1, "a key is not text", "'1': a\n"),
        ("second document", "a: 1\n---\nb: 2\n", 2, 1, "a second document begins here", "---\na: 1\nb: 2\n"),
        ("hidden second document", "a: 1\n...\n---\nb: 2\n", 3, 1, "a second document begins here", "a: 1\n...\n"),
        ("byte-order mark", "\u{feff}a: 1\n", 1, 1, "the character U+FEFF is a byte-order mark", "a: 1\n"),
        (
            "right-to-left override",
            "a: \"x\u{202e}y\"\n",
            1,
            6,
            "the character U+202E changes the direction of the text, so that what is seen is not what is read",
            "a: \"x\\u202ey\"\n",
        ),
        ("invisible in a comment", "a: 1 # \u{200b}\n", 1, 8, "the character U+200B is invisible", "a: 1 #\n"),
        (
            "text in selectors of variants",
            "a: \"x\u{e0148}\u{e0159}\"\n",
            1,
            6,
            "the character U+E0148 is invisible",
            "a: \"x\u{2764}\u{fe0f}\"\n",
        ),
        (
            "a text whose end is the file's",
            "a: |\n  x",
            2,
            4,
            "the last line of a text has no end, which some programs add",
            "a: |\n  x\n",
        ),
        (
            "a folded text whose end is the file's",
            "a:\n- >\n  x\n  y",
            4,
            4,
            "the last line of a text has no end, which some programs add",
            "a:\n- >-\n  x\n  y",
        ),
        (
            "a key that is marked for some",
            "a: {?b: 1}\n",
            1,
            5,
            "`?b` begins a key for some programs",
            "a: {\"?b\": 1}\n",
        ),
        ("a filler", "a: \u{3164}\n", 1, 4, "the character U+3164 is invisible", "a: \u{3131}\n"),
        (
            "a number for YAML 1.2",
            "a: 1e3\n",
            1,
            4,
            "`1e3` is a number for YAML 1.2 and text for YAML 1.1",
            "a: 1.0e+3\n",
        ),
        (
            "line of YAML 1.1",
            "a: 1 # x\u{85}b: 2\n",
            1,
            9,
            "the character U+0085 breaks a line in YAML 1.1 and not in YAML 1.2",
            "a: 1 # x\nb: 2\n",
        ),
        (
            "lone return",
            "a: 1 # x\rb: 2\n",
            1,
            9,
            "the character U+000D alone breaks a line for some programs only",
            "a: 1 # x\r\nb: 2\r\n",
        ),
        ("NUL", "a: x\0\n", 1, 5, "the character U+0000 is a control character", "a: \"x\\0\"\n"),
        ("empty", "", 1, 1, "the file is empty", "a: 1"),
        ("comments only", "# a\n", 1, 1, "the file is empty", "# a\na: 1\n"),
    ] {
        assert_eq!(faults(attack.as_bytes()), [(line, column, expected.into())], "{case}");
        assert_eq!(faults(twin.as_bytes()), [], "{case}, twin");
    }
    for (case, attack, expected) in [
        ("directive", "%YAML 1.1\n---\na: 1\n", "not YAML: "),
        ("tabs", "a:\n\tb: 1\n", "not YAML: "),
        ("unclosed", "a: [1\n", "not YAML: "),
        ("unclosed quote", "a: \"x\n", "not YAML: "),
    ] {
        let found = faults(attack.as_bytes());
        assert!(matches!(&found[..], [(_, _, message)] if message.starts_with(expected)), "{case}: {found:?}");
    }
    assert_eq!(faults(b"a: \xff\n"), [(1, 4, "the file is not UTF-8".into())]);
}

#[test]
fn all_of_it_is_told_at_once() {
    let found = faults(b"a: on\nb: &x 1\nc: 010\na: 2\n");
    let lines: Vec<_> = found.iter().map(|(line, _, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 4]);
}

#[test]
fn bombs_are_refused_within_their_bounds() {
    let limits = Limits { bytes: 1 << 16, depth: 8, nodes: 100 };
    let problems = |text: &str| -> Vec<YamlProblem> {
        tree(text.as_bytes(), &limits).1.into_iter().map(|fault| fault.problem).collect()
    };
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| {
        (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>() + &" ".repeat(depth) + "b"
    };
    let wide = |items: usize| format!("[{}]", "1,".repeat(items));
    for (case, bomb, expected, twin) in [
        ("flow", nested(9), YamlProblem::TooDeep { max_depth: 8 }, nested(8)),
        ("block", block(9), YamlProblem::TooDeep { max_depth: 8 }, block(8)),
        ("wide", wide(100), YamlProblem::TooManyNodes { max_nodes: 100 }, wide(99)),
        (
            "long",
            "#".repeat((1 << 16) + 1),
            YamlProblem::TooLong { max_bytes: 1 << 16 },
            "#".repeat((1 << 16) - 3) + "\n1",
        ),
    ] {
        assert_eq!(problems(&bomb), [expected], "{case}");
        assert_eq!(problems(&twin), [], "{case}, twin");
    }
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    assert!(problems(laughs).iter().all(|problem| matches!(problem, YamlProblem::Anchor | YamlProblem::Alias)));
    assert_eq!(problems(laughs).len(), 6);
    // Deeper than the parser itself looks ahead: an error of its own, and no overflow.
    assert!(matches!(problems(&"[".repeat(5000))[..], [YamlProblem::Syntax { .. }]));
    assert!(!problems(&"- ".repeat(5000)).is_empty());
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Outer {
    name: String,
    count: u64,
    ratio: f64,
    on: bool,
    inner: Inner,
    many: Vec<Inner>,
    any: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    text: String,
}

fn shapes(text: &str) -> (Outer, Vec<String>) {
    let (root, faults) = tree(text.as_bytes(), &Limits::default());
    assert_eq!(faults, [], "{text}");
    let root = root.expect("a document");
    let (document, faults) = read(&root);
    (document, faults.into_iter().map(|fault| format!("{}: {}", fault.path, fault.problem)).collect())
}

#[test]
fn everything_that_does_not_fit_is_told_and_the_rest_is_read() {
    let (document, faults) = shapes(
        "name: 12\ncount: -1\nratio: x\n\"on\": 'true'\ninner: []\nmany:\n  - txt: a\n  - {text: b}\n  - c\nnaem: x\nany: [1, {a: b}]\n",
    );
    assert_eq!(
        faults,
        [
            "name: expected text, found an integer",
            "count: expected an integer that is not negative, found an integer",
            "ratio: expected a number, found text",
            "on: expected true or false, found text",
            "inner: expected a mapping, found a list",
            "many[0].txt: there is no field `txt` here",
            "many[2]: expected a mapping, found text",
            "naem: there is no field `naem` here",
        ]
    );
    assert_eq!(document.many[1].text, "b");
    assert_eq!(document.any, Some(serde_json::json!([1, {"a": "b"}])));
    let (_, faults) = shapes("[1]");
    assert_eq!(faults, [": expected a mapping, found a list"]);
}

#[test]
fn the_nearest_word_is_suggested() {
    for (text, expected) in [
        ("entrypiont", Some("entrypoint")),
        ("entry_point", Some("entrypoint")),
        ("display_name", Some("displayName")),
        ("shemaVersion", Some("schemaVersion")),
        ("zzz", None),
    ] {
        assert_eq!(nearest(text, &["entrypoint", "displayName", "schemaVersion", "tier"]), expected, "{text}");
    }
}

#[test]
fn printed_yaml_reads_back_and_looks_as_people_write_it() {
    let outer = Outer {
        name: "on".into(),
        count: 3,
        ratio: 0.5,
        on: true,
        inner: Inner { text: "a: b # c".into() },
        many: vec![Inner { text: "api.example.com".into() }, Inner { text: "line\nline\u{202e}".into() }],
        any: Some(serde_json::json!({ "list": [[1, "012"], [], {}], "": "" })),
    };
    let text = print(&outer);
    let expected = "name: \"on\"\ncount: 3\nratio: 0.5\n\"on\": true\ninner:\n  text: \"a: b # c\"\nmany:\n  - text: api.example.com\n  \
         - text: \"line\\nline\\u202e\"\nany:\n  list:\n    - - 1\n      - \"012\"\n    - []\n    - {}\n  \"\": \"\"\n";
    assert_eq!(text, expected);
    assert_eq!(shapes(&text), (outer, Vec::new()));
}
