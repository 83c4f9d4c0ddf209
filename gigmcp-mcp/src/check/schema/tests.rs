#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::time::{Duration, Instant};

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

async fn check(schema: &str, value: &str) -> Result<bool, Unchecked> {
    match Schema::compile(&raw(schema)).check(Some(&raw(value))).await {
        Checked::Fits => Ok(true),
        Checked::Misfits(_) => Ok(false),
        Checked::Unknown(reason) => Err(reason),
    }
}

#[tokio::test]
async fn values_are_told_from_those_that_do_not_fit() {
    let tree = r##"{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"l":{"$ref":"#/$defs/n"},"r":{"$ref":"#/$defs/n"},"v":{"type":"integer"}}}}}"##;
    for (case, schema, value, expected) in [
        ("nothing is said", "{}", "7", Ok(true)),
        ("an object", r#"{"type":"object"}"#, "{}", Ok(true)),
        ("no object", r#"{"type":"object"}"#, "[]", Ok(false)),
        ("a type", r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#, r#"{"a":1}"#, Ok(true)),
        ("another type", r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#, r#"{"a":"1"}"#, Ok(false)),
        ("a missing member", r#"{"type":"object","required":["a"]}"#, "{}", Ok(false)),
        ("2020-12 by default", r#"{"prefixItems":[{"type":"string"}]}"#, "[1]", Ok(false)),
        (
            "draft-07 if it says so",
            r#"{"$schema":"http://json-schema.org/draft-07/schema#","prefixItems":[{"type":"string"}]}"#,
            "[1]",
            Ok(true),
        ),
        (
            "its own words",
            r#"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}]}"#,
            "[1]",
            Ok(false),
        ),
        ("its name", r#"{"$id":"https://a.test/s","properties":{"a":{"type":"integer"}}}"#, r#"{"a":"x"}"#, Ok(false)),
        (
            "a property called id",
            r#"{"properties":{"id":{"type":"integer"},"$id":{"type":"integer"}}}"#,
            r#"{"id":"x"}"#,
            Ok(false),
        ),
        ("a format is a remark", r#"{"type":"string","format":"email"}"#, r#""no""#, Ok(true)),
        ("a pattern", r#"{"type":"string","pattern":"^a+$"}"#, r#""b""#, Ok(false)),
        (
            "a pattern that takes long elsewhere",
            r#"{"type":"string","pattern":"^(a+)+$"}"#,
            &format!("\"{}b\"", "a".repeat(50_000)),
            Ok(false),
        ),
        (
            "a pattern that needs to go back",
            r#"{"type":"string","pattern":"^(?=a)b"}"#,
            r#""b""#,
            Err(Unchecked::Invalid),
        ),
        (
            "a pattern too large",
            r#"{"type":"string","pattern":"((a{1000}){1000}){1000}"}"#,
            r#""b""#,
            Err(Unchecked::Invalid),
        ),
        ("recursion", tree, r#"{"l":{"r":{"v":1}}}"#, Ok(true)),
        ("a misfit in it", tree, r#"{"l":{"r":{"v":"x"}}}"#, Ok(false)),
        ("elsewhere", r#"{"$ref":"https://a.test/s"}"#, "1", Err(Unchecked::Foreign)),
        ("a file", r#"{"$ref":"file:///etc/passwd"}"#, "1", Err(Unchecked::Foreign)),
        ("nowhere", r##"{"$ref":"#/$defs/none"}"##, "1", Err(Unchecked::Foreign)),
        ("another base", r##"{"properties":{"a":{"$id":"https://a.test/s"}}}"##, "1", Err(Unchecked::Foreign)),
        ("no schema", r#"{"type":"thing"}"#, "1", Err(Unchecked::Invalid)),
        ("another dialect", r#"{"$schema":"https://a.test/dialect","type":"object"}"#, "1", Err(Unchecked::Invalid)),
        ("a number that we cannot hold", r#"{"type":"number"}"#, "1e400", Ok(true)),
        ("a misfit beside it", r#"{"items":{"maximum":7}}"#, "[1,1e400]", Ok(false)),
        ("half a character", r#"{"type":"array"}"#, r#""\ud800""#, Ok(false)),
        ("itself", r##"{"$ref":"#"}"##, "1", Err(Unchecked::TooCostly)),
        (
            "itself, by another",
            r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}"##,
            "1",
            Err(Unchecked::TooCostly),
        ),
        (
            "one that looks at what is left",
            r#"{"properties":{"a":{}},"unevaluatedProperties":false}"#,
            r#"{"b":1}"#,
            Ok(false),
        ),
        (
            "two of them",
            r#"{"unevaluatedProperties":false,"allOf":[{"unevaluatedProperties":false}]}"#,
            "{}",
            Err(Unchecked::TooCostly),
        ),
    ] {
        assert_eq!(check(schema, value).await, expected, "{case}");
    }
}

/// Schemas that are short and take for ever.
fn hostile() -> Vec<(&'static str, String, String)> {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let doubled = |keyword: &str| {
        let each = |n: usize| {
            format!(r##""d{n}":{{"{keyword}":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, n + 1)
        };
        let defs: Vec<String> = (0..60).map(each).collect();
        format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d60":{{"type":"string"}}}}}}"##, defs.join(","))
    };
    let inside =
        r##"{"anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}],"type":"array","maxItems":1,"minItems":1}"##;
    let all = |n: usize| -> String {
        let refs: Vec<String> = (0..n).map(|k| format!(r##""p{k}":{{"$ref":"#/$defs/d{k}"}}"##)).collect();
        let defs: Vec<String> = (0..n).map(|k| format!(r#""d{k}":{{"properties":{{{}}}}}"#, refs.join(","))).collect();
        format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, defs.join(","))
    };
    let chain: Vec<String> = (0..900).map(|n| format!(r##""d{n}":{{"$ref":"#/$defs/d{}"}}"##, n + 1)).collect();
    vec![
        ("each names the next one twice", doubled("allOf"), "1".to_owned()),
        ("any of them", doubled("anyOf"), "1".to_owned()),
        ("twice for each level of the value", inside.to_owned(), deep(60)),
        ("every one names every other", all(40), r#"{"p1":{"p2":{"p3":{}}}}"#.to_owned()),
        (
            "a long chain",
            format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d900":{{}}}}}}"##, chain.join(",")),
            "1".to_owned(),
        ),
        ("as deep as it may be", r#"{"not":"#.repeat(60) + "{}" + &"}".repeat(60), "1".to_owned()),
        ("deeper", r#"{"not":"#.repeat(5_000) + "{}" + &"}".repeat(5_000), "1".to_owned()),
        ("a deep value", r##"{"items":{"$ref":"#"}}"##.to_owned(), deep(10_000)),
        ("large", format!(r#"{{"enum":[{}0]}}"#, "1,".repeat(200_000)), "1".to_owned()),
        (
            "a long list of choices, and of values",
            format!(r#"{{"items":{{"enum":[{}"z"]}}}}"#, (0..20_000).map(|n| format!("\"{n}\",")).collect::<String>()),
            format!("[{}\"y\"]", "\"x\",".repeat(100_000)),
        ),
        (
            "many patterns and a long text",
            format!(r#"{{"allOf":[{}{{}}]}}"#, r#"{"pattern":"(x+y?)*z"},"#.repeat(2_000)),
            format!("\"{}\"", "x".repeat(1_000_000)),
        ),
    ]
}

#[tokio::test]
async fn no_schema_takes_long() {
    for (case, schema, value) in hostile() {
        let begin = Instant::now();
        let found = check(&schema, &value).await;
        let took = begin.elapsed();
        // A debug build is some twenty times slower than what runs.
        assert!(took < Duration::from_secs(60), "{case}: {took:?}, {found:?}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told_with_its_place() {
    let schema = Schema::compile(&raw(
        r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}}},"required":["b"]}"#,
    ));
    let Checked::Misfits(found) = schema.check(Some(&raw(r#"{"a":[1,"x\u001b[31m"]}"#))).await else {
        panic!("it fits")
    };
    let mut found: Vec<_> = found.iter().map(|misfit| (&*misfit.path, &*misfit.reason)).collect();
    found.sort_unstable();
    assert_eq!(found, [("", "\"b\" is a required property"), ("/a/1", "the value is not of type \"integer\"")]);
    let Checked::Misfits(found) = schema.check(None).await else { panic!("it fits") };
    assert_eq!(found[0].reason, "\"b\" is a required property", "no arguments are none");
}
