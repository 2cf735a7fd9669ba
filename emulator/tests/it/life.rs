//! Start, stop, restart, and the clock.

use std::io::ErrorKind;

use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::Error;
use anchord_emulator::KeyKind;
use anchord_emulator::Setup;
use time::Duration;

use crate::support::Client;
use crate::support::REGION;
use crate::support::World;

#[tokio::test]
async fn a_stopped_service_refuses_connections_and_closes_those_it_had() {
    let mut world = World::new().await;
    let mut client = Client::connect(&world.emulator).await.unwrap();
    client.send(&world.draft().sign()).await.unwrap();

    world.emulator.stop().await;

    assert!(client.is_closed().await);
    let error = Client::connect(&world.emulator).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn while_it_is_down_nobody_else_gets_its_port() {
    let mut world = World::new().await;
    let address = world.emulator.address();

    world.emulator.stop().await;
    let taken = tokio::net::TcpSocket::new_v4().unwrap().bind(address).unwrap_err();
    world.emulator.restart().await.unwrap();

    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    assert_eq!(world.emulator.address(), address);
}

#[tokio::test]
async fn a_restart_keeps_port_certificate_and_memory() {
    let mut world = World::new().await;
    let mut client = Client::connect(&world.emulator).await.unwrap();
    client.send(&world.draft().sign()).await.unwrap();
    let (endpoint, ca) = (world.emulator.endpoint(), world.emulator.tls_ca_pem().to_owned());

    world.emulator.stop().await;
    world.emulator.restart().await.unwrap();

    assert_eq!((world.emulator.endpoint(), world.emulator.tls_ca_pem()), (endpoint, ca.as_str()));
    assert_eq!(world.send(&world.draft()).await.status, 201);
    assert_eq!(world.emulator.requests().len(), 2);
}

#[tokio::test]
async fn a_dropped_service_is_gone() {
    let world = World::new().await;
    let (address, ca) = (world.emulator.address().to_string(), world.emulator.tls_ca_pem().to_owned());
    let mut client = Client::connect(&world.emulator).await.unwrap();

    drop(world);

    assert!(client.is_closed().await);
    assert!(Client::reach(&address, &ca, "127.0.0.1").await.is_err());
}

#[tokio::test]
async fn dropped_connections_leave_the_listener() {
    let world = World::new().await;
    let mut client = Client::connect(&world.emulator).await.unwrap();
    client.send(&world.draft().sign()).await.unwrap();

    world.emulator.drop_connections();

    assert!(client.is_closed().await);
    assert_eq!(world.send(&world.draft()).await.status, 201);
}

#[tokio::test]
async fn its_certificate_is_for_every_name_of_loopback() {
    let world = World::new().await;
    let (address, ca) = (world.emulator.address().to_string(), world.emulator.tls_ca_pem());

    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(Client::reach(&address, ca, name).await.is_ok(), "{name}");
    }
    assert!(Client::reach(&address, ca, "example.com").await.is_err());
}

#[tokio::test]
async fn the_clock_offset_shifts_checks_date_and_expirations() {
    let world = World::new().await;
    let on_time = world.draft().sign();
    world.emulator.set_clock_offset(Duration::hours(2));

    let refused = world.deliver(&on_time).await;
    let granted = world.send(&world.draft()).await;

    assert_eq!((refused.status, granted.status), (403, 201));
    let shifted = world.emulator.now();
    assert!(refused.header("date").contains(&format!(" {:02}:", shifted.hour())), "{refused:?}");
    assert!(world.emulator.issued()[0].expires_at > shifted + Duration::minutes(14));
}

#[tokio::test]
async fn waiting_for_requests_ends_when_they_have_been_decided() {
    let world = World::new().await;
    let draft = world.draft();

    let ((), answer) = tokio::join!(world.emulator.wait_for_requests(1), world.send(&draft));

    assert_eq!(answer.status, 201);
    assert_eq!(world.emulator.requests().len(), 1);
}

#[tokio::test]
async fn a_stranger_without_tls_ends_nothing() {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;

    let world = World::new().await;
    let mut stranger = tokio::net::TcpStream::connect(world.emulator.address()).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = stranger.read_to_end(&mut Vec::new()).await;

    assert_eq!(world.send(&world.draft()).await.status, 201);
}

#[tokio::test]
async fn a_trust_anchor_without_certificate_is_a_mistake_of_the_setup() {
    let root = Authority::root("root", KeyKind::P256).unwrap();
    let mut setup = Setup::sample(REGION, &root);
    setup.trust_anchors[0].certificate_pem = "none".to_owned();

    assert!(matches!(Emulator::start(setup).await, Err(Error::TrustAnchor { .. })));
}
