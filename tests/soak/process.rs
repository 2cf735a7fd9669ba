//! A daemon without sockets: keeper, handle and front ends, which start and stop like a process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anchord_core::clock::Clock;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Jitter;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use anchord_frontend::Bearer;
use anchord_frontend::Container;
use anchord_frontend::Imds;
use anchord_frontend::RequestGuard;
use anchord_frontend::RoleName;
use anchord_frontend::Router;
use anchord_frontend::Socket;
use anchord_frontend::TokenAuthority;
use anchord_session as session;
use anchord_session::Handle;
use anchord_session::Keeper;
use anchord_session::Phase;
use anchord_session::Policy;
use anchord_session::Snapshot;
use futures_util::FutureExt as _;
use time::Duration as Span;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::random::Random;
use crate::script::Fault;
use crate::trace::Event;
use crate::world::World;

pub(crate) const ROLE: &str = "app";
pub(crate) const SESSION: &str = "bedrock";
pub(crate) const BEARER: &str = "soak-soak-soak-soak-soak-soak-soak-soak-soa";

pub(crate) struct Process {
    /// The number of the process.
    pub(crate) number: u64,
    pub(crate) handle: Handle,
    pub(crate) tcp: Router,
    pub(crate) unix: Router,
    pub(crate) identity_changed: Arc<Notify>,
    panics: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Process {
    /// Opens the run's session number `session` with this past.
    pub(crate) fn start(
        world: &Arc<World>,
        number: u64,
        session: u64,
        issuer: Arc<dyn Issuer>,
        past: Snapshot,
    ) -> Self {
        let clock = world.times.clock.clone();
        let panics = Arc::new(AtomicBool::new(false));
        let jitter = jitter(world.seed, session, Arc::clone(&panics));
        let (handle, keeper) =
            session::reopen(past, SESSION, issuer, Policy::default(), clock.clone(), jitter);
        let identity_changed = keeper.identity_changed();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(Arc::clone(world), handle.clone()));
        tasks.spawn(keep(Arc::clone(world), keeper));
        let (tcp, unix) = (tcp(&handle, clock, world.seed), unix(&handle));
        Self { number, handle, tcp, unix, identity_changed, panics, _tasks: tasks }
    }

    /// Makes the keeper panic when it sets its next deadline.
    pub(crate) fn panic_in_keeper(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }
}

fn jitter(seed: u64, session: u64, panics: Arc<AtomicBool>) -> Jitter {
    let random = Mutex::new(Random::new(seed ^ (session << 48), "jitter"));
    Jitter::uniform(Entropy::from_fn(move |bytes| {
        assert!(!panics.swap(false, Ordering::SeqCst), "a deliberate panic in the keeper");
        fill(&mut random.lock().unwrap(), bytes);
    }))
}

fn fill(random: &mut Random, bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
    }
}

fn tcp(handle: &Handle, clock: Clock, seed: u64) -> Router {
    let random = Mutex::new(Random::new(seed, "tokens"));
    let entropy = Entropy::from_fn(move |bytes| fill(&mut random.lock().unwrap(), bytes));
    // The same key for each process, like the daemon's.
    let tokens = TokenAuthority::new(&Secret::new([7; 32]), clock, entropy);
    let imds = Imds::new(handle.clone(), RoleName::parse(ROLE).unwrap(), tokens);
    let bearer = Bearer::parse(Secret::new(BEARER.as_bytes().to_vec())).unwrap();
    let container = Container::new().with(handle.clone(), vec![bearer]);
    Router::tcp(RequestGuard::new([]), Some(imds), Some(container))
}

fn unix(handle: &Handle) -> Router {
    Router::unix(Socket::new(vec![handle.clone()], anchord_frontend::ListenerStatus::default()))
}

/// Restarts a keeper one second after it panicked, like the daemon's supervisor.
async fn keep(world: Arc<World>, mut keeper: Keeper) {
    loop {
        let Err(_panic) = AssertUnwindSafe(keeper.run()).catch_unwind().await;
        world.note(Event::KeeperPanicked);
        {
            let mut state = world.lock();
            state.strikes(Fault::KeeperPanic, &world.times);
            state.sets.forget_what_came_just_now(world.times.awake());
            state.pace.forget_what_came_just_now(world.times.awake());
            state.expected = None;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.lock().pace.excuse(&world.times);
    }
}

/// Checks each snapshot that the keeper publishes.
async fn watch(world: Arc<World>, handle: Handle) {
    let mut snapshots = handle.snapshots();
    // The first snapshot is from the session before, not from this keeper.
    if snapshots.changed().await.is_err() {
        return;
    }
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let now = world.times.clock.moment();
        let left = snapshot.credentials.as_ref().map(|held| held.remaining(now));
        let longest = left.unwrap_or_default().max(LONGEST_SLEEP);
        if snapshot.next_attempt_at - now > longest {
            world.breaks(format!("no attempt for {}", snapshot.next_attempt_at - now));
        }
        world.note(Event::Published {
            phase: match snapshot.phase {
                Phase::Pending => "pending",
                Phase::Live => "live",
                Phase::Lapsed => "lapsed",
            },
            fetching: snapshot.fetching,
            trouble: snapshot.trouble.map(|trouble| trouble.class().as_str()),
            next_at: snapshot.next_attempt_at.wall,
        });
        world.lock().look(&world.times);
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// A quarter of an hour, the longest wait that AWS can ask for, and a tenth for jitter.
const LONGEST_SLEEP: Span = Span::seconds(990);
