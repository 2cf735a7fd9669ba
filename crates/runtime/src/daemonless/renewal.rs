//! The issuer for a process that keeps a session itself: it asks a daemon, or else AWS through the cache.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio::sync::watch;

use super::ObtainMode;
use super::direct;
use super::from_daemon::DaemonOutcome;
use super::from_daemon::from_daemon;
use super::from_daemon::no_daemon_and_no_session;
use super::from_daemon::with_why_unused;
use crate::assembly;
use crate::assembly::Seams;
use crate::client;
use anchord_config::Environment;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::credentials::Credentials;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Failure;
use anchord_core::issuer::BoxFuture;
use anchord_core::issuer::Issuer;
use anchord_identity as identity;

/// Issues credentials from the daemon, or else from AWS through the cache that parallel processes share.
pub struct Renewal {
    settings: Settings,
    mode: ObtainMode,
    environment: Environment,
    seams: Seams,
    /// The issuer of direct calls. All attempts share it, because it learns AWS's clock, the last accepted certificate,
    /// and which endpoint fails.
    own: OnceLock<Arc<dyn Issuer>>,
    identity: Option<Arc<identity::Current>>,
    /// Whether the last renewal asked AWS and not a daemon.
    asks_aws: watch::Sender<bool>,
    given: watch::Sender<Option<Credentials>>,
}

impl Renewal {
    /// Renews the session that `settings` select.
    pub fn new(settings: &Settings, mode: ObtainMode, environment: &Environment, seams: &Seams) -> Self {
        Self {
            settings: settings.clone(),
            mode,
            environment: environment.clone(),
            seams: seams.clone(),
            own: OnceLock::new(),
            identity: settings.the_session().and_then(assembly::identity),
            asks_aws: watch::Sender::new(false),
            given: watch::Sender::new(None),
        }
    }

    /// Spreads the calls to AWS. There is no jitter while a daemon answers: it renews earlier by its own jitter, and a
    /// request before that would get the same credentials.
    pub fn jitter(&self) -> Jitter {
        let asks_aws = self.asks_aws.subscribe();
        self.seams.jitter.clone().while_true(move || *asks_aws.borrow())
    }

    /// While AWS is asked: notifies `changed` if the certificate changes. A daemon watches its certificate itself, and
    /// may be the only process that can read it.
    pub async fn watch(&self, changed: Arc<Notify>) -> Infallible {
        let mut asks_aws = self.asks_aws.subscribe();
        let mut until = async |asks: bool| _ = asks_aws.wait_for(|now| *now == asks).await;
        loop {
            until(true).await;
            tokio::select! {
                never = self.watch_files(Arc::clone(&changed)) => match never {},
                () = until(false) => {}
            }
        }
    }

    async fn watch_files(&self, changed: Arc<Notify>) -> Infallible {
        if let Some(session) = self.settings.the_session() {
            assembly::watch(session, self.identity.as_ref(), &self.seams, changed).await;
        }
        std::future::pending().await
    }

    async fn renew(&self) -> Result<Credentials, Failure> {
        let given = self.given.borrow().clone();
        let daemons = from_daemon(&self.settings, self.mode, &self.seams.clock).await;
        self.asks_aws.send_replace(matches!(daemons, Ok(DaemonOutcome::Unused(_))));
        let renewed = match (daemons, self.settings.the_session()) {
            (Err(failure), _) => client::renewed(Err(failure), given.as_ref(), self.seams.clock.moment())?,
            (Ok(DaemonOutcome::Credentials(credentials)), _) => {
                client::renewed(Ok(*credentials), given.as_ref(), self.seams.clock.moment())?
            }
            (Ok(DaemonOutcome::Unused(unused)), Some(session)) => {
                let renewed = self.direct(session, given.as_ref()).await;
                renewed.map_err(|failure| with_why_unused(&failure, &unused))?
            }
            (Ok(DaemonOutcome::Unused(_)), None) => {
                let name = self.settings.picked.as_deref().unwrap_or_default();
                return Err(no_daemon_and_no_session(&self.settings, name));
            }
        };
        self.given.send_replace(Some(renewed.clone()));
        Ok(renewed)
    }

    async fn direct(
        &self,
        session: &SessionSettings,
        given: Option<&Credentials>,
    ) -> Result<Credentials, Failure> {
        let clock = &self.seams.clock;
        let issuer = match self.own.get() {
            Some(issuer) => issuer,
            None => {
                let transport = assembly::transport(&self.settings, &self.seams)?;
                let made = assembly::issuer(session, self.identity.clone(), transport, clock, None);
                self.own.get_or_init(|| made)
            }
        };
        direct::renew(
            session,
            (&self.settings, &self.environment, self.mode.caching()),
            clock,
            issuer.as_ref(),
            given,
        )
        .await
    }
}

impl Issuer for Renewal {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        Box::pin(self.renew())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use anchord_emulator::Authority;
    use anchord_emulator::KeyKind;
    use anchord_emulator::LeafRequest;
    use proptest::prelude::*;
    use tempfile::TempDir;
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;
    use crate::daemonless::Caching;
    use crate::daemonless::cache::Cache;
    use anchord_config as config;
    use anchord_core::clock::Clock;
    use anchord_core::clock::Moment;
    use anchord_core::credentials::Keys;
    use anchord_core::failure::Class;
    use anchord_core::failure::Reason;
    use anchord_core::secret::Secret;

    const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);
    const SESSION: &str = "[session.web]\ncertificate = \"c\"\nprivate_key = \"k\"\n\
         trust_anchor_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a\"\n\
         profile_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:profile/a\"\n\
         role_arn = \"arn:aws:iam::123456789012:role/r\"\n";

    fn made(id: &str, at: OffsetDateTime) -> Credentials {
        made_at(id, Moment { wall: at, up: at - NOON + time::Duration::HOUR })
    }

    fn made_at(id: &str, now: Moment) -> Credentials {
        made_for(id, now, time::Duration::HOUR)
    }

    fn made_for(id: &str, now: Moment, life: time::Duration) -> Credentials {
        let keys = Keys {
            access_key_id: id.into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: Some(Secret::new("token".into())),
        };
        Credentials::new(keys, now, now.wall + life, None).unwrap()
    }

    /// An AWS that counts its calls, and refuses all while `refuses`.
    struct Aws {
        clock: Clock,
        calls: AtomicUsize,
        refuses: AtomicBool,
        /// How long its sets live.
        hours: AtomicI64,
    }

    impl Issuer for Aws {
        fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
            let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            let refused =
                self.refuses.load(Ordering::SeqCst).then(|| Failure::of(Reason::Refused, "no", None));
            let life = time::Duration::hours(self.hours.load(Ordering::SeqCst));
            let made = made_for(&format!("ASIA{number}"), self.clock.moment(), life);
            Box::pin(async move { refused.map_or(Ok(made), Err) })
        }
    }

    struct Rig {
        folder: TempDir,
        settings: Settings,
        environment: Environment,
        clock: Clock,
        aws: Aws,
    }

    impl Rig {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("anchord.toml");
            fs_err::write(&file, SESSION).unwrap();
            let environment = Environment::from_iter([("XDG_RUNTIME_DIR", folder.path().to_str().unwrap())])
                .with_uid(rustix::process::geteuid().as_raw());
            let given = config::Arguments::given([("config", file.to_str().unwrap())]).unwrap();
            let settings = config::load_for_client(given, &environment).unwrap();
            let clock = Clock::manual(NOON);
            let aws = Aws {
                clock: clock.clone(),
                calls: AtomicUsize::new(0),
                refuses: AtomicBool::new(false),
                hours: AtomicI64::new(1),
            };
            Self { folder, settings, environment, clock, aws }
        }

        /// Puts another certificate in the place of the one before.
        fn exchange_certificate(&self) {
            let root = Authority::root("root", KeyKind::P256).unwrap();
            let leaf = root.leaf(&LeafRequest::new("robot", KeyKind::P256)).unwrap();
            fs_err::write(self.folder.path().join("c"), leaf.certificate_pem()).unwrap();
        }

        async fn renew(&self, than: Option<&Credentials>) -> Result<String, Failure> {
            let (session, given) =
                (&self.settings.sessions[0], (&self.settings, &self.environment, Caching::On));
            let renewed = direct::renew(session, given, &self.clock, &self.aws, than).await;
            renewed.map(|credentials| credentials.access_key_id().to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_process_has_made_is_taken_until_it_is_due_and_never_in_its_own_place() {
        let rig = Rig::new();
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        let first = made("ASIA1", NOON);

        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1", "which is in the cache");
        // The earliest that a keeper's jitter lets it come, while the cache's rule says 30 minutes.
        rig.clock.jump(time::Duration::minutes(26));
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        assert_eq!(rig.renew(Some(&first)).await.unwrap(), "ASIA2");
        assert_eq!(rig.renew(Some(&first)).await.unwrap(), "ASIA2", "one call for all processes");
        rig.clock.jump(time::Duration::minutes(31));
        assert_eq!(rig.renew(Some(&first)).await.unwrap(), "ASIA3", "credentials that are due are not used");
        assert_eq!(rig.aws.calls.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_with_another_certificate_is_renewed_and_goes_on_where_none_is_to_be_had() {
        let rig = Rig::new();
        rig.exchange_certificate();
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1", "which is in the cache");

        rig.exchange_certificate();
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA2");
        rig.exchange_certificate();
        rig.aws.refuses.store(true, Ordering::SeqCst);
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA2");
        assert_eq!(rig.aws.calls.load(Ordering::SeqCst), 3);
    }

    /// An administrator has shortened the sessions in the meantime.
    #[tokio::test(start_paused = true)]
    async fn a_set_that_ends_earlier_does_not_replace_a_longer_one_that_lives() {
        let rig = Rig::new();
        rig.exchange_certificate();
        let calls = || rig.aws.calls.load(Ordering::SeqCst);
        let minutes = async |count: u64| {
            tokio::time::advance(std::time::Duration::from_secs(count * 60)).await;
        };
        rig.aws.hours.store(12, Ordering::SeqCst);
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        let first = made_for("ASIA1", Moment { wall: NOON, ..rig.clock.moment() }, time::Duration::hours(12));
        rig.aws.hours.store(1, Ordering::SeqCst);

        minutes(7 * 60).await;
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1", "which has 5 h left");
        assert_eq!(calls(), 2, "it was due");
        minutes(3 * 60 + 59).await;
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        assert_eq!(calls(), 2, "a new one would not outlive it before");
        minutes(2).await;
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA3");
        assert_eq!(rig.renew(Some(&first)).await.unwrap(), "ASIA3", "which is kept");
        assert_eq!(calls(), 3);
    }

    /// A keeper decides itself which credentials to use, and does not get its own back.
    #[tokio::test(start_paused = true)]
    async fn a_keeper_gets_what_aws_gave_while_the_cache_keeps_what_lives_longer() {
        let rig = Rig::new();
        rig.exchange_certificate();
        rig.aws.hours.store(12, Ordering::SeqCst);
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        let first = made_for("ASIA1", rig.clock.moment(), time::Duration::hours(12));
        rig.aws.hours.store(1, Ordering::SeqCst);

        tokio::time::advance(std::time::Duration::from_secs(7 * 3600)).await;
        assert_eq!(rig.renew(Some(&first)).await.unwrap(), "ASIA2");
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        rig.exchange_certificate();
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA3", "the first of another certificate");
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA3");
        assert_eq!(rig.aws.calls.load(Ordering::SeqCst), 3);
    }

    /// Their settings are the same and name the same paths, but each host has a different certificate there.
    #[tokio::test(start_paused = true)]
    async fn hosts_that_share_a_home_each_keep_their_own_and_get_none_of_anothers() {
        let (mut one, mut other) = (Rig::new(), Rig::new());
        one.environment = one.environment.with_host("id one");
        other.settings = one.settings.clone();
        other.environment = one.environment.clone().with_host("id other");
        assert_eq!(one.renew(None).await.unwrap(), "ASIA1");

        other.aws.refuses.store(true, Ordering::SeqCst);
        assert_eq!(other.renew(None).await.unwrap_err().class(), Class::Denied);
        other.aws.refuses.store(false, Ordering::SeqCst);
        other.clock.jump(time::Duration::minutes(1));

        assert_eq!(other.renew(None).await.unwrap(), "ASIA2");
        for _ in 0..3 {
            assert_eq!(one.renew(None).await.unwrap(), "ASIA1");
            assert_eq!(other.renew(None).await.unwrap(), "ASIA2");
        }
        let calls = |rig: &Rig| rig.aws.calls.load(Ordering::SeqCst);
        assert_eq!((calls(&one), calls(&other)), (1, 2), "and one that was refused");
    }

    /// One thing that happens on one of two hosts.
    #[derive(Clone, Debug)]
    enum Move {
        Ask,
        Pass(u64),
        /// Somebody sets the host's clock.
        Set(i64),
        /// AWS begins to refuse the host, or ends it.
        Turn,
        Rotate,
    }

    fn any_move() -> impl Strategy<Value = (bool, Move)> {
        let kind = prop_oneof![
            6 => Just(Move::Ask),
            4 => (1..3000_u64).prop_map(Move::Pass),
            1 => (-10_000..10_000_i64).prop_map(Move::Set),
            1 => Just(Move::Turn),
            1 => Just(Move::Rotate),
        ];
        (any::<bool>(), kind)
    }

    /// Plays days of two hosts with one home. The wall clocks may be set, so checks use the time since boot.
    async fn play(moves: Vec<(bool, Move)>) {
        let (mut one, mut other) = (Rig::new(), Rig::new());
        one.environment = one.environment.with_host("id one");
        (other.settings, other.environment) =
            (one.settings.clone(), one.environment.clone().with_host("id other"));
        // The key id of a set contains its number. Numbers above a million are of the other host.
        other.aws.calls.store(1_000_000, Ordering::SeqCst);
        let mut ends = std::collections::BTreeMap::new();
        // When each host's set is due, unless something happens to it.
        let mut due = [time::Duration::ZERO; 2];
        for (is_other, step) in moves {
            let rig = if is_other { &other } else { &one };
            let due_of_host = &mut due[usize::from(is_other)];
            match step {
                Move::Pass(seconds) => tokio::time::advance(std::time::Duration::from_secs(seconds)).await,
                Move::Turn => _ = rig.aws.refuses.fetch_xor(true, Ordering::SeqCst),
                Move::Set(seconds) => {
                    rig.clock.jump(time::Duration::seconds(seconds));
                    *due_of_host = time::Duration::ZERO;
                }
                Move::Rotate => {
                    // Their settings name the same file.
                    one.exchange_certificate();
                    due = [time::Duration::ZERO; 2];
                }
                Move::Ask => {
                    let before = rig.aws.calls.load(Ordering::SeqCst);
                    let handed = rig.renew(None).await;
                    let up = rig.clock.moment().up;
                    let calls = rig.aws.calls.load(Ordering::SeqCst);
                    assert!(
                        calls - before <= usize::from(up >= *due_of_host),
                        "one call for a process, when a set is due"
                    );
                    if calls > before && !rig.aws.refuses.load(Ordering::SeqCst) {
                        ends.insert(calls, up + time::Duration::HOUR);
                        *due_of_host = up + time::Duration::minutes(29);
                    }
                    let Ok(id) = handed else { continue };
                    let number: usize = id["ASIA".len()..].parse().unwrap();
                    assert_eq!(number > 1_000_000, is_other, "a set of its own");
                    assert!(ends[&number] - up > time::Duration::MINUTE, "a set that lives");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn on_a_shared_home_no_host_ever_gets_a_set_of_another_or_one_that_has_ended(
            moves in prop::collection::vec(any_move(), 100..200),
        ) {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().start_paused(true).build().unwrap().block_on(play(moves));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_given_only_to_a_keeper_with_nothing_and_another_hears_why_not() {
        let rig = Rig::new();
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        rig.clock.jump(time::Duration::minutes(40));
        rig.aws.refuses.store(true, Ordering::SeqCst);

        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        let refused = rig.renew(Some(&made("ASIA1", NOON))).await.unwrap_err();
        assert_eq!((refused.class(), refused.message()), (Class::Denied, "no"));
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1", "which the failure has not put out of the cache");
        assert_eq!(rig.aws.calls.load(Ordering::SeqCst), 2, "processes share a failure for a moment");
        rig.clock.jump(time::Duration::minutes(20));
        assert_eq!(rig.renew(None).await.unwrap_err().class(), Class::Denied);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_does_not_let_go_is_told_of_and_not_waited_for_without_end() {
        let rig = Rig::new();
        let cache = Cache::of(&rig.settings, &rig.settings.sessions[0], &rig.environment, None).unwrap();
        let held = cache.lock().await.unwrap();

        let failure = rig.renew(None).await.unwrap_err();
        assert!(
            failure.message().contains("another process") && failure.to_string().contains("fuser"),
            "{failure}"
        );
        assert_eq!((failure.class(), rig.aws.calls.load(Ordering::SeqCst)), (Class::Transient, 0));

        drop(held);
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
    }

    /// After a clock was set back, expired credentials look valid. They cannot be told from valid ones, so AWS is
    /// asked.
    #[tokio::test(start_paused = true)]
    async fn credentials_from_the_future_are_renewed_and_go_on_where_none_are_to_be_had() {
        let rig = Rig::new();
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");

        rig.clock.jump(time::Duration::minutes(-4));
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1", "as far as clocks are set all the time");
        rig.clock.jump(time::Duration::hours(-3));
        rig.aws.refuses.store(true, Ordering::SeqCst);
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA1");
        rig.clock.jump(time::Duration::minutes(1));
        rig.aws.refuses.store(false, Ordering::SeqCst);
        assert_eq!(rig.renew(None).await.unwrap(), "ASIA3");
    }

    #[test]
    fn of_a_daemon_only_another_set_is_newer_whatever_the_clocks_say() {
        let held = made("ASIA1", NOON);
        // This host's clock was set back meanwhile.
        let newer = made("ASIA2", NOON - time::Duration::hours(3));

        assert!(!newer.outlive(&held));
        let now = Moment { wall: NOON, up: time::Duration::HOUR };
        assert!(client::renewed(Ok(newer), Some(&held), now).unwrap().outlive(&held));
        let same = client::renewed(Ok(held.clone()), Some(&held), now).unwrap_err();
        assert!(same.message().contains("no newer") && same.hint().is_some(), "{same}");
        assert_eq!(client::renewed(Ok(held), None, now).unwrap().access_key_id(), "ASIA1");
    }

    #[test]
    fn a_daemon_that_keeps_a_long_set_is_not_asked_every_few_seconds() {
        let held = made("ASIA1", NOON);
        let pause = |left: i64| {
            let now = Moment { wall: NOON, up: time::Duration::HOUR } + time::Duration::seconds(3600 - left);
            client::renewed(Ok(held.clone()), Some(&held), now).unwrap_err().retry_after()
        };

        assert_eq!(pause(3600), Some(std::time::Duration::from_secs(180)));
        assert_eq!(
            pause(60),
            Some(std::time::Duration::from_secs(5)),
            "near its end a newer one is not missed"
        );
        assert_eq!(pause(-1), Some(std::time::Duration::from_secs(5)));
    }

    #[test]
    fn a_daemon_is_asked_without_a_jitter_of_our_own() {
        let rig = Rig::new();
        let seams = Seams { jitter: Jitter::fixed(0.5), ..Seams::real() };
        let renewal =
            Renewal::new(&rig.settings, ObtainMode::DaemonFirst(Caching::On), &rig.environment, &seams);
        let jitter = renewal.jitter();

        renewal.asks_aws.send_replace(true);
        assert!((jitter.draw() - 0.5).abs() < f64::EPSILON);
        renewal.asks_aws.send_replace(false);
        assert!(jitter.draw().abs() < f64::EPSILON);
    }
}
