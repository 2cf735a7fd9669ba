//! Reading what may hang: network file systems, tokens, agents.
//!
//! No timer ends a call into a file system whose server is gone; its thread is lost until the server is back. So each
//! place has one reader at a time, whichever session asks, and while that one hangs nobody else is sent after it. And
//! however many places hang at once, as all do on one mount, threads are left for what does not.
//!
//! Readers have room in lanes. Files share one lane. Each agent, token and TPM has its own, so that sessions wait for
//! nothing but what they read themselves.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Origin;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// Files are read in milliseconds, and tokens, TPMs and agents have four seconds; what takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long a reader waits for its turn and for room, even while others get through. It asks again later.
const MOST_WAITING: Duration = Duration::from_secs(60);

/// How many places are read at once, those that hang included. Together they leave a quarter of the threads that the
/// runtime has for what blocks (`cli::threads`).
const MOST_FILES: usize = 48;
const MOST_OTHERS: usize = 48;
/// How many of the others may be the same agent, token or TPM.
const MOST_OF_ONE: usize = 8;

static FILES: LazyLock<Arc<Lane>> =
    LazyLock::new(|| Lane::new(MOST_FILES, &Arc::new(Semaphore::new(MOST_FILES))));
static OTHERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MOST_OTHERS)));
static LANES: LazyLock<Mutex<HashMap<Vec<String>, Weak<Lane>>>> = LazyLock::new(Mutex::default);

/// Places that are files, which several sessions may share.
static SHARED: LazyLock<Mutex<HashMap<Vec<PathBuf>, Weak<Place>>>> = LazyLock::new(Mutex::default);

/// Places that wait for one another.
#[derive(Debug)]
struct Lane {
    own: Arc<Semaphore>,
    /// What it shares with other lanes.
    all: Arc<Semaphore>,
    /// How many readers there have been.
    readers: AtomicU64,
}

impl Lane {
    /// Room for `most` readers, and for no more than `all` has.
    fn new(most: usize, all: &Arc<Semaphore>) -> Arc<Self> {
        let own = Arc::new(Semaphore::new(most));
        Arc::new(Self { own, all: Arc::clone(all), readers: AtomicU64::new(0) })
    }

    /// The lane of what is read from `peers`.
    fn of(peers: Vec<String>) -> Arc<Self> {
        let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|_, lane| lane.strong_count() > 0);
        if let Some(lane) = lanes.get(&peers).and_then(Weak::upgrade) {
            return lane;
        }
        let lane = Self::new(MOST_OF_ONE, &OTHERS);
        lanes.insert(peers, Arc::downgrade(&lane));
        lane
    }

    async fn room(&self) -> Room {
        const OPEN: &str = "nothing closes the semaphores of lanes";
        // In this order: a reader that waits for its own lane takes no room from other lanes.
        let own = Arc::clone(&self.own).acquire_owned().await.expect(OPEN);
        let all = Arc::clone(&self.all).acquire_owned().await.expect(OPEN);
        Room { _own: own, _all: all }
    }
}

/// Room for one reader. Its thread has it to its end: a thread that hangs is there as well.
struct Room {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// What is read as one.
#[derive(Debug)]
pub struct Place {
    files: Vec<PathBuf>,
    lane: Arc<Lane>,
    /// Held by the reader to its end, even if nobody waits for it any more.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Reading { since: Instant },
    Hanging,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It takes too long, now or since somebody else began.
    Hangs,
    /// Reading did not begin: others took all the room.
    Crowded,
    /// It panicked.
    Panicked,
}

impl Failed {
    /// As an error about `origin`.
    pub fn at(self, origin: Origin) -> Error {
        Error { origin, failed: self }
    }
}

/// A place that was not read.
#[derive(Debug)]
pub struct Error {
    origin: Origin,
    failed: Failed,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.origin;
        match self.failed {
            Failed::Hangs => write!(formatter, "{origin} could not be read within {} s", PATIENCE.as_secs()),
            Failed::Crowded => {
                write!(formatter, "{origin} was not read: too many readings are under way")
            }
            Failed::Panicked => write!(formatter, "reading {origin} panicked"),
        }
    }
}

impl std::error::Error for Error {}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self.failed {
            Failed::Panicked => Reason::Bug,
            Failed::Hangs if self.origin.is_file() => Reason::FileUnreadable,
            Failed::Hangs => Reason::KeySourceUnavailable,
            Failed::Crowded => Reason::Busy,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self.failed {
            Failed::Hangs if self.origin.is_file() => "check whether its file system still answers",
            Failed::Hangs => "check whether it is there and answers; it is asked again",
            Failed::Crowded => {
                "check whether what the other sessions read still answers; this is read again by itself"
            }
            Failed::Panicked => return None,
        };
        Some(hint.into())
    }
}

impl Place {
    /// The place of these files, the same one for everybody who reads them.
    pub fn of(files: Vec<PathBuf>) -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shared.get(&files).and_then(Weak::upgrade) {
            return place;
        }
        let place = Self::new(files.clone(), Arc::clone(&FILES));
        shared.insert(files, Arc::downgrade(&place));
        place
    }

    /// A place that nobody shares, for what is read from agents, tokens and TPMs by these names.
    pub(super) fn at(peers: Vec<String>) -> Arc<Self> {
        Self::new(Vec::new(), Lane::of(peers))
    }

    fn new(files: Vec<PathBuf>, lane: Arc<Lane>) -> Arc<Self> {
        Arc::new(Self { files, lane, turn: Arc::default(), state: watch::Sender::new(State::Idle) })
    }

    /// What `read` gives, on a thread where it may block, and the right to be the only reader until that is dropped.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, OwnedMutexGuard<()>), Failed> {
        let (turn, room) = self.turn(patience).await?;
        self.lane.readers.fetch_add(1, Ordering::SeqCst);
        self.state.send_replace(State::Reading { since: Instant::now() });
        let reader = Reader { place: Arc::clone(self), _room: room };
        let reading = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(reader);
            (read, turn)
        });
        match tokio::time::timeout(patience, reading).await {
            Ok(read) => read.map_err(|_| Failed::Panicked),
            Err(_) => {
                self.hangs();
                Err(Failed::Hangs)
            }
        }
    }

    /// Waits for as long as others are getting through.
    async fn turn(&self, patience: Duration) -> Result<(OwnedMutexGuard<()>, Room), Failed> {
        let mut state = self.state.subscribe();
        let mut turn = pin!(async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            (turn, self.lane.room().await)
        });
        let gives_up_at = Instant::now() + MOST_WAITING;
        loop {
            let readers = self.lane.readers.load(Ordering::SeqCst);
            tokio::select! {
                biased;
                turn = &mut turn => return Ok(turn),
                _ = state.wait_for(|state| *state == State::Hanging) => return Err(Failed::Hangs),
                () = tokio::time::sleep(patience) => {}
            }
            let now = *self.state.borrow();
            // The one who sent that reader may have gone away.
            if matches!(now, State::Reading { since } if since.elapsed() >= patience) {
                self.hangs();
                return Err(Failed::Hangs);
            }
            let is_stuck = self.lane.readers.load(Ordering::SeqCst) == readers;
            if is_stuck || Instant::now() >= gives_up_at {
                return Err(Failed::Crowded);
            }
        }
    }

    /// Notes that the reader of now hangs, unless it has just ended.
    fn hangs(&self) {
        self.state.send_if_modified(|state| {
            let is_reading = matches!(state, State::Reading { .. });
            if is_reading {
                *state = State::Hanging;
            }
            is_reading
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have taken its place meanwhile.
        if shared.get(&self.files).is_some_and(|place| place.strong_count() == 0) {
            shared.remove(&self.files);
        }
    }
}

/// A thread that reads; its end, by a panic too, is noted.
struct Reader {
    place: Arc<Place>,
    _room: Room,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.place.state.send_replace(State::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// A place of files that only this test has, and a reader of it that hangs until the sender is dropped.
    async fn hanging(name: &str) -> (Arc<Place>, mpsc::Sender<()>) {
        let place = Place::of(vec![format!("/tests/{name}").into()]);
        let (sender, receiver) = mpsc::channel::<()>();
        let reading = place.read(SHORT, move || receiver.recv().is_err());
        assert_eq!(reading.await.map(|_| ()), Err(Failed::Hangs));
        (place, sender)
    }

    #[tokio::test]
    async fn a_place_that_hangs_costs_one_thread_whoever_asks_and_is_read_again_when_it_answers() {
        let (place, end) = hanging("one").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..100).map(|_| Place::of(vec!["/tests/one".into()])).collect();

        for other in &others {
            let asked = Arc::clone(&asked);
            let read = other.read(PATIENCE, move || asked.fetch_add(1, Ordering::SeqCst)).await;
            assert_eq!(read.map(|_| ()), Err(Failed::Hangs));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "another thread was sent after the first");

        drop(end);
        place.state.subscribe().wait_for(|state| *state == State::Idle).await.unwrap();
        assert_eq!(others[0].read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[tokio::test]
    async fn another_place_is_read_meanwhile() {
        let (_place, _end) = hanging("two").await;

        let other = Place::of(vec!["/tests/three".into()]);

        assert_eq!(other.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    /// Each of those before takes a while, and all together longer than anybody's patience.
    #[tokio::test(start_paused = true)]
    async fn a_long_queue_is_no_place_that_hangs() {
        let place = Place::of(vec!["/tests/four".into()]);
        let held = Arc::clone(&place.turn).lock_owned().await;
        let last = tokio::spawn({
            let place = Arc::clone(&place);
            async move { place.read(PATIENCE, || 7).await.map(|(read, _)| read) }
        });

        for _ in 0..5 {
            tokio::time::sleep(PATIENCE * 2 / 3).await;
            place.lane.readers.fetch_add(1, Ordering::SeqCst);
        }
        drop(held);

        assert_eq!(last.await.unwrap(), Ok(7));
    }

    /// Many sessions, each with a place of its own at `peer`, that hang until the senders are dropped.
    async fn crowd(peer: &str) -> Vec<mpsc::Sender<()>> {
        let ends = (0..100).map(|_| {
            let (sender, receiver) = mpsc::channel::<()>();
            let place = Place::at(vec![peer.into()]);
            tokio::spawn(
                async move { place.read(PATIENCE, move || receiver.recv().is_err()).await.map(|_| ()) },
            );
            sender
        });
        let ends = ends.collect();
        tokio::task::yield_now().await;
        ends
    }

    async fn is_read_at_once(place: &Arc<Place>) -> bool {
        let read = place.read(PATIENCE, || 7);
        matches!(tokio::time::timeout(PATIENCE / 5, read).await, Ok(Ok((7, _))))
    }

    #[tokio::test]
    async fn a_crowd_at_an_agent_that_hangs_delays_no_file() {
        let _ends = crowd("/tests/silent-for-files.sock").await;

        assert!(is_read_at_once(&Place::of(vec!["/tests/beside-a-crowd".into()])).await);
    }

    #[tokio::test]
    async fn a_crowd_at_an_agent_that_hangs_delays_no_other_agent() {
        let _ends = crowd("/tests/silent.sock").await;

        assert!(is_read_at_once(&Place::at(vec!["/tests/well.sock".into()])).await);
    }

    #[tokio::test]
    async fn however_many_agents_hang_they_share_so_many_threads() {
        let (all, begun) = (Arc::new(Semaphore::new(5)), Arc::new(AtomicU64::new(0)));
        let mut ends = Vec::new();
        for lane in (0..4).map(|_| Lane::new(2, &all)) {
            for _ in 0..10 {
                let (sender, receiver) = mpsc::channel::<()>();
                let (place, begun) = (Place::new(Vec::new(), Arc::clone(&lane)), Arc::clone(&begun));
                let read = move || (begun.fetch_add(1, Ordering::SeqCst), receiver.recv().is_err());
                tokio::spawn(async move { place.read(SHORT, read).await.map(|_| ()) });
                ends.push(sender);
            }
        }
        tokio::task::yield_now().await;
        let last = Place::new(Vec::new(), Lane::new(2, &all));

        assert_eq!(last.read(SHORT, || 7).await.map(|(read, _)| read), Err(Failed::Crowded));

        assert!(begun.load(Ordering::SeqCst) <= 5);
        drop(ends);
        assert_eq!(last.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[tokio::test]
    async fn a_place_that_waits_for_room_does_not_hang() {
        let lane = Lane::new(1, &Arc::new(Semaphore::new(1)));
        let room = lane.room().await;
        let place = Place::new(vec!["/tests/seven".into()], Arc::clone(&lane));

        let waiting = tokio::join!(place.read(SHORT, || 7), place.read(SHORT, || 7));

        let failed = (waiting.0.map(|(read, _)| read), waiting.1.map(|(read, _)| read));
        assert_eq!(failed, (Err(Failed::Crowded), Err(Failed::Crowded)));
        drop(room);
        assert_eq!(place.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_room_has_an_end_though_others_get_through() {
        let lane = Lane::new(1, &Arc::new(Semaphore::new(1)));
        let _room = lane.room().await;
        let place = Place::new(vec!["/tests/eight".into()], Arc::clone(&lane));
        let began = Instant::now();
        let busy = async {
            loop {
                tokio::time::sleep(PATIENCE / 2).await;
                lane.readers.fetch_add(1, Ordering::SeqCst);
            }
        };

        let read = tokio::select! {
            read = place.read(PATIENCE, || 7) => read,
            () = busy => unreachable!(),
        };

        assert_eq!(read.map(|(read, _)| read), Err(Failed::Crowded));
        assert_eq!(began.elapsed(), MOST_WAITING);
    }

    #[tokio::test]
    async fn a_panic_ends_one_reading() {
        let place = Place::of(vec!["/tests/five".into()]);

        let panicked = place.read(PATIENCE, || panic!("a deliberate panic")).await;

        assert_eq!(panicked.map(|((), _)| ()), Err(Failed::Panicked));
        assert_eq!(place.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[test]
    fn a_place_is_forgotten_with_its_last_session() {
        let files = vec![PathBuf::from("/tests/six")];
        let place = Place::of(files.clone());
        assert!(Arc::ptr_eq(&place, &Place::of(files.clone())));

        drop(place);

        assert!(!SHARED.lock().unwrap().contains_key(&files));
    }
}
