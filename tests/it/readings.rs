//! The assumptions about AWS in `docs/internals/assumptions.md`, each with the other reading: what the user sees, and
//! that no promise breaks. Without the arrangement alone, in the likelier reading, each of these works or fails as other
//! tests say.

use std::time::Duration;

use anchord_core::clock::Clock;
use anchord_core::clock::parse_rfc3339;
use anchord_core::clock::until;
use anchord_core::failure::Class;
use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::READINGS;

use crate::clocks::attempts_for;
use crate::outage::Inside;
use crate::outage::StillTime;
use crate::outage::in_order;
use crate::transport;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;

/// What has to be there for a reading to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    AsEver,
    NoBasicConstraints,
    /// ML-DSA and two intermediates: some 20 kB of headers.
    LargeChain,
    TwoIntermediates,
    /// By twenty minutes.
    WrongClock,
    /// To half an hour, which is less than is asked for.
    ShortProfile,
    Throttled,
    Denied,
    Disabled,
    NameRefused,
}
use Arrangement::*;

/// A reading, its arrangement, and the class and a part of what is told in the end; or `None` where all is well.
type Row = (&'static str, Arrangement, Option<(Class, &'static str)>);

const TABLE: &[Row] = &[
    ("", NoBasicConstraints, None),
    ("strict", NoBasicConstraints, Some((Class::Denied, "`anchord certificate show`"))),
    ("", LargeChain, None),
    ("header-limit=8192", LargeChain, Some((Class::Misconfigured, "so that fewer intermediates are sent"))),
    (
        "header-limit-400=8192",
        LargeChain,
        Some((Class::Transient, "refuses headers as large as the certificates")),
    ),
    ("", WrongClock, None),
    ("no-date", AsEver, None),
    ("no-date", WrongClock, Some((Class::Denied, "this host's clock"))),
    ("no-date-on-refusals", WrongClock, Some((Class::Denied, "this host's clock"))),
    ("date-off-on-refusals=7200", Denied, Some((Class::Denied, "this host's clock is off by 7"))),
    ("skew-400", WrongClock, None),
    ("", ShortProfile, None),
    ("session-as-asked", ShortProfile, None),
    ("session-longer=200", AsEver, None),
    ("session-longer=900", AsEver, Some((Class::Transient, "later than requested"))),
    ("", Throttled, Some((Class::Throttled, "429 Too Many Requests ThrottlingException"))),
    ("throttle-too-many-requests", Throttled, Some((Class::Throttled, "TooManyRequestsException"))),
    ("throttle-400", Throttled, Some((Class::Throttled, "400 Bad Request ThrottlingException"))),
    ("throttle-page", Throttled, Some((Class::Throttled, "answered instead of AWS: 429"))),
    ("", Disabled, Some((Class::Denied, "404 Not Found ResourceNotFoundException"))),
    ("disabled-403", Disabled, Some((Class::Denied, "Profile is disabled"))),
    ("arns-in-query", AsEver, Some((Class::Denied, "ValidationException: trustAnchorArn is missing"))),
    ("type-in-body", Denied, Some((Class::Denied, "AccessDeniedException: Unable to assume role"))),
    ("code-in-body", Denied, Some((Class::Denied, "AccessDeniedException: Unable to assume role"))),
    ("type-in-body", Throttled, Some((Class::Throttled, "ThrottlingException"))),
    ("expiration-fraction", AsEver, None),
    ("expiration-offset", AsEver, None),
    ("", TwoIntermediates, None),
    ("chain-top-first", TwoIntermediates, Some((Class::Denied, "Untrusted Signing Certificate"))),
    ("", NameRefused, Some((Class::Denied, "acceptRoleSessionName"))),
];

impl Arrangement {
    fn make(self, stage: &Stage) {
        match self {
            AsEver => {}
            NoBasicConstraints => {
                let mut request = LeafRequest::new("robot-7", KeyKind::P256);
                request.basic_constraints = false;
                stage.install(&stage.root.leaf(&request).unwrap());
            }
            LargeChain => chained(stage, KeyKind::MlDsa65),
            TwoIntermediates => chained(stage, KeyKind::P256),
            WrongClock => stage.emulator.set_clock_offset(20 * time::Duration::MINUTE),
            ShortProfile => stage.emulator.set_profile_duration(&stage.profile, 1800),
            Throttled => stage.emulator.always(Some(Fault::Throttle { retry_after: None })),
            Denied => {
                stage.emulator.always(Some(Fault::Denied { message: "Unable to assume role".into() }));
            }
            Disabled => stage.emulator.change(|setup| setup.profiles[0].enabled = false),
            NameRefused => {
                stage.emulator.change(|setup| setup.profiles[0].accept_role_session_name = false);
                stage.configure(&format!("{}role_session_name = \"robot-7\"\n", stage.session("bedrock")));
            }
        }
    }
}

/// Puts a leaf in place below two intermediates.
fn chained(stage: &Stage, kind: KeyKind) {
    let upper = stage.root.intermediate("Upper", kind).unwrap();
    let lower = upper.intermediate("Lower", kind).unwrap();
    let leaf = lower.leaf(&LeafRequest::new("robot-7", kind)).unwrap();
    let chain = [leaf.certificate_pem(), lower.certificate_pem(), upper.certificate_pem()].concat();
    stage.write("leaf.pem", &chain);
    stage.write("key.pem", &leaf.key_pem(KeyForm::Pkcs8).unwrap());
}

fn play(stage: &Stage, (reading, arrangement, _): &Row) {
    if !reading.is_empty() {
        stage.emulator.change(|setup| setup.readings.play(reading).unwrap());
    }
    arrangement.make(stage);
}

#[test]
fn every_reading_that_can_be_played_is_in_the_table_and_on_the_page() {
    let page = include_str!("../../docs/internals/assumptions.md");
    for name in READINGS.split(", ") {
        assert!(page.contains(&format!("`{name}`")), "{name}");
        let name = name.split('=').next().unwrap();
        assert!(TABLE.iter().any(|(reading, ..)| reading.split('=').next() == Some(name)), "{name}");
    }
}

#[tokio::test]
async fn each_reading_ends_in_credentials_or_in_a_failure_that_says_what_to_do() {
    for row in TABLE {
        let (reading, arrangement, expected) = row;
        let stage = Stage::new().await;
        play(&stage, row);

        let issued = transport::issue(&stage, |_| {}).await;

        let about = format!("{reading:?} {arrangement:?}");
        match (issued, expected) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => panic!("{about}: credentials"),
            (Err(failure), None) => panic!("{about}: {failure}"),
            (Err(failure), Some((class, part))) => {
                assert_eq!(failure.class(), *class, "{about}: {failure}");
                assert!(failure.to_string().contains(part), "{about}: {failure}");
            }
        }
    }
}

/// In minutes of virtual time.
const RUN: usize = 16;

/// As often as a class may be tried again at the shortest of its pauses, and some at the beginning.
fn most_calls(class: Class) -> usize {
    match class {
        Class::Denied => RUN * 60 / 75 + 3,
        Class::Transient | Class::Throttled | Class::Misconfigured | Class::Broken => RUN * 60 / 15 + 8,
    }
}

/// Each of the other readings for a while, in a daemon that clients ask.
#[test]
fn no_reading_makes_a_tight_loop_or_hands_out_what_has_ended() {
    for row in TABLE.iter().filter(|(reading, ..)| !reading.is_empty()) {
        in_order(keeps_its_promises(row));
    }
}

async fn keeps_its_promises(row: &Row) {
    let (reading, arrangement, expected) = row;
    let about = format!("{reading:?} {arrangement:?}");
    let still = StillTime::hold();
    let clock = Clock::manual(Clock::system().now());
    let emulators = clock.clone();
    let stage =
        Stage::with(move |setup| setup.clock = anchord_emulator::Clock::new(move || emulators.now())).await;
    play(&stage, row);
    let inside = Inside::on(stage, clock, still).await;

    for _ in 0..RUN / 4 {
        attempts_for(&inside, time::Duration::minutes(4)).await;
        let reply = client::container(&inside.http, "bedrock", &inside.bearer).await;
        assert_eq!(reply.status == 200, expected.is_none(), "{about}: {}", reply.status);
        if reply.status == 200 {
            let end = parse_rfc3339(reply.json()["Expiration"].as_str().unwrap()).unwrap();
            assert!(until(inside.clock.now(), end) > Duration::ZERO, "{about}");
            let ends_at_aws = inside.stage.emulator.issued().last().unwrap().expires_at;
            assert!(ends_at_aws > inside.stage.emulator.now(), "{about}");
        }
    }

    let calls = inside.stage.emulator.requests().len();
    let most = expected.map_or(4, |(class, _)| most_calls(class));
    assert!(calls <= most, "{about}: {calls} calls in {RUN} minutes, {most} at most");
}
