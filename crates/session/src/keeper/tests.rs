//! The keeper in paused time, against an AWS that answers, refuses, hangs and panics.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use time::Duration as Span;
use tokio::time::Instant;
use tokio::time::sleep;

use super::*;
use crate::Freshness;
use crate::Phase;
use crate::support::Act;
use crate::support::Aws;
use crate::support::NOON;
use crate::support::SECRET_KEY;
use crate::support::TOKEN;
use crate::support::failure;
use anchord_core::entropy::Entropy;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_testing::Log;

const HOUR: Act = Act::Issue(Span::HOUR);
const DELAY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_millis(900);
const MINUTE: Duration = Duration::from_secs(60);
/// For tests in which no look at the clock but the one they are about may come to the rescue.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

struct Rig {
    clock: Clock,
    aws: Arc<Aws>,
    handle: Handle,
    keeper: Keeper,
}

fn rig(script: impl IntoIterator<Item = Act>, after_all: Act, policy: Policy) -> Rig {
    let clock = Clock::manual(NOON.wall);
    let aws = Aws::new(&clock, script, after_all, DELAY);
    let issuer = Arc::<Aws>::clone(&aws);
    let (handle, keeper) = open("web", issuer, policy, clock.clone(), Jitter::fixed(0.0));
    Rig { clock, aws, handle, keeper }
}

impl Rig {
    /// Runs the keeper beside `story`, and ends with it.
    async fn during<T>(mut self, story: impl AsyncFnOnce(Stage) -> T) -> T {
        let identity_changed = self.keeper.identity_changed();
        let stage = Stage { clock: self.clock, aws: self.aws, handle: self.handle, identity_changed };
        tokio::select! {
            never = self.keeper.run() => match never {},
            told = story(stage) => told,
        }
    }
}

/// What a story may touch while the keeper runs.
struct Stage {
    clock: Clock,
    aws: Arc<Aws>,
    handle: Handle,
    identity_changed: Arc<Notify>,
}

impl Stage {
    async fn ask(&self) -> Result<Arc<Credentials>, Failure> {
        self.handle.hand_out(Freshness::Full, PATIENCE).await
    }
}

fn denied() -> Act {
    Act::Fail(failure(Class::Denied))
}

fn unwell() -> Act {
    Act::Fail(failure(Class::Transient))
}

fn blind() -> Policy {
    Policy { look_again: NEVER, attempt_limit: NEVER, ..Policy::default() }
}

#[tokio::test(start_paused = true)]
async fn callers_that_come_before_the_keeper_runs_wait_for_its_first_attempt() {
    let mut rig = rig([], HOUR, Policy::default());
    let asks = rig.handle.hand_out(Freshness::Full, PATIENCE);
    let late = async {
        sleep(DELAY).await;
        match rig.keeper.run().await {}
    };

    let handed = tokio::select! { handed = asks => handed, () = late => panic!("the keeper never ends") };

    assert_eq!(handed.unwrap().obtained_at(), NOON.wall + 2 * DELAY);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_attempt() {
    let attempts = rig([], HOUR, Policy::default())
        .during(async |stage| {
            let handed = join_all((0..1000).map(|_| stage.ask())).await;
            assert!(handed.iter().all(Result::is_ok));
            stage.aws.attempts()
        })
        .await;

    assert_eq!(attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_day_passes_with_a_renewal_each_half_hour_and_never_under_29_minutes_left() {
    rig([], HOUR, Policy::default())
        .during(async |stage| {
            sleep(MINUTE).await;
            for _ in 0..24 * 60 {
                sleep(MINUTE).await;
                let held = stage.handle.hand_out(Freshness::Full, Duration::ZERO).await.unwrap();
                assert!(held.remaining(stage.clock.moment()) > Span::minutes(29));
            }
            assert_eq!(stage.aws.attempts(), 1 + 48);
            assert_eq!(stage.aws.most_flying.load(Ordering::SeqCst), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn sessions_of_seconds_are_always_served_under_a_short_policy() {
    let policy = Policy { reserve: Duration::from_millis(500), ..Policy::default() };
    rig([], Act::Issue(Span::seconds(3)), policy)
        .during(async |stage| {
            stage.ask().await.unwrap();
            for _ in 0..600 {
                assert!(stage.handle.hand_out(Freshness::Full, Duration::ZERO).await.is_ok());
                assert!(stage.handle.hand_out(Freshness::Promised, Duration::ZERO).await.is_ok());
                sleep(Duration::from_millis(100)).await;
            }
            assert!((45..=55).contains(&stage.aws.attempts()), "{}", stage.aws.attempts());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_nothing_until_the_credentials_end() {
    rig([HOUR], unwell(), Policy::default())
        .during(async |stage| {
            sleep(58 * MINUTE).await;
            assert_eq!(stage.ask().await.unwrap().obtained_at(), NOON.wall + DELAY);
            assert_eq!(stage.handle.snapshot().trouble, Some(failure(Class::Transient)));

            sleep(2 * MINUTE).await;
            assert_eq!(stage.ask().await.unwrap_err(), failure(Class::Transient));

            stage.aws.turns_to(HOUR);
            sleep(MINUTE).await;
            assert!(stage.ask().await.is_ok());
            assert_eq!(stage.handle.snapshot().trouble, None);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_fetch_does_not_wedge_the_session() {
    rig([Act::Panic], HOUR, Policy::default())
        .during(async |stage| {
            let refused = stage.handle.hand_out(Freshness::Full, 2 * DELAY).await.unwrap_err();
            assert_eq!((refused.class(), refused.message()), (Class::Broken, "the attempt panicked"));

            assert!(stage.ask().await.is_ok(), "a client that can wait outwaits the pause");
            assert_eq!((stage.aws.attempts(), stage.handle.snapshot().phase), (2, Phase::Live));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_renewal_keeps_what_is_still_valid() {
    rig([HOUR], Act::Panic, Policy::default())
        .during(async |stage| {
            sleep(50 * MINUTE).await;
            assert!(stage.ask().await.is_ok());
            assert!(stage.aws.attempts() > 10);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_given_up_at_its_limit_and_repeated() {
    rig([Act::Hang], HOUR, Policy::default())
        .during(async |stage| {
            sleep(MINUTE + Duration::from_millis(1)).await;
            let trouble = stage.handle.snapshot().trouble.unwrap();
            assert_eq!((trouble.class(), trouble.message()), (Class::Transient, "no answer within 60 s"));
            assert_eq!(stage.aws.flying(), 0);

            sleep(2 * DELAY + Duration::from_millis(250)).await;
            assert_eq!(stage.handle.snapshot().phase, Phase::Live);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_within_its_limit_is_waited_for() {
    rig([Act::Hang], HOUR, Policy { attempt_limit: NEVER, ..Policy::default() })
        .during(async |stage| {
            sleep(600 * MINUTE).await;
            assert_eq!((stage.aws.attempts(), stage.aws.flying()), (1, 1));
            assert_eq!(stage.handle.snapshot().phase, Phase::Pending);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_just_after_a_suspend_waits_for_the_renewal() {
    rig([], HOUR, Policy::default())
        .during(async |stage| {
            stage.ask().await.unwrap();

            stage.clock.suspend(8 * 60 * MINUTE);
            let woken_at = stage.clock.now();

            assert_eq!(stage.ask().await.unwrap().obtained_at(), woken_at + DELAY);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_callers_nudge_alone_recovers() {
    rig([], HOUR, blind())
        .during(async |stage| {
            stage.ask().await.unwrap();

            stage.clock.suspend(8 * 60 * MINUTE);

            assert!(stage.ask().await.is_ok(), "the alarm is still half an hour away");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_alarm_alone_notices_expiry() {
    rig([HOUR], Act::Hang, blind())
        .during(async |stage| {
            sleep(59 * MINUTE + DELAY - Duration::from_millis(1)).await;
            assert_eq!(stage.handle.snapshot().phase, Phase::Live);

            sleep(Duration::from_millis(3)).await;
            assert_eq!(stage.handle.snapshot().phase, Phase::Pending);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_alarm_alone_renews() {
    rig([], HOUR, blind())
        .during(async |stage| {
            sleep(31 * MINUTE).await;
            assert_eq!(stage.aws.attempts(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_suspend_is_noticed_within_30_s_without_any_caller() {
    rig([], HOUR, Policy::default())
        .during(async |stage| {
            sleep(MINUTE).await;

            stage.clock.suspend(8 * 60 * MINUTE);
            sleep(Duration::from_secs(30) + 2 * DELAY).await;

            assert_eq!(stage.aws.attempts(), 2);
            assert_eq!(stage.handle.snapshot().phase, Phase::Live);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_does_not_put_off_a_retry() {
    rig([denied()], HOUR, Policy::default())
        .during(async |stage| {
            sleep(MINUTE).await;

            stage.clock.jump(-Span::DAY);
            sleep(5 * MINUTE).await;

            assert_eq!(stage.aws.attempts(), 2);
            assert_eq!(stage.handle.snapshot().phase, Phase::Live);
        })
        .await;
}

/// AWS answers nothing any more, and its clock is known to nobody.
#[tokio::test(start_paused = true)]
async fn the_dead_are_not_handed_out_though_the_clock_was_set_back_in_an_outage() {
    rig([Act::Issue(Span::seconds(150))], unwell(), Policy::default())
        .during(async |stage| {
            stage.ask().await.unwrap();
            sleep(Duration::from_secs(10)).await;

            stage.clock.jump(-Span::hours(2));
            sleep(Duration::from_secs(30)).await;
            let now = stage.clock.now();
            let shown = stage.ask().await.unwrap().expires_at();
            assert!(shown - now <= Span::seconds(110), "{}", shown - now);
            sleep(Duration::from_secs(50)).await;

            assert!(stage.ask().await.is_err());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_renews_at_once_and_is_reported_once() {
    for by in [-Span::hours(2), Span::minutes(10)] {
        let log = Log::verbose();
        rig([], HOUR, Policy::default())
            .during(async |stage| {
                sleep(MINUTE).await;
                stage.clock.jump(by);
                sleep(MINUTE).await;
                assert_eq!(stage.aws.attempts(), 2);
            })
            .await;

        assert_eq!(log.count("WARN", event::CLOCK_SET), 1, "{:#?}", log.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_alone_ends_a_pause() {
    rig([denied()], HOUR, blind())
        .during(async |stage| {
            sleep(MINUTE).await;

            stage.identity_changed.notify_one();
            sleep(2 * DELAY).await;

            assert_eq!(stage.handle.snapshot().phase, Phase::Live);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_during_an_attempt_leads_to_another() {
    rig([denied()], HOUR, blind())
        .during(async |stage| {
            sleep(DELAY / 2).await;

            stage.identity_changed.notify_one();
            sleep(2 * DELAY + Duration::from_secs(1)).await;

            assert_eq!(stage.aws.attempts(), 2);
            assert_eq!(stage.aws.most_flying.load(Ordering::SeqCst), 1);
            assert_eq!(stage.handle.snapshot().phase, Phase::Live);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_waiting_clients_does_not_hammer_an_aws_that_refuses() {
    rig([], denied(), Policy::default())
        .during(async |stage| {
            let started = Instant::now();
            while started.elapsed() < 10 * MINUTE {
                let asked = join_all((0..20).map(|_| stage.ask())).await;
                assert!(asked.iter().all(Result::is_err));
                sleep(Duration::from_millis(100)).await;
            }
            assert!((15..=20).contains(&stage.aws.attempts()), "{}", stage.aws.attempts());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn waiting_callers_are_not_woken_for_nothing() {
    rig([], HOUR, Policy::default())
        .during(async |stage| {
            stage.ask().await.unwrap();
            let mut snapshots = stage.handle.snapshots();
            snapshots.mark_unchanged();

            sleep(20 * MINUTE).await;
            assert!(!snapshots.has_changed().unwrap());

            sleep(11 * MINUTE).await;
            assert!(snapshots.has_changed().unwrap());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_wakes_nobody_at_each_look() {
    rig([Act::Hang], HOUR, Policy { attempt_limit: NEVER, ..Policy::default() })
        .during(async |stage| {
            sleep(DELAY).await;
            let mut snapshots = stage.handle.snapshots();
            snapshots.mark_unchanged();

            sleep(20 * MINUTE).await;

            assert!(!snapshots.has_changed().unwrap());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_keeper_leaves_no_attempt_behind() {
    let rig = rig([], Act::Hang, Policy::default());
    let aws = Arc::clone(&rig.aws);

    rig.during(async |stage| {
        sleep(DELAY).await;
        assert_eq!(stage.aws.flying(), 1);
    })
    .await;

    tokio::task::yield_now().await;
    assert_eq!(aws.flying(), 0);
}

/// Panics at the second draw, which is the one that ends the second attempt.
fn faulty_jitter() -> Jitter {
    let drawn = AtomicUsize::new(0);
    Jitter::uniform(Entropy::from_fn(move |bytes| {
        assert_ne!(drawn.fetch_add(1, Ordering::SeqCst), 1, "the keeper panics, as the test asked");
        bytes.fill(0);
    }))
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_panics_is_run_again_and_nothing_is_lost() {
    let mut rig = rig([], HOUR, Policy::default());
    rig.keeper.jitter = faulty_jitter();

    let panicked = AssertUnwindSafe(rig.keeper.run()).catch_unwind().await;
    assert!(panicked.is_err());
    let (left, handle) = (rig.handle.snapshot(), rig.handle.clone());
    assert!(left.fetching && left.credentials.is_some());
    assert!(handle.hand_out(Freshness::Full, PATIENCE).await.is_ok(), "served while the keeper is down");

    rig.during(async |stage| {
        sleep(Duration::from_millis(1)).await;
        let resumed = handle.snapshot();
        assert_eq!((resumed.phase, resumed.fetching), (Phase::Live, false));
        assert_eq!(resumed.trouble.unwrap().class(), Class::Broken);

        sleep(2 * DELAY + Duration::from_millis(250)).await;
        assert_eq!(stage.aws.attempts(), 3);
        assert_eq!(handle.snapshot().trouble, None);
        assert!(handle.snapshot().credentials.unwrap().obtained_at() > NOON.wall + 30 * MINUTE);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_came_while_the_keeper_was_down_is_not_missed() {
    let mut rig = rig([], HOUR, blind());
    rig.keeper.jitter = faulty_jitter();
    let _ = AssertUnwindSafe(rig.keeper.run()).catch_unwind().await;

    rig.keeper.identity_changed().notify_one();

    rig.during(async |stage| {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.aws.attempts(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_session_can_be_read_in_the_log_without_its_secrets() {
    let log = Log::verbose();

    rig([HOUR, denied()], unwell(), Policy::default())
        .during(async |stage| {
            sleep(60 * MINUTE).await;
            stage.aws.turns_to(HOUR);
            sleep(2 * MINUTE).await;
        })
        .await;

    let lines = log.lines();
    let told = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(log.count("INFO", event::CREDENTIALS_RENEWED), 2, "{lines:#?}");
    assert_eq!(log.count("WARN", event::CREDENTIALS_RENEWAL_FAILED), 1 + 3 + 3, "{lines:#?}");
    assert_eq!(
        told("class=denied reason=refused error=\"a denied failure\" retry_in_seconds=270"),
        1,
        "{lines:#?}"
    );
    assert_eq!(log.count("ERROR", event::CREDENTIALS_WITHHELD), 1, "{lines:#?}");
    assert_eq!(log.count("INFO", event::CREDENTIALS_RECOVERED), 1, "{lines:#?}");
    assert_eq!(told(SECRET_KEY) + told(TOKEN), 0);
}

#[test]
fn a_keeper_knows_its_name() {
    let clock = Clock::system();
    let aws = Aws::new(&clock, [], HOUR, DELAY);
    let (handle, keeper) = open("web", aws, Policy::default(), clock, Jitter::fixed(0.0));

    assert_eq!((keeper.name(), handle.name()), ("web", "web"));
}
