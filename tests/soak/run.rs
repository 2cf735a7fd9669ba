//! Plays one seed from start to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anchord_core::credentials::Stored;
use anchord_core::issuer::Issuer;
use anchord_identity::Current;
use anchord_session::Freshness;
use anchord_session::Phase;
use anchord_session::Snapshot;
use time::Duration as Span;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clients::Client;
use crate::plain;
use crate::process::Process;
use crate::random::Random;
use crate::script;
use crate::script::Action;
use crate::script::Cue;
use crate::script::Fault;
use crate::times;
use crate::trace::Event;
use crate::wire;
use crate::wire::Files;
use crate::world::Counts;
use crate::world::World;

/// By then the last fault is over, and what follows it too.
const OVERTIME: Duration = Duration::from_secs(12 * 3600);
/// One seed in so many uses the real issuer.
const WIRE: u64 = 16;

/// The result of one seed.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// The invariant that did not hold, and the end of the trace.
    pub(crate) broken: Option<String>,
    pub(crate) hash: u64,
    pub(crate) days: f64,
    pub(crate) calls: u64,
    pub(crate) busiest_minute: usize,
    pub(crate) recoveries: u64,
    pub(crate) counts: Counts,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) hits: BTreeMap<Fault, u64>,
}

/// Plays a seed on a host that is awake for so long. The time that it is suspended comes on top.
pub(crate) fn play(seed: u64, awake: Duration) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (in_flight, actions) = mpsc::unbounded_channel();
        let mut random = Random::new(seed, "run");
        let minutes = random.pick(&[15, 20, 23, 60, 60, 60, 60, 90, 240, 720]);
        let world = Arc::new(World::new(seed, Duration::from_secs(60 * minutes), in_flight));
        let mut clients = JoinSet::new();
        for number in 0..random.pick(&[0, 1, 4, 6, 8]) {
            clients.spawn(Client::new(&world, number).run());
        }
        let files = seed.is_multiple_of(WIRE).then(|| Arc::new(Files::new()));
        Run::new(Arc::clone(&world), files, actions, awake).play().await;
        outcome(&world)
    })
}

fn outcome(world: &World) -> Outcome {
    let state = world.lock();
    let passed = world.times.truth() - times::START;
    Outcome {
        seed: world.seed,
        broken: state.broken.clone().map(|what| format!("{what}\n{}", state.trace.tail())),
        hash: state.trace.hash(),
        days: passed.as_seconds_f64() / 86_400.0,
        calls: state.pace.calls,
        busiest_minute: state.pace.busiest_minute,
        recoveries: state.health.recoveries,
        counts: state.counts,
        faults: state.faults.clone(),
        hits: state.hits.clone(),
    }
}

struct Run {
    world: Arc<World>,
    /// With the real issuer: the certificate's files, and what the process knows of them.
    files: Option<(Arc<Files>, Arc<Current>)>,
    actions: mpsc::UnboundedReceiver<Action>,
    length: Duration,
    /// The cues that are left, the next one last.
    cues: Vec<Cue>,
    /// How many have been opened so far.
    sessions: u64,
    /// What a process that ended has left, and the certificate that was the newest then.
    left: Option<(Stored, usize)>,
    /// The clock is so far ahead that no set lives long enough for it.
    is_hopeless: bool,
    is_torn: bool,
    /// AWS does not know the certificate, and the process knows no other.
    is_stranded: bool,
}

impl Run {
    fn new(
        world: Arc<World>,
        files: Option<Arc<Files>>,
        actions: mpsc::UnboundedReceiver<Action>,
        length: Duration,
    ) -> Self {
        let mut cues = script::write(world.seed, length, files.is_some());
        cues.reverse();
        if files.is_some() {
            world.lock().sets.leaves = Some(wire::LEAVES);
        }
        let files = files.map(|files| (Arc::clone(&files), files.identity()));
        Self {
            world,
            files,
            actions,
            length,
            cues,
            sessions: 0,
            left: None,
            is_hopeless: false,
            is_torn: false,
            is_stranded: false,
        }
    }

    async fn play(mut self) {
        if let Some((files, _)) = &self.files {
            files.write(0);
        }
        self.world.lock().health.begins(Fault::Restart, Duration::ZERO);
        self.start();
        while self.world.lock().broken.is_none() && self.next().await {}
        *self.world.process() = None;
    }

    /// Waits for the next event and handles it. `false` if the run ends.
    async fn next(&mut self) -> bool {
        let due = self.world.lock().health.due();
        let cue_at = self.cues.last().map_or(self.length, |cue| cue.at);
        // Without another cue, only a recovery is left to wait for.
        let at = match due {
            Some(due) if self.cues.is_empty() => due.max(cue_at),
            Some(due) => due.min(cue_at),
            None => cue_at,
        };
        tokio::select! {
            biased;
            Some(action) = self.actions.recv() => {
                self.settle().await;
                self.act(action);
                return true;
            }
            () = tokio::time::sleep_until(self.world.times.instant(at)) => {}
        }
        self.settle().await;
        let awake = self.world.times.awake();
        // Checked again, because another fault may have begun in the meantime.
        let due = self.world.lock().health.due();
        if due.is_some_and(|due| due <= awake) {
            self.check().await;
        }
        match self.cues.pop_if(|cue| cue.at <= awake) {
            Some(cue) if cue.in_flight => self.world.lock().armed.push(cue.action),
            Some(cue) => self.act(cue.action),
            None if awake > self.length + OVERTIME => self.world.breaks("the last fault never ended"),
            None => return awake < self.length || !self.world.lock().health.is_well(),
        }
        true
    }

    /// Lets all tasks finish the work of this instant.
    async fn settle(&self) {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }

    /// There was no fault for long enough, so the session must have recovered.
    async fn check(&self) {
        let handle = self.world.process().as_ref().map(|process| process.handle.clone());
        let handle = handle.expect("a process that is down is a fault that lasts");
        let snapshot = handle.snapshot();
        let handed = handle.hand_out(Freshness::Full, Duration::ZERO).await;
        let mut state = self.world.lock();
        let times = &self.world.times;
        if snapshot.phase != Phase::Live || snapshot.trouble.is_some() || handed.is_err() {
            let (phase, trouble) = (snapshot.phase, snapshot.trouble.map(|trouble| trouble.to_string()));
            state.breaks(times, format!("no recovery: {phase:?}, {trouble:?}"));
        } else if let Some(certificate) = state.expected {
            state.breaks(times, format!("certificate {certificate} is there, and was not used"));
        }
        state.health.is_well_again();
        state.trace.note(times, Event::Well);
        state.look(times);
    }

    fn later(&mut self, after: Duration, action: Action) {
        let at = self.world.times.awake() + after;
        let index = self.cues.partition_point(|cue| cue.at > at);
        self.cues.insert(index, Cue::at(at, action));
    }

    fn act(&mut self, action: Action) {
        let world = Arc::clone(&self.world);
        let times = &world.times;
        // A session that was well until now has to show that again.
        world.lock().look(times);
        match action {
            Action::Begin(condition) => {
                let mut state = world.lock();
                state.begins(condition.fault, times);
                state.sky.condition = Some(condition);
            }
            Action::End => {
                let mut state = world.lock();
                if let Some(condition) = state.sky.condition.take() {
                    state.ends(condition.fault, times);
                }
            }
            // Only one fault of certificates at a time.
            Action::Rotate { .. } | Action::RotateTooEarly(_) | Action::TearFiles(_)
                if self.is_torn || world.lock().sky.unknown => {}
            Action::Rotate { revoked } => self.rotate(revoked),
            Action::RotateTooEarly(lasts) => self.rotate_too_early(lasts),
            Action::Recognise => self.recognise(),
            Action::TearFiles(lasts) => self.tear(lasts),
            Action::MendFiles => {
                self.is_torn = false;
                self.rotate(false);
                world.lock().ends(Fault::TornFiles, times);
            }
            Action::Suspend(by) => self.suspend(by),
            // One error at a time.
            Action::Step(..) if !times.offset().is_zero() => {}
            Action::Step(by, lasts) => {
                self.step(by);
                self.later(lasts, Action::SetRight);
            }
            Action::SetRight => self.step(-times.offset()),
            Action::Stop(lasts) => self.stop(lasts),
            Action::Start => self.start(),
            Action::Reload { changed } => self.reload(changed),
            Action::PanicInKeeper => {
                if let Some(process) = &*world.process() {
                    process.panic_in_keeper();
                }
            }
            Action::PanicInAttempt => world.lock().sky.panics = true,
        }
    }

    fn rotate(&mut self, revoked: bool) {
        let times = &self.world.times;
        let mut state = self.world.lock();
        state.sky.certificate += 1;
        state.sky.revoked = revoked;
        let certificate = state.sky.certificate;
        if let Some((files, _)) = &self.files {
            files.write(certificate);
        }
        state.strikes(Fault::Rotation, times);
        state.pace.rotates(times);
        state.trace.note(times, Event::Rotated { certificate, revoked });
        if let Some(process) = &*self.world.process() {
            process.identity_changed.notify_one();
            state.expected = Some(certificate);
        }
    }

    fn rotate_too_early(&mut self, lasts: Duration) {
        self.rotate(false);
        let mut state = self.world.lock();
        state.sky.unknown = true;
        state.strikes(Fault::UnknownCertificate, &self.world.times);
        drop(state);
        self.see_if_stranded();
        self.later(lasts, Action::Recognise);
    }

    /// AWS does not trust the new certificate. The session recovers nonetheless if the process knows the one before it.
    fn see_if_stranded(&mut self) {
        let mut state = self.world.lock();
        let knows_another = state.accepted.is_some_and(|accepted| accepted + 1 == state.sky.certificate);
        if state.sky.unknown && !knows_another && !self.is_stranded {
            self.is_stranded = true;
            state.health.begins(Fault::UnknownCertificate, self.world.times.awake());
        }
    }

    fn recognise(&mut self) {
        let mut state = self.world.lock();
        state.sky.unknown = false;
        if std::mem::take(&mut self.is_stranded) {
            state.health.ends(self.world.times.awake());
        }
    }

    fn tear(&mut self, lasts: Duration) {
        let Some((files, _)) = &self.files else { return };
        let mut state = self.world.lock();
        files.write_half(state.sky.certificate + 1);
        state.begins(Fault::TornFiles, &self.world.times);
        drop(state);
        self.is_torn = true;
        self.later(lasts, Action::MendFiles);
    }

    fn suspend(&self, by: Duration) {
        let times = &self.world.times;
        times.suspend(by);
        let mut state = self.world.lock();
        state.strikes(Fault::Suspend, times);
        state.pace.excuse(times);
        state.trace.note(times, Event::Suspended(by));
    }

    fn step(&mut self, by: Span) {
        let times = &self.world.times;
        times.step(by);
        let mut state = self.world.lock();
        // A process that does not run notices nothing.
        if self.world.process().is_some() {
            state.sets.step(times.now());
        }
        let is_hopeless = times.offset() + Span::minutes(2) > Span::try_from(self.world.life).unwrap();
        match (self.is_hopeless, is_hopeless) {
            (false, true) => state.health.begins(Fault::ClockStep, times.awake()),
            (true, false) => state.health.ends(times.awake()),
            _ => {}
        }
        self.is_hopeless = is_hopeless;
        state.strikes(Fault::ClockStep, times);
        if state.pace.is_flying() {
            // The call was signed with the time before, and may be denied for that.
            state.health.may_pause(Fault::Denied.longest_pause());
        }
        state.pace.excuse(times);
        state.trace.note(times, Event::Stepped(by));
    }

    fn stop(&mut self, lasts: Duration) {
        let Some(process) = self.world.process().take() else { return };
        let snapshot = process.handle.snapshot();
        let times = &self.world.times;
        let mut state = self.world.lock();
        // Credentials of other settings are not kept.
        let kept = snapshot.credentials.filter(|_| !snapshot.inherited);
        self.left = kept.map(|kept| (Stored::of(&kept, &times.clock), state.sky.certificate));
        *state.faults.entry(Fault::Restart).or_default() += 1;
        state.health.begins(Fault::Restart, times.awake());
        state.trace.note(times, Event::Stopped);
        state.expected = None;
        drop(state);
        self.later(lasts, Action::Start);
    }

    fn start(&mut self) {
        let world = &self.world;
        self.sessions += 1;
        let left = self.left.take();
        let kept = left.as_ref().map(|(stored, _)| Arc::new(stored.credentials(&world.times.clock).unwrap()));
        let mut state = world.lock();
        let set = |key_id: &str| state.sky.issued.iter().copied().find(|set| set.key_id() == key_id).unwrap();
        let known = kept.as_ref().map(|kept| (set(kept.access_key_id()).number, kept.end().wall));
        let with = kept.as_ref().map(|kept| kept.expires_at());
        let is_rotated = left.is_some_and(|(_, certificate)| certificate != state.sky.certificate);
        state.sets.start_over(known, world.times.now());
        state.trace.note(&world.times, Event::Started { with });
        state.health.ends(world.times.awake());
        state.pace.starts_anew(&world.times);
        if is_rotated {
            state.pace.has_rotated();
        }
        state.accepted = None;
        drop(state);
        let past = match kept {
            Some(kept) => Snapshot::kept(kept, world.times.clock.moment()),
            None => Snapshot::first(world.times.clock.moment()),
        };
        if let Some((files, identity)) = &mut self.files {
            *identity = files.identity();
        }
        let process = Process::start(world, self.sessions, self.sessions, self.issuer(), past);
        if is_rotated {
            process.identity_changed.notify_one();
        }
        *world.process() = Some(process);
        self.see_if_stranded();
    }

    /// Reloads the session's settings in the same process, like the daemon's roster.
    fn reload(&mut self, changed: bool) {
        let world = Arc::clone(&self.world);
        let times = &world.times;
        let Some(before) = world.process().take() else { return };
        let snapshot = before.handle.snapshot();
        let (now, is_interrupted) = (times.clock.moment(), snapshot.fetching);
        let past = if changed {
            let held = snapshot.credentials.filter(|held| held.remaining(now).is_positive());
            Snapshot::inherited(held, now)
        } else if is_interrupted {
            Snapshot { fetching: false, next_attempt_at: now, nudge_from: now, ..snapshot }
        } else {
            snapshot
        };
        {
            let mut state = world.lock();
            state.strikes(Fault::Reload, times);
            state.trace.note(times, Event::Reloaded { changed });
            state.sets.forget_the_clock();
            state.expected = None;
            if changed {
                state.sets.inherit(times.now());
            }
            // With other settings an attempt begins immediately, and a lost one is repeated.
            if changed || is_interrupted {
                state.pace.starts_anew(times);
            } else {
                state.pace.starts_over();
            }
        }
        self.sessions += 1;
        let number = before.number;
        // Its call is given up before the next one begins.
        drop(before);
        let after = Process::start(&world, number, self.sessions, self.issuer(), past);
        *world.process() = Some(after);
    }

    fn issuer(&self) -> Arc<dyn Issuer> {
        match &self.files {
            Some((files, identity)) => wire::issuer(&self.world, files, Arc::clone(identity)),
            None => plain::issuer(&self.world),
        }
    }
}
