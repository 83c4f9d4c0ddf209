//! Rows that another test tries better, and rows where we do something else than the table says.

/// Row, what, file, test. The test below fails if one is gone.
pub(crate) const ELSEWHERE: &[(&str, &str, &str, &str)] = &[
    ("86", "a stream ends when its rule is gone", "tests/it/transparent.rs", "a_stream_ends_when_its_rule_is_gone"),
    (
        "105",
        "upstreams with other keys than pinned, or a revoked authority",
        "tests/it/proofs.rs",
        "a_pinned_host_must_show_a_pinned_key",
    ),
    ("105", "a certificate that a list revokes", "tests/it/proofs.rs", "what_a_list_revokes_is_refused"),
    (
        "108",
        "an upstream's end without close_notify, over HTTP/2",
        "tests/it/http2_upstream.rs",
        "an_answer_that_is_cut_off_is_not_passed_on_as_whole",
    ),
    (
        "110",
        "HTTP/2 on one side and HTTP/1.1 on the other",
        "tests/it/http2_upstream.rs",
        "the_two_sides_need_not_speak_the_same",
    ),
    (
        "157",
        "an injected header that no table keeps",
        "tests/it/http2_upstream.rs",
        "a_credential_is_written_so_that_nothing_on_the_way_keeps_it",
    ),
    (
        "158",
        "PUSH_PROMISE and other faults of an upstream",
        "tests/it/http2_upstream.rs",
        "an_upstream_that_breaks_the_protocol_is_not_used_again",
    ),
    ("192", "a hundred rejections of one token", "src/tokens.rs", "a_hundred_rejections_lead_to_one_refresh"),
    ("194", "a signed request is signed anew", "tests/it/sinks.rs", "a_signer_signs_what_is_sent"),
    (
        "200",
        "the key in every spelling by every way an answer has",
        "tests/custody/main.rs",
        "a_secret_is_seen_by_its_host_and_by_nobody_else",
    ),
    ("200", "the key in a status of gRPC", "tests/custody/grpc.rs", "a_secret_in_a_status_of_grpc_does_not_come_back"),
    (
        "210",
        "a sealed secret with a bit flipped",
        "../gigmcp-vault/tests/it/sealing.rs",
        "every_flipped_bit_is_refused",
    ),
    (
        "210",
        "a sealed secret that is cut",
        "../gigmcp-vault/tests/it/sealing.rs",
        "every_truncation_and_extension_is_refused",
    ),
    (
        "210",
        "sealed secrets exchanged, or parts of them",
        "../gigmcp-vault/tests/it/sealing.rs",
        "rows_and_their_parts_cannot_be_exchanged",
    ),
    (
        "G14",
        "placeholders have the shape of the key",
        "src/placeholder.rs",
        "a_placeholder_keeps_the_shape_of_the_secret",
    ),
    ("G18", "a clock that is four minutes slow", "src/ca.rs", "a_leaf_is_valid_for_its_name_only"),
];

/// Row, and what we do instead and why.
pub(crate) const DEVIATIONS: &[(&str, &str)] = &[
    (
        "60 and 61",
        "there are no proxy tokens to steal or to compare. The socket that accepted is the identity; whatever \
        `Proxy-Authorization` says is neither looked at nor passed on.",
    ),
    ("74", "there is no SOCKS server. What cannot be a method of HTTP is not even answered."),
    (
        "82",
        "there is no loop header. The proxy cannot be reached through itself: it listens in the sandbox only, and \
        addresses that are not public are never dialled.",
    ),
    ("109", "there is no setting that weakens the verification of upstreams, so none can be asked for."),
    (
        "120 to 122",
        "a body in chunks of more than 64 KiB is read while it is sent, so its head may have gone out to the host it is \
        for before a fault is seen. The upstream never gets the whole of it, and the connection to it is not used again.",
    ),
    ("123", "trailers that no rule asks for are left behind instead of refused, because clients send them unasked."),
    ("129", "a body on `DELETE` is let through: GitHub's API needs it, and its framing leaves no doubt."),
    (
        "141 to 160",
        "the HTTP/2 library decides whether a malformed field resets the stream or ends the connection, and which \
        reason it gives. It hides a fragment in `:path`, which is left behind.",
    ),
    (
        "166",
        "a message over many fragments is searched while it is passed on, as a long body is: the placeholder never arrives \
        whole. Whether text is UTF-8 is left to the two ends.",
    ),
    ("193", "a token endpoint is not spoken to through the proxy: tokens are fetched by the gateway, beside it."),
    ("194", "requests are signed by an embedder's `Signer`; SigV4 itself is not part of this crate yet (G16)."),
    ("203", "an answer with both a length and chunks is read in chunks, as RFC 9112 has it, and written anew."),
];

#[test]
fn rows_tested_elsewhere_have_their_test() {
    for (row, _, file, test) in ELSEWHERE {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text.contains(&format!("fn {test}(")), "row {row}: {file} has no {test}");
    }
}
