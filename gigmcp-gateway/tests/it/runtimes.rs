//! What `doctor --runtimes` says of the runtimes that `./dev test` installs, each run in a real sandbox.

use std::path::Path;

use crate::gateway::Installation;

#[test]
fn doctor_tries_every_runtime_that_is_installed_and_passes_none_that_is_not() {
    let installation = Installation::new();
    let output = installation.run(&["--json", "doctor", "--runtimes"], "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let result = |name: &str| {
        let runtimes = report["runtimes"].as_array().unwrap();
        runtimes.iter().find(|runtime| runtime["runtime"] == name).unwrap()["result"].as_str().unwrap().to_owned()
    };
    for (name, program) in [
        ("curl", "curl"),
        ("wget", "wget"),
        ("git", "git"),
        ("openssl", "openssl"),
        ("python urllib", "python3"),
        ("node fetch", "node"),
        ("node https", "node"),
        ("java", "java"),
        ("deno", "deno"),
        ("bun", "bun"),
        ("ruby", "ruby"),
        ("php", "php"),
    ] {
        let installed =
            ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|place| Path::new(place).join(program).is_file());
        let expected = if installed { "works" } else { "absent" };
        assert_eq!(result(name), expected, "{name}: {report:#}");
    }
    // What needs more than an executable may be absent or take too long, and does not fail.
    for name in ["go", "python requests", "python httpx", "python aiohttp", "perl HTTP::Tiny", "perl LWP"] {
        assert_ne!(result(name), "fails", "{name}: {report:#}");
    }
    assert_eq!(report["works"], true);
    assert!(output.status.success());
}
