use super::*;

#[tokio::test]
async fn every_answer_has_the_headers_that_all_have() {
    let running = Running::plain().await;
    for (case, request, status) in [
        ("answered", "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        ("refused", "GET /x HTTP/1.1\r\n\r\n", 400),
    ] {
        let read = running.exchange(request.as_bytes()).await;
        assert_eq!(statuses(&read), [status], "{case}: {read}");
        let head = read.to_ascii_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "{case}: {header} in {read}");
        }
        assert!(!head.contains("\r\nserver:") && !head.contains("strict-transport-security"), "{case}: {read}");
    }
}

#[tokio::test]
async fn a_second_request_cannot_hide_in_the_first() {
    let running = Running::plain().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len();
    for (case, head, status) in [
        ("CL.TE", format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", length + 5), 400),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("a space", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("folded", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n"), 400),
        ("bare LF", "X: y\nContent-Length: 0\r\n\r\n".to_owned(), 400),
        ("no host", "\r\n".to_owned(), 400),
        // Read as it says, and then no more: whoever was before us may have ended it elsewhere.
        ("chunked", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 200),
    ] {
        let host = if case == "no host" { "" } else { "Host: a\r\n" };
        let read = running.exchange(format!("POST /first HTTP/1.1\r\n{host}{head}{hidden}").as_bytes()).await;
        assert_eq!(statuses(&read), [status], "{case}: {read}");
        assert_eq!(running.asked_for("/hidden"), 0, "{case}");
    }
    // Twin: what follows a body that ends in one way is a request.
    let two = format!(
        "POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx{}",
        hidden.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    );
    assert_eq!(statuses(&running.exchange(two.as_bytes()).await), [200, 200]);
    assert_eq!(running.asked_for("/hidden"), 1);
}

#[tokio::test]
async fn a_body_that_looks_like_requests_is_a_body() {
    let running = Running::plain().await;
    let body = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let request =
        format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let read = running.exchange(request.as_bytes()).await;
    assert!(read.ends_with(&format!("{body}\r\n0\r\n\r\n")), "{read}");
    assert_eq!(running.asked_for("/hidden"), 0);
}

#[tokio::test]
async fn compressed_bodies_are_refused_before_they_are_read() {
    let running = Running::plain().await;
    for (encoding, status) in [("gzip", 415), ("br, identity", 415), ("zstd", 415), ("x", 415), ("identity", 200)] {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Encoding: {encoding}\r\nContent-Length: 2\r\n\r\nxx"
        );
        let read = running.exchange(head.as_bytes()).await;
        assert_eq!(statuses(&read), [status], "{encoding}");
        assert_eq!(read.to_ascii_lowercase().contains("accept-encoding: identity"), status == 415, "{read}");
    }
    assert_eq!(running.asked_for("/"), 1);
}

#[tokio::test]
async fn nothing_of_a_request_becomes_a_header_of_the_answer() {
    let running = Running::plain().await;
    for request in [
        "GET /%0d%0aX-Made:%20up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\rX-Made: up\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0X-Made: up\r\nConnection: close\r\n\r\n",
    ] {
        let read = running.exchange(request.as_bytes()).await;
        let head = read.split("\r\n\r\n").next().expect("a head");
        assert!(!head.to_ascii_lowercase().contains("x-made"), "{read}");
    }
}

#[tokio::test]
async fn heads_are_bounded() {
    let limits = Limits { max_head_bytes: 9000, max_fields: 10, ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    let of = |path: usize, fields: usize| {
        let fields: String = (0..fields).map(|number| format!("x-{number}: y\r\n")).collect();
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n", "x".repeat(path))
    };
    for (case, request, status) in
        [("twin", of(8000, 8), 200), ("a long path", of(10_000, 0), 431), ("many fields", of(1, 9), 431)]
    {
        assert_eq!(statuses(&running.exchange(request.as_bytes()).await), [status], "{case}");
    }
    assert!(
        running.counts().contains("gigmcp_http_requests_refused_total{reason=\"large\"} 2\n"),
        "{}",
        running.counts()
    );
}

#[tokio::test]
async fn a_head_that_comes_slowly_is_not_waited_for() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    let mut slow = running.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.expect("it is read");
    // Another byte each time something comes back, which is never.
    let read = read_all(&mut slow).await;
    assert_eq!(statuses(&read), [408], "{read}");
    // Twin: a connection on which nothing has begun is not slow.
    let mut patient = running.connect().await;
    let mut byte = [0];
    let quiet = tokio::time::timeout(Duration::from_millis(900), patient.read(&mut byte)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    patient.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("it is read");
    assert_eq!(statuses(&read_all(&mut patient).await), [200]);
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_not_waited_for() {
    let limits = Limits { unread: Duration::from_secs(2), ..Limits::default() };
    let mut running = Running::new(limits, &[], None).await;
    let mut lazy = running.connect().await;
    lazy.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    let mut eager = running.connect().await;
    eager.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("it is read");
    assert!(read_all(&mut eager).await.len() > 64 << 20, "twin");
    for _ in 0..2 {
        running.ended.recv().await.expect("both connections end");
    }
    assert!(running.counts().contains("reason=\"unread\"} 1\n"), "{}", running.counts());
    assert!(read_all(&mut lazy).await.len() < 64 << 20, "it was cut");
}

#[tokio::test]
async fn only_a_declared_proxy_is_believed() {
    let request = "GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 198.51.100.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: gig.test\r\nConnection: close\r\n\r\n";
    for (proxies, address, host, is_https) in
        [(&[][..], "127.0.0.1", "inner", false), (&["127.0.0.0/8"], "198.51.100.9", "gig.test", true)]
    {
        let running = Running::new(Limits::default(), proxies, None).await;
        let read = running.exchange(request.as_bytes()).await;
        assert_eq!(statuses(&read), [200]);
        assert_eq!(read.contains("strict-transport-security"), is_https, "{read}");
        let seen = running.echo.seen.lock().expect("nobody panicked");
        let (_, headers, caller) = &seen[0];
        assert_eq!((caller.address.to_string(), caller.is_https), (address.to_owned(), is_https));
        assert_eq!(headers[header::HOST], host);
        assert!(headers.keys().all(|name| !name.as_str().starts_with("x-forwarded")), "{headers:?}");
    }
    let running = Running::new(Limits::default(), &["127.0.0.0/8"], None).await;
    let both = request.replace("Connection", "Forwarded: for=1.1.1.1\r\nConnection");
    assert_eq!(statuses(&running.exchange(both.as_bytes()).await), [400]);
}

#[tokio::test]
async fn head_is_answered_without_the_body() {
    let running = Running::plain().await;
    let head = "HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let read = running.exchange(format!("{head}{head}{last}").as_bytes()).await;
    assert_eq!(statuses(&read), [200, 200, 200], "{read}");
    assert!(!read.contains("xxxx"), "{read}");
    assert_eq!(running.asked_for("/large"), 2, "who answers is asked as for GET");
    let refused = running.exchange(b"HEAD / HTTP/1.1\r\n\r\n").await;
    assert!(statuses(&refused) == [400] && refused.ends_with("\r\n\r\n"), "{refused}");
    let twin = running.exchange(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(twin.len() > 64 << 20, "twin");
}
