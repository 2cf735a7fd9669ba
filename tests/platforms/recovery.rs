//! How soon each SDK has credentials again after answers that had none, by the SDK's own clock.

use std::time::Duration;
use std::time::Instant;

use anchord_core::event;
use anchord_emulator::Fault;
use anchord_emulator::IssuedCredentials;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::channels::Channel;
use crate::gate::Gate;
use crate::gate::Mode;
use crate::host::Host;
use crate::host::Log;
use crate::play;
use crate::play::Missing;
use crate::play::ROOM;
use crate::programs::Clock;
use crate::programs::Program;
use crate::relay::Relay;
use crate::sdks::Sdk;
use crate::situations::Cell;
use crate::situations::Situation;
use crate::table;
use crate::table::Claim;

/// What happens to the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Refused,
    Cut,
    Expired,
    Denied,
    Slow,
}

impl Trouble {
    pub(crate) const ALL: [Self; 5] = [Self::Refused, Self::Cut, Self::Expired, Self::Denied, Self::Slow];

    /// The head of its column.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused in the window",
            Self::Cut => "malformed answer",
            Self::Expired => "expired in hand",
            Self::Denied => "denied",
            Self::Slow => "slow start",
        }
    }
}

/// A row of the table: when an SDK asks again, and what came of each trouble.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) sdk: Sdk,
    pub(crate) channel: Channel,
    pub(crate) cells: Vec<String>,
}

/// When it asks again, and each trouble.
const COLUMNS: usize = 1 + Trouble::ALL.len();

/// Plays every row that is not of a `missing` SDK and whose cells contain `part` in their names.
pub(crate) async fn measure_all(part: &str, missing: &Missing) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut failures, mut playing) = (Vec::new(), Vec::new(), JoinSet::new());
    for (number, (sdk, channel)) in rows_of_all().into_iter().enumerate() {
        let cold = Cell { sdk, channel, situation: Situation::Cold, log: Log::default() };
        if let Claim::Fails(reason) = cold.claim() {
            // What never has credentials cannot recover.
            rows.push(Row { sdk, channel, cells: vec![format!("no ({})", reason.number()); COLUMNS] });
            continue;
        }
        rows.push(Row { sdk, channel, cells: vec!["not run".to_owned(); COLUMNS] });
        for (column, trouble) in Trouble::ALL.into_iter().enumerate() {
            let name = format!("{} / {} / {}", sdk.name(), channel.name(), trouble.name());
            if !name.contains(part) || missing.iter().any(|(gone, _)| *gone == sdk) {
                continue;
            }
            playing.spawn(async move { (number, column, name, measure(sdk, channel, trouble).await) });
        }
    }
    while let Some(played) = playing.join_next().await {
        let (number, column, name, measured) = played.unwrap();
        match measured {
            Ok(measured) => {
                println!("{name}: {measured:?}");
                rows[number].cells[1 + column] = measured.text();
                if let (Trouble::Refused, Some(left)) = (Trouble::ALL[column], measured.asked_with()) {
                    rows[number].cells[0] = left_text(left).to_owned();
                }
            }
            Err(failure) => {
                rows[number].cells[1 + column] = "WRONG".to_owned();
                failures.push(format!("{name}: {failure}"));
            }
        }
    }
    (rows, failures)
}

fn rows_of_all() -> Vec<(Sdk, Channel)> {
    [table::rows(&Sdk::ALL), table::rows(&Sdk::OF_README)].concat()
}

async fn measure(sdk: Sdk, channel: Channel, trouble: Trouble) -> Result<Measured, String> {
    let _place = ROOM.acquire().await.unwrap();
    let log = Log::default();
    let measuring = tokio::spawn(async move {
        match trouble {
            Trouble::Refused => in_the_window(sdk, channel, Mode::Refuse, &log).await,
            Trouble::Cut => in_the_window(sdk, channel, Mode::Cut, &log).await,
            Trouble::Expired => expired(sdk, channel, &log).await,
            Trouble::Denied => denied(sdk, channel, &log).await,
            Trouble::Slow => slow(sdk, channel, &log).await,
        }
    });
    measuring.await.unwrap_or_else(|error| Err(play::panic_of(error)))
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) enum Measured {
    Recovered {
        /// How much life the credentials had when the SDK asked for newer ones.
        asked_with: time::Duration,
        /// From the first good answer that could be had.
        after: Option<time::Duration>,
        meanwhile: Meanwhile,
    },
    Told {
        after: Duration,
        words: String,
    },
    Started {
        after: Duration,
        error: Option<String>,
    },
}

/// What the program had between the trouble and the new credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meanwhile {
    valid: bool,
    expired: bool,
    error: Option<String>,
}

impl Meanwhile {
    fn text(&self) -> String {
        // The AWS Common Runtime ends its process.
        if self.error.as_ref().is_some_and(|error| error.contains("SIGABRT")) {
            return "the program aborts".to_owned();
        }
        let had =
            [(self.valid, "valid ones"), (self.expired, "expired ones"), (self.error.is_some(), "errors")];
        let had: Vec<&str> = had.into_iter().filter_map(|(had, what)| had.then_some(what)).collect();
        had.join(", ")
    }
}

impl Measured {
    fn asked_with(&self) -> Option<time::Duration> {
        match self {
            Self::Recovered { asked_with, .. } => Some(*asked_with),
            Self::Told { .. } | Self::Started { .. } => None,
        }
    }

    /// In steps that chance does not change: most SDKs draw their pauses.
    fn text(&self) -> String {
        match self {
            Self::Recovered { after, meanwhile, .. } => {
                let steps = [
                    (4, "next call"),
                    (60, "within 1 min"),
                    (290, "5 min"),
                    (910, "5–15 min"),
                    (1_200, "20 min"),
                ];
                let seconds = after.map_or(i64::MAX, time::Duration::whole_seconds);
                let after = step_of(seconds, &steps).unwrap_or("never");
                format!("{after}: {}", meanwhile.text())
            }
            Self::Told { after, words } => {
                let milliseconds = i64::try_from(after.as_millis()).unwrap();
                let after = step_of(milliseconds, &[(10_000, "seconds")]).unwrap_or("30 s");
                format!("{after}: {}", told_by(words))
            }
            Self::Started { error: None, .. } => "credentials".to_owned(),
            Self::Started { error: Some(_), .. } => "an error".to_owned(),
        }
    }
}

/// What the words of a refusal tell a program's user.
pub(crate) fn told_by(words: &str) -> &'static str {
    if words.contains("trust policy") {
        "the reason"
    } else if words.contains("check anchord's log") {
        "where to look"
    } else {
        "nothing of it"
    }
}

/// The text of the first limit that is not exceeded.
fn step_of(value: i64, steps: &[(i64, &'static str)]) -> Option<&'static str> {
    steps.iter().find(|(limit, _)| value <= *limit).map(|(_, text)| *text)
}

/// Some draw the moment, so only its side of the end is told.
fn left_text(left: time::Duration) -> &'static str {
    if left.is_positive() { "before their end" } else { "at their end" }
}

/// A program, the clock that it sees, and what it has asked.
struct Life {
    program: Program,
    gate: Gate,
    first: IssuedCredentials,
    renewed: IssuedCredentials,
    at: OffsetDateTime,
    set_at: Instant,
    meanwhile: Meanwhile,
    // Ends last.
    host: Host,
}

const STEP: time::Duration = time::Duration::seconds(10);
const LONG_STEP: time::Duration = time::Duration::MINUTE;
/// For how long a program is watched.
const WATCHED: time::Duration = time::Duration::minutes(20);

impl Life {
    /// A program that holds credentials of an hour, before a daemon that has newer ones of twelve.
    async fn begin(sdk: Sdk, channel: Channel, log: &Log) -> Result<Self, String> {
        // The profile shortens them to an hour at first.
        let host = Host::with(log, "duration = \"12h\"\n").await;
        let (gate, variables) = Gate::before(&host, channel).await;
        let mut program = Program::start(sdk, Clock::Movable, variables, &host.stage.path("sdk")).await?;
        let first = host.first();
        let shown = program.get().await?;
        if !shown.are(&first) {
            return Err(format!("{} instead of the first credentials", shown.id()));
        }
        host.stage.emulator.set_profile_duration(&host.stage.profile, 43_200);
        host.renew_certificate();
        let renewed = host.renewed(2).await;
        if renewed.expires_at - first.expires_at < time::Duration::hours(10) {
            return Err(format!("the newer credentials end at {}", renewed.expires_at));
        }
        let (at, set_at) = (OffsetDateTime::now_utc(), Instant::now());
        Ok(Self { program, gate, first, renewed, at, set_at, meanwhile: Meanwhile::default(), host })
    }

    /// Moves the program's clock on by `step`, or further where the last call took longer. It never goes back.
    fn step(&mut self, step: time::Duration) {
        self.at += step.max(self.set_at.elapsed().try_into().unwrap());
        self.set_at = Instant::now();
        self.program.move_clock_to(self.at);
    }

    /// Whether the program has the new credentials now.
    async fn has_new(&mut self) -> Result<bool, String> {
        match self.program.get().await {
            Ok(shown) if shown.are(&self.renewed) => return Ok(true),
            Ok(shown) if shown.are(&self.first) && self.at < self.first.expires_at => {
                self.meanwhile.valid = true;
            }
            Ok(shown) if shown.are(&self.first) => self.meanwhile.expired = true,
            Ok(shown) => return Err(format!("{} came from nowhere", shown.id())),
            Err(error) => self.meanwhile.error = Some(error),
        }
        Ok(false)
    }

    /// Steps and asks until the gate has spoiled more than `known` answers.
    async fn until_spoiled(&mut self, known: usize, step: time::Duration) -> Result<(), String> {
        let give_up_at = self.first.expires_at + WATCHED;
        while self.gate.spoiled() <= known {
            if self.at > give_up_at {
                return Err("it asks for nothing more".to_owned());
            }
            self.step(step);
            // What counts is what it has from the spoiled answer on.
            self.meanwhile = Meanwhile::default();
            if self.has_new().await? {
                return Err("it has new credentials, which nothing gave it".to_owned());
            }
            // It may ask in the background.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until attempts in the background are over.
    async fn settle(&mut self) {
        loop {
            let spoiled = self.gate.spoiled();
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            if self.gate.spoiled() == spoiled {
                return;
            }
        }
    }

    /// Lets answers pass, and asks until the program has the new credentials.
    async fn recover(&mut self) -> Result<Option<time::Duration>, String> {
        self.settle().await;
        self.gate.set(Mode::Open);
        self.step(time::Duration::SECOND);
        let begun = self.at;
        while self.at - begun < WATCHED {
            if self.has_new().await? {
                return Ok(Some(self.at - begun));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.step(STEP);
        }
        Ok(None)
    }
}

/// The first attempt in the SDK's window is spoiled, its repetitions included.
async fn in_the_window(sdk: Sdk, channel: Channel, mode: Mode, log: &Log) -> Result<Measured, String> {
    let mut life = Life::begin(sdk, channel, log).await?;
    life.gate.set(mode);
    life.until_spoiled(0, LONG_STEP).await?;
    let asked_with = life.first.expires_at - life.at;
    let after = life.recover().await?;
    Ok(Measured::Recovered { asked_with, after, meanwhile: life.meanwhile.clone() })
}

/// Every attempt is spoiled until the credentials have ended, and one more.
async fn expired(sdk: Sdk, channel: Channel, log: &Log) -> Result<Measured, String> {
    let mut life = Life::begin(sdk, channel, log).await?;
    life.gate.set(Mode::Refuse);
    life.until_spoiled(0, LONG_STEP).await?;
    let asked_with = life.first.expires_at - life.at;
    while life.at <= life.first.expires_at {
        life.step(LONG_STEP);
        if life.has_new().await? {
            return Err("it has new credentials, which nothing gave it".to_owned());
        }
    }
    let known = life.gate.spoiled();
    life.until_spoiled(known, STEP).await?;
    let after = life.recover().await?;
    Ok(Measured::Recovered { asked_with, after, meanwhile: life.meanwhile.clone() })
}

/// AWS denies the session: what the program's user learns, and when.
async fn denied(sdk: Sdk, channel: Channel, log: &Log) -> Result<Measured, String> {
    let mut host = Host::asleep(log).await;
    host.stage.emulator.set_trust_policy_refusal(&host.stage.role, true);
    host.start();
    host.daemon().wait_for(event::CREDENTIALS_UNAVAILABLE).await;
    let variables = channel.variables(&host.stage, &host.address().to_string(), "");
    let mut program = Program::start(sdk, Clock::Real, variables, &host.stage.path("sdk")).await?;
    let asked_at = Instant::now();
    match program.get().await {
        Ok(shown) => Err(format!("{} came from nowhere", shown.id())),
        Err(words) => {
            // What a helper says may go straight to the program's user.
            let words = words + &program.complaints();
            Ok(Measured::Told { after: asked_at.elapsed(), words })
        }
    }
}

/// How long AWS takes for the first credentials once the program has asked for them.
const SLOW: Duration = Duration::from_millis(600);

/// Daemon and program start together, and AWS takes a moment for its first answer.
async fn slow(sdk: Sdk, channel: Channel, log: &Log) -> Result<Measured, String> {
    let mut host = Host::asleep(log).await;
    host.stage.emulator.script([Fault::Hold]);
    host.start();
    host.stage.emulator.wait_for_requests(1).await;
    let mut relay = Relay::to(host.address()).await;
    let variables = channel.variables(&host.stage, &relay.authority(), "");
    let mut program = Program::start(sdk, Clock::Real, variables, &host.stage.path("sdk")).await?;

    let asked_at = Instant::now();
    let emulator = &host.stage.emulator;
    let (shown, waited) = tokio::join!(program.get(), async {
        if channel != Channel::Process {
            relay.first_get().await?;
        }
        tokio::time::sleep(SLOW).await;
        emulator.release();
        Ok::<_, String>(())
    });
    waited?;
    let after = asked_at.elapsed();
    match shown {
        Ok(shown) if shown.are(&host.first()) => Ok(Measured::Started { after, error: None }),
        Ok(shown) => Err(format!("{} came from nowhere", shown.id())),
        Err(error) => Ok(Measured::Started { after, error: Some(error) }),
    }
}
