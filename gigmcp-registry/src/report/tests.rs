use serde_json::Value;

use super::*;
use crate::lint::Linter;

const TEXT: &str =
    "schemaVersion: 1\nname: shop\nversion: 1.0.0\nname: shöp\nicon: \"\\e[31m\"\ntier: on\n\"a\\nb\": 1\n";

fn report() -> Report {
    Linter::default().manifest("manifests/shop/1 0:0.yaml", TEXT.as_bytes()).0
}

#[test]
fn people_see_the_line_and_what_to_do() {
    let text = report().to_string();
    let expected = "\
error[Y009]: the key \"name\" stands here a second time
 --> manifests/shop/1 0:0.yaml:4:1
  |
2 | name: shop
  | ---- it stands here first
3 | version: 1.0.0
4 | name: shöp
  | ^^^^
";
    assert!(text.contains(expected), "{text}");
    let expected = "\
error[Y011]: `on` is true for YAML 1.1
 --> manifests/shop/1 0:0.yaml:6:7
  |
6 | tier: on
  |       ^^
  |
  = help: write true, or \"on\" if it is text
";
    assert!(text.contains(expected), "{text}");
    assert!(text.trim_end().ends_with("1 file: 6 errors, 0 warnings, 0 notes"), "{text}");
}

#[test]
fn a_terminal_is_sent_nothing_that_a_document_says_to_it() {
    let plain = report().to_string();
    let said = |char: char| char.is_control() && char != '\n';
    assert!(!plain.contains(said), "{plain:?}");
    assert!(plain.contains("no field `a\\u{a}b` here"), "{plain}");
    for hidden in ["\u{96}", "\u{1b}[31m", "\u{202e}", "\u{e0041}", "\0", "\u{2028}"] {
        let text = format!("name: shop # {hidden}\nnome: 1\n");
        let (report, _) = Linter::default().manifest("x", text.as_bytes());
        let printed = report.to_string();
        assert!(!printed.contains(said) && !printed.contains(hidden), "{printed:?}");
        assert!(printed.contains("x:1:14"), "{printed}");
    }
    let coloured = report().render(Colour::Always);
    assert!(coloured.contains("\u{1b}[") && coloured.len() > plain.len());
}

#[test]
fn whatever_is_found_in_whatever_bytes_can_be_printed() {
    for text in [
        &b""[..],
        b"\xff\xfe",
        b"a: \xf0\x9f\x98\x80 &x\n",
        b"a: [",
        b"\r",
        "a: \u{202e}".as_bytes(),
        b"a: |\n  x\n\n&b",
    ] {
        let (report, _) = Linter::default().manifest("x", text);
        for printed in [report.render(Colour::Always), report.to_json(), report.to_sarif()] {
            assert!(!printed.is_empty());
        }
        assert!(report.count(Severity::Error) > 0, "{text:?}");
    }
}

#[test]
fn programs_read_json() {
    let json: Value = serde_json::from_str(&report().to_json()).expect("JSON");
    assert_eq!(json["errors"], 6);
    let duplicate = &json["files"][0]["diagnostics"][2];
    assert_eq!(duplicate["code"], "Y009");
    assert_eq!(duplicate["place"], serde_json::json!({ "line": 4, "column": 1, "start": 43, "end": 47 }));
    assert_eq!(duplicate["related"]["place"]["line"], 2);
}

/// The members that SARIF 2.1.0 requires (3.13, 3.14, 3.18, 3.19, 3.27, 3.28, 3.29, 3.30, 3.49), and what their values may be.
#[test]
fn sarif_has_its_required_members() {
    let sarif: Value = serde_json::from_str(&report().to_sarif()).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"].as_array().expect("runs")[0];
    let driver = &run["tool"]["driver"];
    assert!(driver["name"].as_str().is_some_and(|name| !name.is_empty()));
    let rules = driver["rules"].as_array().expect("rules");
    assert!(rules.iter().all(|rule| rule["id"].is_string() && rule["shortDescription"]["text"].is_string()));
    let levels = ["none", "note", "warning", "error"];
    let is_level = |level: &Value| level.as_str().is_some_and(|level| levels.contains(&level));
    assert!(rules.iter().all(|rule| is_level(&rule["defaultConfiguration"]["level"])));
    assert!(matches!(run["columnKind"].as_str(), Some("utf16CodeUnits" | "unicodeCodePoints")));
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), 6);
    for result in results {
        assert!(result["message"]["text"].is_string() && is_level(&result["level"]), "{result}");
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        for location in result["locations"].as_array().expect("locations") {
            let place = &location["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "manifests/shop/1%200%3A0.yaml");
            let number = |name: &str| place["region"][name].as_u64().expect("a number");
            assert!(number("startLine") >= 1 && number("startColumn") >= 1, "{place}");
            let (start, end) = ((number("startLine"), number("startColumn")), (number("endLine"), number("endColumn")));
            assert!(start <= end, "{place}");
        }
    }
    assert_eq!(results[2]["relatedLocations"][0]["message"]["text"], "it stands here first");
}
