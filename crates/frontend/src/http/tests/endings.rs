//! Connections that have to end, because another client needs the slot or because the server stops.

use super::*;

#[tokio::test]
async fn an_idle_connection_makes_room_for_a_new_client() {
    let server = serve(hello, ServerLimits { connections: 2, ..ServerLimits::default() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    exchange(&mut first, GET).await;
    exchange(&mut second, GET).await;

    let third = exchange(&mut server.connect().await, GET).await;

    assert_eq!(third.status, 200);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"", "the oldest was closed between two requests");
    assert_eq!(exchange(&mut second, GET).await.status, 200);
}

/// Clients that never finish a request's head take all slots of the listener.
#[tokio::test]
async fn half_sent_heads_lock_nobody_out() {
    let server = serve(hello, ServerLimits { connections: 16, ..ServerLimits::default() }).await;
    let mut strangers = Vec::new();
    for _ in 0..32 {
        let mut stranger = server.connect().await;
        stranger.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        strangers.push(stranger);
    }

    let started = Instant::now();
    for _ in 0..10 {
        let mut client = server.connect().await;
        client.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut client).await.status, 200);
    }

    // Each connection once had 5 s to end. This limit is not a measurement; it is low enough to notice such a lock-out.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_request_that_crosses_the_stop_is_answered_as_the_last_one() {
    let server = serve(hello, ServerLimits::default()).await;
    let mut client = server.connect().await;
    assert_eq!(exchange(&mut client, GET).await.header("connection"), None);

    server.stop.send_replace(true);
    let last = exchange(&mut client, GET).await;

    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    server.task.await.unwrap();
}

/// The request's body takes longer than the time for bytes in transit.
#[tokio::test]
async fn a_head_that_ends_after_the_stop_is_still_answered() {
    let server = serve(hello, ServerLimits::default()).await;
    let mut client = server.connect().await;
    // After a response, the connection is accepted for certain.
    exchange(&mut client, GET).await;
    let (first, rest) = WITH_BODY.split_at(20);
    client.write_all(first.as_bytes()).await.unwrap();

    server.stop.send_replace(true);
    client.write_all(rest.as_bytes()).await.unwrap();
    let late = tokio::time::timeout(2 * (FAREWELL + LAST_WORDS), std::future::pending::<()>());
    late.await.unwrap_err();
    client.write_all(b"body").await.unwrap();

    let answered = answer(&mut client).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_half_sent_head_does_not_hold_up_the_stop() {
    let server =
        serve(hello, ServerLimits { drain: Duration::from_secs(3600), ..ServerLimits::default() }).await;
    let mut stranger = server.connect().await;
    stranger.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut client = server.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.status, 200);

    server.stop.send_replace(true);

    tokio::time::timeout(Duration::from_secs(30), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_beyond_the_limit_waits_until_a_busy_one_has_its_answer() {
    let (session, entered) = (Session::pending("app"), Arc::new(Notify::new()));
    let server =
        serve(waits_for(&session, &entered), ServerLimits { connections: 1, ..ServerLimits::default() })
            .await;
    let mut busy = server.connect().await;
    busy.write_all(GET.as_bytes()).await.unwrap();
    entered.notified().await;
    let mut waiting = server.connect().await;
    waiting.write_all(GET.as_bytes()).await.unwrap();

    session.obtain();

    assert_eq!(answer(&mut busy).await.body, "late", "making room never cuts a request");
    assert_eq!(answer(&mut waiting).await.body, "late");
}
