//! When the second is asked, what is told of both, and that neither is asked against its will.

use std::collections::VecDeque;
use std::sync::Mutex;

use time::macros::datetime;

use super::*;
use anchord_core::clock::Moment;
use anchord_core::credentials::Keys;
use anchord_core::secret::Secret;
use anchord_core::text::Text;
use anchord_testing::Log;

const NOON: time::OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

/// What an issuer does when it is asked: after a pause, credentials of this name or a failure.
type Answer = (Duration, Result<&'static str, Failure>);

struct Script {
    clock: Clock,
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<u32>,
    leaf: Mutex<&'static [u8]>,
    /// Until when its call waits for those of others.
    waits_until: Mutex<Option<Instant>>,
}

impl Script {
    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

impl Issuer for Script {
    fn issue(&self) -> BoxFuture<'_, Result<Credentials, Failure>> {
        *self.asked.lock().unwrap() += 1;
        let (pause, result) = self.answers.lock().unwrap().pop_front().expect("not to be asked again");
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            result.map(|name| credentials(name, self.clock.moment()))
        })
    }

    fn is_waiting(&self) -> bool {
        self.waits_until.lock().unwrap().is_some_and(|at| Instant::now() < at)
    }

    /// Each reply puts AWS's clock a second further ahead.
    fn clock_offset(&self) -> Option<ClockOffset> {
        let ahead = time::Duration::seconds(self.asked().into());
        Some(ClockOffset { ahead, at_most: ahead, at: self.clock.moment() })
    }

    fn signer(&self) -> Option<SignerId> {
        Some(SignerId::of(*self.leaf.lock().unwrap()))
    }
}

fn credentials(name: &str, now: Moment) -> Credentials {
    let keys = Keys {
        access_key_id: name.into(),
        secret_access_key: Secret::new("secret".into()),
        session_token: Some(Secret::new("token".into())),
    };
    Credentials::new(keys, now, now.wall + time::Duration::HOUR, None).unwrap()
}

struct Rig {
    clock: Clock,
    first: Arc<Script>,
    second: Arc<Script>,
    failover: Failover,
}

fn rig(first: impl IntoIterator<Item = Answer>, second: impl IntoIterator<Item = Answer>) -> Rig {
    let clock = Clock::manual(NOON);
    let script = |answers: VecDeque<Answer>| {
        Arc::new(Script {
            clock: clock.clone(),
            answers: Mutex::new(answers),
            asked: Mutex::new(0),
            leaf: Mutex::new(b"old"),
            waits_until: Mutex::default(),
        })
    };
    let (first, second) = (script(first.into_iter().collect()), script(second.into_iter().collect()));
    let region = Region::parse("eu-west-1").unwrap();
    let issuers: [Arc<dyn Issuer>; 2] = [Arc::<Script>::clone(&first), Arc::<Script>::clone(&second)];
    let [one, two] = issuers;
    let failover = Failover::new("bedrock", one, two, region, clock.clone());
    Rig { clock, first, second, failover }
}

impl Rig {
    /// What an attempt brings: the credentials' name or the failure.
    async fn attempt(&self) -> Result<String, Failure> {
        self.failover.issue().await.map(|made| made.access_key_id().to_owned())
    }

    fn asked(&self) -> (u32, u32) {
        (self.first.asked(), self.second.asked())
    }
}

/// A failure of this class that says `message`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Trouble {
    class: Class,
    message: &'static str,
    hint: Option<&'static str>,
    retry_after: Option<u64>,
    is_local: bool,
}

impl Trouble {
    fn new(class: Class, message: &'static str) -> Self {
        Self { class, message, hint: None, retry_after: None, is_local: false }
    }
}

impl Classify for Trouble {
    fn reason(&self) -> Reason {
        self.class.into()
    }

    fn hint(&self) -> Option<Text> {
        self.hint.map(str::to_owned).map(Into::into)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after.map(Duration::from_secs)
    }

    fn is_local(&self) -> bool {
        self.is_local
    }
}

fn makes(name: &'static str) -> Answer {
    (Duration::ZERO, Ok(name))
}

fn fails(trouble: Trouble) -> Answer {
    (Duration::ZERO, Err(trouble.into()))
}

fn down() -> Answer {
    fails(Trouble::new(Class::Transient, "down"))
}

fn throttles(seconds: u64) -> Answer {
    fails(Trouble { retry_after: Some(seconds), ..Trouble::new(Class::Throttled, "slow down") })
}

#[tokio::test(start_paused = true)]
async fn while_the_first_works_the_second_is_not_asked() {
    let rig = rig([makes("a"), makes("b")], []);

    assert_eq!(rig.attempt().await, Ok("a".into()));
    assert_eq!(rig.attempt().await, Ok("b".into()));
    assert_eq!(rig.asked(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_says_what_time_it_is_at_aws_and_what_signs() {
    let rig = rig([makes("a")], []);
    *rig.second.leaf.lock().unwrap() = b"new";
    rig.attempt().await.unwrap();

    assert_eq!(rig.failover.clock_offset().map(|date| date.ahead), Some(time::Duration::SECOND));
    assert_eq!(rig.failover.signer(), Some(SignerId::of(b"old")));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_by_itself_brings_in_the_second_in_the_same_attempt() {
    for class in [Class::Denied, Class::Misconfigured, Class::Broken] {
        let rig = rig([makes("a"), fails(Trouble::new(class, "no"))], [makes("b")]);
        rig.attempt().await.unwrap();

        assert_eq!(rig.attempt().await, Ok("b".into()), "{class}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_brings_in_the_second_from_the_third_time_on() {
    for class in [Class::Transient, Class::Throttled] {
        let failing = || fails(Trouble::new(class, "for a while"));
        let rig = rig([makes("a"), failing(), failing(), failing(), failing()], [makes("b"), makes("c")]);
        rig.attempt().await.unwrap();

        for _ in 0..2 {
            assert_eq!(rig.attempt().await.unwrap_err().message(), "for a while");
        }
        assert_eq!(rig.asked(), (3, 0));
        assert_eq!(rig.attempt().await, Ok("b".into()), "{class}");
        assert_eq!(rig.attempt().await, Ok("c".into()), "the first still fails");
        assert_eq!(rig.asked(), (5, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_of_the_first_begins_the_count_anew() {
    let rig = rig([makes("a"), down(), down(), makes("b"), down(), down()], []);

    for _ in 0..6 {
        let _ = rig.attempt().await;
    }

    assert_eq!(rig.asked(), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cut_off_counts_as_a_failure() {
    let hangs = || (Duration::MAX, Ok("never"));
    let rig = rig([makes("a"), hangs(), hangs(), down()], [makes("b")]);
    rig.attempt().await.unwrap();

    for _ in 0..2 {
        assert!(tokio::time::timeout(Duration::from_secs(130), rig.attempt()).await.is_err());
    }

    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn before_there_are_any_credentials_the_second_is_asked_at_once() {
    let rig = rig([down()], [makes("b")]);

    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn with_less_than_five_minutes_left_the_second_is_asked_at_once() {
    let rig = rig([makes("a"), down(), down()], [makes("b")]);
    rig.attempt().await.unwrap();

    rig.clock.jump(time::Duration::minutes(55));
    assert_eq!(rig.attempt().await.unwrap_err().message(), "down");
    rig.clock.jump(time::Duration::SECOND);
    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_more_than_a_minute_is_not_waited_for() {
    let rig = rig([makes("a"), throttles(60), throttles(61)], [makes("b")]);
    rig.attempt().await.unwrap();

    let told = rig.attempt().await.unwrap_err();
    assert_eq!(told.retry_after(), Some(Duration::from_secs(60)));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_on_this_host_is_not_taken_to_the_second() {
    let unreadable =
        || fails(Trouble { is_local: true, ..Trouble::new(Class::Misconfigured, "cannot read `key.pem`") });
    let rig = rig([unreadable(), makes("a"), unreadable(), unreadable(), down(), down()], []);

    assert_eq!(rig.attempt().await.unwrap_err().message(), "cannot read `key.pem`");
    rig.attempt().await.unwrap();
    // Nor does it count against the endpoint.
    for message in ["cannot read `key.pem`", "cannot read `key.pem`", "down", "down"] {
        assert_eq!(rig.attempt().await.unwrap_err().message(), message);
    }
    assert_eq!(rig.asked(), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_does_not_wait_until_a_silent_first_is_given_up() {
    let rig =
        rig([(Duration::from_secs(15), Err(Trouble::new(Class::Transient, "silent").into()))], [makes("b")]);
    let started = Instant::now();

    assert_eq!(rig.attempt().await, Ok("b".into()));
    assert_eq!(started.elapsed(), HEAD_START);
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_is_still_waited_for_when_the_second_has_nothing() {
    let slow = (Duration::from_secs(10), Ok("a"));
    let rig = rig([slow], [fails(Trouble::new(Class::Denied, "no"))]);

    assert_eq!(rig.attempt().await, Ok("a".into()));
}

#[tokio::test(start_paused = true)]
async fn the_first_to_answer_of_a_slow_pair_is_taken() {
    let after = |seconds, name| (Duration::from_secs(seconds), Ok(name));
    let first = rig([after(4, "a")], [after(10, "b")]);
    let second = rig([after(10, "a")], [after(1, "b")]);

    assert_eq!(first.attempt().await, Ok("a".into()));
    assert_eq!(second.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_that_fails_leaves_it_to_the_second() {
    let slow = (Duration::from_secs(4), Err(Trouble::new(Class::Transient, "reset").into()));
    let rig = rig([slow], [(Duration::from_secs(4), Ok("b"))]);

    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn who_has_plenty_waits_for_a_silent_first() {
    let rig = rig([makes("a"), (Duration::from_secs(14), Ok("b"))], []);
    rig.attempt().await.unwrap();

    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_both_are_told() {
    let refusal = |message, hint| fails(Trouble { hint, ..Trouble::new(Class::Denied, message) });
    let hints = rig([refusal("no", Some("see A"))], [refusal("no way", Some("see B"))]);
    let one_hint = rig([refusal("no", Some("see A"))], [refusal("no way", Some("see A"))]);

    assert_eq!(
        hints.attempt().await.unwrap_err().to_string(),
        "no; the second endpoint (eu-west-1): no way; hint: see A; the second endpoint (eu-west-1): see B"
    );
    assert_eq!(
        one_hint.attempt().await.unwrap_err().to_string(),
        "no; the second endpoint (eu-west-1): no way; hint: see A"
    );
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_sooner_retry_decides_unless_one_throttles() {
    use Class::*;
    for (first, second, both) in [
        (Transient, Denied, Transient),
        (Denied, Transient, Transient),
        (Denied, Misconfigured, Misconfigured),
        (Broken, Denied, Broken),
        (Transient, Throttled, Throttled),
        (Throttled, Denied, Throttled),
        (Denied, Denied, Denied),
    ] {
        let rig = rig([fails(Trouble::new(first, "a"))], [fails(Trouble::new(second, "b"))]);

        let failure = rig.attempt().await.unwrap_err();

        assert_eq!((failure.class(), failure.retry_after()), (both, None), "{first}, {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asked_to_be_left_alone_is_while_the_other_is_asked() {
    let rig = rig([throttles(300), down()], [down(), down(), makes("b")]);

    for expected in [(1, 1), (1, 2)] {
        let failure = rig.attempt().await.unwrap_err();
        assert_eq!(failure.retry_after(), None, "the other may be back any moment");
        assert_eq!(failure.message(), "slow down; the second endpoint (eu-west-1): down");
        assert_eq!(rig.asked(), expected);
    }
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(rig.attempt().await, Ok("b".into()));
    assert_eq!(rig.asked(), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn what_holds_since_an_earlier_attempt_is_told_with_its_hint() {
    for hint in [Some("raise the quota"), None] {
        let throttles =
            fails(Trouble { hint, retry_after: Some(300), ..Trouble::new(Class::Throttled, "slow down") });
        let rig = rig([throttles], [down(), down()]);

        for _ in 0..2 {
            assert_eq!(rig.attempt().await.unwrap_err().hint(), hint);
        }
        assert_eq!(rig.asked(), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_ask_to_be_left_alone_the_session_waits_for_the_first_that_may_be_asked() {
    let rig = rig([throttles(300)], [throttles(20), makes("b")]);

    assert_eq!(rig.attempt().await.unwrap_err().retry_after(), Some(Duration::from_secs(20)));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(rig.attempt().await.unwrap_err().retry_after(), Some(Duration::from_secs(15)));
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(rig.attempt().await, Ok("b".into()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_reason_is_cut_to_a_quarter_of_an_hour() {
    let rig = rig([throttles(86_400), makes("a")], [down(), down()]);
    rig.attempt().await.unwrap_err();

    tokio::time::advance(Duration::from_secs(15 * 60 - 1)).await;
    assert!(rig.attempt().await.is_err());
    assert_eq!(rig.asked(), (1, 2));
    tokio::time::advance(Duration::from_secs(1)).await;

    assert_eq!(rig.attempt().await, Ok("a".into()));
}

fn refuses() -> Answer {
    fails(Trouble::new(Class::Denied, "the profile is disabled"))
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_is_asked_every_few_minutes_while_the_other_is_down() {
    for is_first in [true, false] {
        let (one, two) = ((0..9).map(|_| down()), (0..9).map(|_| refuses()));
        let rig = if is_first { rig(two, one) } else { rig(one, two) };

        for _ in 0..9 {
            let failure = rig.attempt().await.unwrap_err();
            assert_eq!(failure.class(), Class::Transient, "either may pass: {failure}");
            assert!(failure.message().contains("the profile is disabled"), "{failure}");
            tokio::time::advance(MINUTE).await;
        }

        let expected = if is_first { (3, 9) } else { (9, 3) };
        assert_eq!(rig.asked(), expected, "in minutes 0, 4 and 8");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_is_asked_at_once_with_another_certificate() {
    let rig = rig([down(), down(), down()], [refuses(), refuses(), makes("a")]);

    assert!(rig.attempt().await.is_err());
    assert!(rig.attempt().await.is_err());
    assert_eq!(rig.asked(), (2, 1));
    *rig.second.leaf.lock().unwrap() = b"new";
    assert!(rig.attempt().await.is_err());
    assert_eq!(rig.asked(), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn while_both_refuse_both_are_asked_in_each_attempt() {
    let rig = rig([refuses(), refuses()], [refuses(), refuses()]);

    for _ in 0..2 {
        assert_eq!(rig.attempt().await.unwrap_err().class(), Class::Denied);
    }

    assert_eq!(rig.asked(), (2, 2));
}

/// A thousand sessions start together.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_those_of_others_is_not_silent() {
    let rig = rig([(4 * HEAD_START, Ok("a"))], []);
    *rig.first.waits_until.lock().unwrap() = Some(Instant::now() + 4 * HEAD_START);

    assert_eq!(rig.attempt().await.unwrap(), "a");
    assert_eq!(rig.asked(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_silence_is_not_urgent_for_a_session_that_holds_what_a_predecessor_left() {
    let slow = || (2 * HEAD_START, Ok("a"));
    let end = End { wall: NOON + time::Duration::HOUR, up: time::Duration::hours(2) };

    let heir = rig([slow()], []);
    let heir = Rig { failover: heir.failover.holding(Some(end)), ..heir };
    assert_eq!(heir.attempt().await.unwrap(), "a");

    let bare = rig([slow()], [makes("b")]);
    assert_eq!(bare.attempt().await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_detour_is_told_once_when_it_begins_and_once_when_it_ends() {
    let refusal = || {
        fails(Trouble { hint: Some("enable it"), ..Trouble::new(Class::Denied, "the profile is disabled") })
    };
    let rig = rig(
        [makes("a"), refusal(), refusal(), refusal(), makes("b"), makes("c")],
        [makes("d"), down(), makes("e")],
    );

    let log = Log::start();
    for _ in 0..6 {
        let _ = rig.attempt().await;
        tokio::time::advance(REFUSED_FOR).await;
    }

    assert_eq!(
        log.lines(),
        [
            "WARN The first endpoint fails; asking the second endpoint event=\"upstream.fallback\" session=\"bedrock\" \
         region=\"eu-west-1\" class=denied reason=refused error=\"the profile is disabled\" hint=\"enable it\"",
            "INFO The first endpoint works again event=\"upstream.first_again\" session=\"bedrock\"",
        ]
    );
}
