use super::*;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn is_answered(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(ASK).await.is_ok() && matches!(stream.read(&mut byte).await, Ok(1))
}

#[tokio::test]
async fn one_address_has_only_so_many_places() {
    let limits = Limits { max_connections_per_address: 2, ..Limits::default() };
    for (proxies, fits) in [(&[][..], false), (&["127.0.0.1"], true)] {
        let running = Running::new(limits, proxies, None).await;
        let (mut one, mut two) = (running.connect().await, running.connect().await);
        assert!(is_answered(&mut one).await && is_answered(&mut two).await);
        let mut three = running.connect().await;
        assert_eq!(is_answered(&mut three).await, fits, "{proxies:?}");
        assert_eq!(running.counts().contains("outcome=\"turned_away\"} 1\n"), !fits);
        drop(one);
        // Twin: as soon as it is known that one is gone.
        while !is_answered(&mut running.connect().await).await {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn who_does_nothing_makes_room_when_there_is_none() {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    let (mut idle, mut busy) = (running.connect().await, running.connect().await);
    assert!(is_answered(&mut idle).await);
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    running.echo.asked.notified().await;
    let mut third = running.connect().await;
    assert!(is_answered(&mut third).await, "there was room in the end");
    assert!(running.counts().contains("reason=\"full\"} 1\n"), "{}", running.counts());
    drop(read_all(&mut idle).await);
    running.echo.go.notify_one();
    let mut byte = [0];
    assert_eq!(busy.read(&mut byte).await.expect("twin: it is answered"), 1);
}

#[tokio::test]
async fn who_sends_a_body_slowly_makes_room_when_there_is_none() {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    let (mut slow, mut busy) = (running.connect().await, running.connect().await);
    slow.write_all(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await.expect("it is read");
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    running.echo.asked.notified().await;
    let dripping = tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(100));
        let mut byte = [0];
        loop {
            tokio::select! {
                _ = often.tick() => if slow.write_all(b"x").await.is_err() { return },
                read = slow.read(&mut byte) => return assert!(!matches!(read, Ok(1)), "it is not answered"),
            }
        }
    });
    let mut third = running.connect().await;
    assert!(is_answered(&mut third).await, "there was room in the end");
    assert!(running.counts().contains("reason=\"full\"} 1\n"), "{}", running.counts());
    dripping.await.expect("it was cut off");
    running.echo.go.notify_one();
    let mut byte = [0];
    assert_eq!(busy.read(&mut byte).await.expect("twin: it is answered"), 1);
    // Twin: where there is room, whoever is slow is waited for.
    let running = Running::plain().await;
    let mut slow = running.connect().await;
    slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nx")
        .await
        .expect("it is read");
    let mut byte = [0];
    let quiet = tokio::time::timeout(Duration::from_secs(4), slow.read(&mut byte)).await;
    assert!(quiet.is_err(), "{quiet:?}");
    slow.write_all(b"y").await.expect("it is read");
    assert_eq!(statuses(&read_all(&mut slow).await), [200]);
}

#[tokio::test]
async fn who_does_not_read_makes_room_when_there_is_none() {
    let limits = Limits { max_connections: 2, unread: Duration::from_secs(30), ..Limits::default() };
    let running = Running::new(limits, &[], None).await;
    let (mut lazy, mut busy) = (running.connect().await, running.connect().await);
    lazy.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is read");
    running.echo.asked.notified().await;
    let began = std::time::Instant::now();
    assert!(is_answered(&mut running.connect().await).await, "there was room in the end");
    assert!(began.elapsed() < limits.unread, "twin: where nobody needs it, there is more time: {:?}", began.elapsed());
    assert!(running.counts().contains("reason=\"full\"} 1\n"), "{}", running.counts());
    running.echo.go.notify_one();
    let mut byte = [0];
    assert_eq!(busy.read(&mut byte).await.expect("twin: it is answered"), 1);
}
