//! Who is admitted: root and the daemon's user, and those whom the settings name.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::support;

/// Users and groups by name, the groups of each user, and how often it was asked.
#[derive(Default)]
struct Table {
    users: BTreeMap<&'static str, u32>,
    groups: BTreeMap<&'static str, u32>,
    memberships: BTreeMap<u32, Vec<u32>>,
    asked: Arc<AtomicUsize>,
    /// If it has a sender, each question waits until the sender is dropped.
    hanging: Option<std::sync::Mutex<mpsc::Receiver<()>>>,
}

impl Table {
    fn note(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(hanging) = &self.hanging {
            let _ = hanging.lock().unwrap().recv();
        }
    }
}

impl UserDatabase for Table {
    fn uid_of(&self, name: &str) -> io::Result<Option<u32>> {
        self.note();
        Ok(self.users.get(name).copied())
    }

    fn gid_of(&self, name: &str) -> io::Result<Option<u32>> {
        self.note();
        Ok(self.groups.get(name).copied())
    }

    fn groups_of(&self, uid: u32) -> io::Result<Vec<u32>> {
        self.note();
        Ok(self.memberships.get(&uid).cloned().unwrap_or_default())
    }
}

const DAEMON: u32 = 900;
const ALICE: u32 = 1000;
const BOTS: u32 = 2000;

fn table() -> Table {
    Table {
        users: BTreeMap::from([("alice", ALICE)]),
        groups: BTreeMap::from([("bots", BOTS)]),
        memberships: BTreeMap::from([(1001, vec![1001, BOTS])]),
        ..Table::default()
    }
}

fn only(principals: &[&str]) -> Access {
    Access::Only(principals.iter().map(|text| Principal::parse(text).unwrap()).collect())
}

fn callers(database: Table, access: &Access) -> Callers {
    let kernel = Kernel { owners: None, overflow: 65534 };
    let callers = Callers::new(kernel, DAEMON, database, Units::of_this_host());
    callers.name(access.principals().iter().cloned());
    callers
}

fn over_tcp(uid: Option<u32>) -> Arc<Connection> {
    Arc::new(Connection { uid, ..Connection::unknown(support::TCP_PEER) })
}

fn over_unix(uid: u32, groups: &[u32]) -> Arc<Connection> {
    let groups = Some(groups.to_vec());
    Arc::new(Connection { uid: Some(uid), groups, ..Connection::unknown(support::UNIX_PEER) })
}

async fn verdict(database: Table, access: &Access, connection: &Arc<Connection>) -> Verdict {
    callers(database, access).caller(connection).await.may(access)
}

#[tokio::test]
async fn root_and_the_daemons_user_may_use_every_session() {
    for uid in [0, DAEMON] {
        for access in [only(&[]), only(&["user:alice"]), Access::Anybody] {
            assert_eq!(verdict(table(), &access, &over_tcp(Some(uid))).await, Verdict::Admitted);
        }
    }
}

#[tokio::test]
async fn a_user_is_admitted_by_name_by_number_and_by_group() {
    for (admitted, uid) in
        [("user:alice", ALICE), ("user:1000", ALICE), ("group:bots", 1001), ("group:2000", 1001)]
    {
        let access = only(&["user:nobody-knows", admitted]);
        assert_eq!(verdict(table(), &access, &over_tcp(Some(uid))).await, Verdict::Admitted, "{admitted}");
        assert_eq!(verdict(table(), &access, &over_tcp(Some(1002))).await, Verdict::Refused, "{admitted}");
    }
}

#[tokio::test]
async fn over_the_socket_the_groups_of_the_process_decide_and_not_the_databases() {
    let access = only(&["group:bots"]);

    assert_eq!(verdict(table(), &access, &over_unix(5, &[5, BOTS])).await, Verdict::Admitted);
    assert_eq!(verdict(table(), &access, &over_unix(1001, &[1001])).await, Verdict::Refused);
}

#[tokio::test]
async fn a_client_whose_user_is_unknown_is_admitted_only_where_everybody_is() {
    assert_eq!(
        verdict(table(), &only(&["user:alice", "group:bots"]), &over_tcp(None)).await,
        Verdict::Refused
    );
    assert_eq!(verdict(table(), &Access::Anybody, &over_tcp(None)).await, Verdict::Admitted);
}

#[test]
fn a_user_without_a_number_in_this_namespace_is_unknown() {
    let kernel = Kernel { owners: None, overflow: 65534 };

    assert_eq!(kernel.mapped(65534), None);
    assert_eq!(kernel.mapped(u32::MAX), None);
    assert_eq!(kernel.mapped(1000), Some(1000));
}

#[tokio::test(start_paused = true)]
async fn the_database_is_asked_once_a_minute_and_again_after_a_reload() {
    let asked = Arc::new(AtomicUsize::new(0));
    let access = only(&["group:bots"]);
    let callers = callers(Table { asked: Arc::clone(&asked), ..table() }, &access);
    let connection = over_tcp(Some(1001));
    let mut counts = Vec::new();
    for pause in [0, 59, 2] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        for _ in 0..10 {
            assert_eq!(callers.caller(&connection).await.may(&access), Verdict::Admitted);
        }
        counts.push(asked.load(Ordering::SeqCst));
    }
    callers.name(access.principals().iter().cloned());
    callers.caller(&connection).await;

    counts.push(asked.load(Ordering::SeqCst));
    assert_eq!(counts, [2, 2, 4, 6]);
}

#[tokio::test]
async fn a_database_that_hangs_makes_nobody_wait_long_and_numbers_need_none() {
    let (release, hanging) = mpsc::channel();
    let access = only(&["user:alice", "user:1001"]);
    let callers = callers(Table { hanging: Some(hanging.into()), ..table() }, &access);

    let started = tokio::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(callers.caller(&over_tcp(Some(ALICE))).await.may(&access), Verdict::Unclear);
    }
    assert_eq!(callers.caller(&over_tcp(Some(1001))).await.may(&access), Verdict::Admitted);

    assert!(started.elapsed() < 12 * users::PATIENCE, "{:?}", started.elapsed());
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_on_while_the_database_does_not_answer() {
    struct OnceOnly(AtomicUsize);
    impl UserDatabase for OnceOnly {
        fn uid_of(&self, _: &str) -> io::Result<Option<u32>> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(Some(ALICE)),
                _ => Err(io::Error::other("unreachable")),
            }
        }
        fn gid_of(&self, _: &str) -> io::Result<Option<u32>> {
            unreachable!()
        }
        fn groups_of(&self, _: u32) -> io::Result<Vec<u32>> {
            unreachable!()
        }
    }
    let log = anchord_testing::Log::start();
    let kernel = Kernel { owners: None, overflow: 65534 };
    let callers = Callers::new(kernel, DAEMON, OnceOnly(AtomicUsize::new(0)), Units::of_this_host());
    let access = only(&["user:alice"]);
    callers.name(access.principals().iter().cloned());
    let connection = over_tcp(Some(ALICE));
    callers.caller(&connection).await;
    tokio::time::advance(Duration::from_secs(3600)).await;

    for _ in 0..3 {
        assert_eq!(callers.caller(&connection).await.may(&access), Verdict::Admitted);
    }

    assert_eq!(log.text().matches("user database does not answer").count(), 1, "{}", log.text());
}

#[test]
fn a_loopback_address_is_for_clients_of_this_host_alone() {
    let connection = |local: &str, is_here| Connection {
        local: Some(local.parse().unwrap()),
        is_here,
        ..Connection::unknown(support::TCP_PEER)
    };

    assert!(connection("127.0.0.1:9911", true).is_allowed());
    assert!(connection("169.254.170.2:80", false).is_allowed(), "neighbours have bearers");
    for local in ["127.0.0.1:9911", "127.8.8.8:1", "[::1]:9911", "[::ffff:127.0.0.1]:9911"] {
        assert!(!connection(local, false).is_allowed(), "{local}");
    }
}
