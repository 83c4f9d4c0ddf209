use super::*;

const MANIFEST: &str = "\
schemaVersion: 1
name: shop
version: 1.0.0
source: {repo: github.com/shop/mcp, tag: v1.0.0}
image:
  ref: ghcr.io/shop/mcp
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  entrypoint: /app/server
  builder: toolpack
tier: sealed
entitlements:
  egress: [api.shop.dev]
credentials:
  - {id: key, type: api_key, inject: {header: X-Key, format: \"{token}\"}}
tools:
  - {name: list_orders, default: true}
";

const TOOLSPEC: &str = "\
schemaVersion: 1
name: shop
version: 1.0.0
baseUrl: https://api.shop.dev
tools:
  - name: list_orders
    description: List orders
    method: POST
    path: /v1/orders
    params:
      - {name: page_token, in: query, type: string}
      - {name: filter, in: body, type: string}
";

fn told(report: &Report) -> Vec<(&'static str, String)> {
    report.diagnostics().map(|(_, found)| (found.rule.code(), found.field.clone())).collect()
}

fn of_manifest(text: &str) -> Vec<(&'static str, String)> {
    told(&Linter::default().manifest("manifests/shop/1.0.0.yaml", text.as_bytes()).0)
}

fn of_toolspec(manifest: &str, text: &str) -> Vec<(&'static str, String)> {
    let manifest = Manifest::from_yaml(manifest.as_bytes()).expect("valid");
    told(&Linter::default().toolspec("manifests/shop/1.0.0.toolspec.yaml", text.as_bytes(), Some(&manifest)).0)
}

/// Each is one change to a manifest about which there is nothing to say.
#[test]
fn manifests_that_are_allowed_and_unwise() {
    assert_eq!(of_manifest(MANIFEST), []);
    let host = "entitlements.egress[0]";
    for (case, from, to, expected) in [
        ("W39 public suffix", "[api.shop.dev]", "[\"*.co.uk\"]", &[("L001", host), ("L004", host)][..]),
        ("W39 private suffix", "[api.shop.dev]", "[\"*.github.io\"]", &[("L001", host), ("L003", host)]),
        ("shop system's suffix", "[api.shop.dev]", "[\"*.myshopify.com\"]", &[("L001", host), ("L003", host)]),
        ("single label", "[api.shop.dev]", "[intranet]", &[("L001", host)]),
        ("denylisted", "[api.shop.dev]", "[x.webhook.site]", &[("L002", host)]),
        (
            "denylisted wildcard",
            "[api.shop.dev]",
            "[\"*.ngrok-free.app\"]",
            &[("L001", host), ("L002", host), ("L003", host)],
        ),
        ("inside", "[api.shop.dev]", "[metadata.google.internal]", &[("L002", host)]),
        ("other customers", "[api.shop.dev]", "[\"*.zendesk.com\"]", &[("L003", host)]),
        ("other customers, deeper", "[api.shop.dev]", "[\"*.my.salesforce.com\"]", &[("L003", host)]),
        ("a wildcard of one's own", "[api.shop.dev]", "[\"*.shop.dev\"]", &[("L004", host)]),
        ("W42 example", "[api.shop.dev]", "[yourcompany.freshdesk.com]", &[("L005", host)]),
        ("W42 example with hyphen", "[api.shop.dev]", "[my-store.shop.dev]", &[("L005", host)]),
        ("documentation's name", "[api.shop.dev]", "[api.shop.example]", &[("L006", host)]),
        ("W42 example by another word", "[api.shop.dev]", "[instance.service-now.com]", &[("L007", host)]),
        ("one customer", "[api.shop.dev]", "[initech.zendesk.com]", &[("L007", host)]),
        ("one region", "[api.shop.dev]", "[us1.shop.dev]", &[("L007", host)]),
        ("hidden text", "tier: sealed", "tier: sealed\ndescription: \"Shop\\u200b\"", &[("L009", "description")]),
        ("text that turns", "tier: sealed", "tier: sealed\ndescription: \"\\u202eShop\"", &[("L009", "description")]),
        ("branch", "tag: v1.0.0", "tag: main", &[("L011", "source.tag")]),
        (
            "planned",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "0000000000000000000000000000000000000000000000000000000000000000",
            &[("L012", "image.digest")],
        ),
        ("tag besides digest", "ref: ghcr.io/shop/mcp", "ref: ghcr.io/shop/mcp:1.0", &[("L013", "image.ref")]),
        (
            "long name",
            "name: list_orders",
            "name: list_orders_of_all_customers_that_have_ever_bought_something",
            &[("L014", "tools[0].name")],
        ),
        ("W11 every host", "[api.shop.dev]", "[api.shop.dev, img.shop.dev]", &[("L015", "credentials[0]")]),
        ("W43 placeholder", "builder: toolpack", "builder: node", &[("L016", "credentials[0]")]),
        ("nowhere to go", "egress: [api.shop.dev]", "egress: []", &[("L018", "credentials[0]")]),
        ("another file", "version: 1.0.0", "version: 1.0.1", &[("L010", "version")]),
        ("another directory", "name: shop\n", "name: shops\n", &[("L010", "name")]),
    ] {
        assert_eq!(MANIFEST.matches(from).count(), 1, "{case}: {from}");
        let expected: Vec<_> = expected.iter().map(|(code, field)| (*code, (*field).to_string())).collect();
        assert_eq!(of_manifest(&MANIFEST.replace(from, to)), expected, "{case}");
    }
    // Without a credential, a wildcard sends nothing of the user's anywhere.
    let public = MANIFEST.replace("[api.shop.dev]", "[\"*.zendesk.com\"]");
    let (head, tail) = public.split_once("credentials:").expect("there");
    let public = format!("{head}tools:{}", tail.split_once("tools:").expect("there").1);
    assert_eq!(of_manifest(&public), []);
    // A public suffix below which there are no customers.
    assert_eq!(of_manifest(&MANIFEST.replace("api.shop.dev", "gmail.googleapis.com")), []);
    let wide = MANIFEST.replace("[api.shop.dev]", "[\"*.googleapis.com\"]");
    assert_eq!(of_manifest(&wide), [("L001", host.into()), ("L003", host.into())]);
    // A port is a name away: `ghcr.io:443/x` is no tag.
    assert_eq!(of_manifest(&MANIFEST.replace("ghcr.io/shop", "localhost:5000/shop")), []);
}

#[test]
fn version_2_answers_what_is_said_of_version_1() {
    let second = MANIFEST
        .replace("schemaVersion: 1", "schemaVersion: 2")
        .replace("builder: toolpack", "builder: node")
        .replace("[api.shop.dev]", "[\"{tenant}.zendesk.com\", \"*.zdassets.com\"]")
        .replace(
            "\"{token}\"}}",
            "\"{token}\"}, bind: [{hosts: [\"{tenant}.zendesk.com\"]}], placeholder: {env: SHOP_KEY}}",
        )
        + "variables: [{name: tenant, type: label, description: Your subdomain}]\n";
    assert_eq!(of_manifest(&second), []);
    let asked = second.replace("\"{tenant}.zendesk.com\"", "api.shop.dev");
    assert_eq!(of_manifest(&asked), [("L019", "variables[0].name".into())]);
    let hidden = second.replace("description: Your subdomain", "description: \"Your \\u202esubdomain\"");
    assert_eq!(of_manifest(&hidden), [("L009", "variables[0].description".into())]);
}

#[test]
fn toolspecs_that_are_allowed_and_unwise() {
    assert_eq!(of_toolspec(MANIFEST, TOOLSPEC), []);
    let param = "tools[0].params[0].name";
    for (case, from, to, expected) in [
        ("W43 key", "page_token", "api_key", &[("L008", param)][..]),
        ("W43 token", "page_token", "developerToken", &[("L008", param)]),
        ("password", "page_token", "password", &[("L008", param)]),
        ("key in a header", "page_token, in: query", "X-Auth-Token, in: header", &[("L008", param)]),
        (
            "hidden text for models",
            "description: List orders",
            "description: \"List orders\\u2063\"",
            &[("L009", "tools[0].description")],
        ),
        (
            "hidden text of a parameter",
            "in: body, type: string",
            "in: body, type: string, description: \"\\e[8mx\"",
            &[("V004", "tools[0].params[1].description")],
        ),
        (
            "hidden text in the name of a parameter",
            "name: filter, in: body",
            "name: \"filter\\u2063\", in: body",
            &[("L009", "tools[0].params[1].name"), ("L021", "tools[0].params[1].name")],
        ),
        ("name for models", "page_token", "\"page[token]\"", &[("L021", param)]),
        ("shapeless", "in: body, type: string", "in: body, type: object", &[("L022", "tools[0].params[1].name")]),
        (
            "unpaired",
            "baseUrl: https://api.shop.dev",
            "baseUrl: https://www.shop.dev",
            &[("V017", "baseUrl"), ("L020", "baseUrl")],
        ),
    ] {
        assert_eq!(TOOLSPEC.matches(from).count(), 1, "{case}: {from}");
        let expected: Vec<_> = expected.iter().map(|(code, field)| (*code, (*field).to_string())).collect();
        assert_eq!(of_toolspec(MANIFEST, &TOOLSPEC.replace(from, to)), expected, "{case}");
    }
    let wide = MANIFEST.replace("[api.shop.dev]", "[api.shop.dev, img.shop.dev]");
    assert_eq!(of_toolspec(&wide, TOOLSPEC), [("L020", "baseUrl".into())]);
    let entrusted =
        MANIFEST.replace("sealed", "entrusted").replace("{header: X-Key, format: \"{token}\"}", "{env: SHOP_KEY}");
    let auth = TOOLSPEC.replace("tools:\n", "auth: {header: X-Key, format: \"{token}\"}\ntools:\n");
    assert_eq!(of_toolspec(&entrusted, &auth), [("L017", "auth".into())]);
    let nested = TOOLSPEC.replace("schemaVersion: 1", "schemaVersion: 2").replace(
        "in: body, type: string",
        "in: body, type: array, items: {type: object, properties: [{name: api_key, type: string}]}",
    );
    assert_eq!(of_toolspec(MANIFEST, &nested), [("L008", "tools[0].params[1].items.properties[0].name".into())]);
    let pages = |method: &str| {
        let paged = TOOLSPEC.replace("schemaVersion: 1", "schemaVersion: 2").replace(", in: body", ", in: query");
        let pagination = format!("method: {method}\n    pagination: {{type: page, param: page, maxPages: 3}}");
        of_toolspec(MANIFEST, &paged.replace("method: POST", &pagination))
    };
    assert_eq!(pages("POST"), [("L023", "tools[0].pagination".into())]);
    assert_eq!(pages("GET"), []);
    let shown = |schema: &str| {
        let text = TOOLSPEC.replace("schemaVersion: 1", "schemaVersion: 2");
        of_toolspec(MANIFEST, &text.replace("name: filter, in: body, type: string", schema))
    };
    let hidden = |field: &str| [("L009", format!("tools[0].params[1].{field}"))];
    let choice = "name: filter, in: body, type: string, enum: [a, \"b?\"], default: a";
    let object = "name: filter, in: body, type: object, properties: [{name: \"b?\", type: array, items: {type: string, default: c}}]";
    let default = "name: filter, in: body, type: array, items: {type: string}, default: [\"b?\"]";
    for (schema, field) in [(choice, "enum[1]"), (object, "properties[0].name"), (default, "default")] {
        assert_eq!(shown(&schema.replace('?', "\\U000E0141")), hidden(field), "{field}");
        assert_eq!(shown(&schema.replace('?', "")), [], "{field}");
    }
}

#[test]
fn a_denylist_of_ones_own_counts() {
    let linter = Linter::new(Denylist::parse("shop.dev\n").expect("a list"));
    let (report, manifest) = linter.manifest("shop/1.0.0.yaml", MANIFEST.as_bytes());
    assert_eq!(told(&report), [("L002", "entitlements.egress[0]".into())]);
    assert!(manifest.is_some(), "what is unwise is a manifest still");
}
