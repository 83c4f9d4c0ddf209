//! Skills.

use serde_json::{Value, json};

use crate::client::{Client, all};

#[test]
fn an_entry_says_what_its_files_are() {
    for mut client in [Client::legacy_with("legacy", "skills"), Client::modern_with("modern", "skills")] {
        let skills = all(&mut client, "skills/list", "skills");
        let names = skills.iter().map(|skill| skill["frontmatter"]["name"].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(names, ["greeting", "counting"]);
        for skill in &skills {
            let got = client.request("skills/get", json!({ "uri": skill["uri"] }));
            assert_eq!(got["result"]["skill"], *skill);
            let files = skill["resources"].as_array().unwrap();
            assert_eq!(files[0]["uri"], skill["uri"]);
            for file in files {
                let read = client.request("resources/read", json!({ "uri": file["uri"] }));
                let text = read["result"]["contents"][0]["text"].as_str().unwrap();
                assert_eq!(file["size"], text.len(), "{file}");
            }
        }
        let error = client.request("skills/get", json!({ "uri": "skill://nobody/SKILL.md" }))["error"].clone();
        assert_eq!(error["code"], -32602);
    }
}

#[test]
fn a_directory_lists_what_is_directly_in_it() {
    let mut client = Client::modern_with("dual", "skills");
    let mut names = |uri: &str| -> Vec<Value> {
        let read = client.request("resources/directory/read", json!({ "uri": uri }));
        let children = read["result"]["resources"].as_array().cloned().unwrap_or_default();
        children.iter().map(|child| child["name"].clone()).collect()
    };
    assert_eq!(names("skill://greeting"), ["SKILL.md", "references"]);
    assert_eq!(names("skill://greeting/references"), ["words.md"]);
    assert_eq!(names("skill://greeting/SKILL.md"), [Value::Null; 0], "a file is no directory");
}

#[test]
fn without_the_word_there_are_none() {
    for mut client in [Client::legacy("legacy"), Client::modern("modern")] {
        assert_eq!(client.request("skills/list", json!({}))["error"]["code"], -32601);
        let read = client.request("resources/read", json!({ "uri": "skill://greeting/SKILL.md" }));
        assert!(read["error"].is_object(), "{read}");
    }
}
