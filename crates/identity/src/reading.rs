//! Reads from what may hang: network file systems, tokens, agents.
//!
//! No timer can end a call into a network file system that does not answer: its thread is lost until the server is
//! back. So each set of files is read by one thread at a time, for all sessions, and while that thread hangs no other
//! one starts. If many of them hang together, such as all on one mount, threads remain for the rest.
//!
//! Bulkheads limit the threads. All files share one. Each agent, token and TPM has its own, so that sessions wait only
//! for what they read themselves.

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

/// The time after which a read counts as hanging. Files take milliseconds; tokens, TPMs and agents have four seconds.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long a read waits for its turn and for a thread, even while others get theirs. The caller tries again later.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The most threads for files and for peers, hanging ones included. Together they leave a quarter of the runtime's
/// blocking threads free (`cli::threads`).
const MAX_FILES: usize = 48;
const MAX_PEERS: usize = 48;
/// The most threads for one agent, token or TPM.
const MAX_PER_PEER: usize = 8;

static FILE_BULKHEAD: LazyLock<Arc<Bulkhead>> =
    LazyLock::new(|| Bulkhead::new(MAX_FILES, &Arc::new(Semaphore::new(MAX_FILES))));
static PEER_THREADS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_PEERS)));
static PEER_BULKHEADS: LazyLock<Mutex<HashMap<Vec<String>, Weak<Bulkhead>>>> = LazyLock::new(Mutex::default);

/// The readers of files, which several sessions may share.
static SHARED_READERS: LazyLock<Mutex<HashMap<Vec<PathBuf>, Weak<BlockingReader>>>> =
    LazyLock::new(Mutex::default);

/// Limits the threads that read a kind of place.
#[derive(Debug)]
struct Bulkhead {
    own: Arc<Semaphore>,
    /// Shared with other bulkheads.
    all: Arc<Semaphore>,
    /// How many reads have begun.
    readers: AtomicU64,
}

impl Bulkhead {
    /// At most `most` threads, and no more than `all` permits.
    fn new(most: usize, all: &Arc<Semaphore>) -> Arc<Self> {
        let own = Arc::new(Semaphore::new(most));
        Arc::new(Self { own, all: Arc::clone(all), readers: AtomicU64::new(0) })
    }

    /// The bulkhead for `peers`.
    fn of(peers: Vec<String>) -> Arc<Self> {
        let mut bulkheads = PEER_BULKHEADS.lock().unwrap_or_else(PoisonError::into_inner);
        bulkheads.retain(|_, bulkhead| bulkhead.strong_count() > 0);
        if let Some(bulkhead) = bulkheads.get(&peers).and_then(Weak::upgrade) {
            return bulkhead;
        }
        let bulkhead = Self::new(MAX_PER_PEER, &PEER_THREADS);
        bulkheads.insert(peers, Arc::downgrade(&bulkhead));
        bulkhead
    }

    async fn permit(&self) -> ThreadPermit {
        const OPEN: &str = "nothing closes the semaphores of bulkheads";
        // In this order: a read that waits for its own bulkhead takes no thread from the others.
        let own = Arc::clone(&self.own).acquire_owned().await.expect(OPEN);
        let all = Arc::clone(&self.all).acquire_owned().await.expect(OPEN);
        ThreadPermit { _own: own, _all: all }
    }
}

/// Permits one thread. The thread holds it to its end, because a hanging thread counts too.
struct ThreadPermit {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Reads files or peers on threads where it may block, one read at a time.
#[derive(Debug)]
pub struct BlockingReader {
    files: Vec<PathBuf>,
    bulkhead: Arc<Bulkhead>,
    /// Held by the reading thread to its end, even if its caller has given up.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: watch::Sender<ReaderState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderState {
    Idle,
    Reading { since: Instant },
    Hanging,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// This read, or an earlier one, takes too long.
    Hangs,
    /// No thread was free, so reading did not begin.
    Busy,
    /// The read panicked.
    Panicked,
}

impl ReadFailure {
    /// The error for `origin`.
    pub fn at(self, origin: Origin) -> Error {
        Error { origin, failed: self }
    }
}

/// Why a place was not read.
#[derive(Debug)]
pub struct Error {
    origin: Origin,
    failed: ReadFailure,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.origin;
        match self.failed {
            ReadFailure::Hangs => {
                write!(formatter, "{origin} could not be read within {} s", PATIENCE.as_secs())
            }
            ReadFailure::Busy => {
                write!(formatter, "{origin} was not read: too many reads are in progress")
            }
            ReadFailure::Panicked => write!(formatter, "reading {origin} panicked"),
        }
    }
}

impl std::error::Error for Error {}

impl Classify for Error {
    fn reason(&self) -> Reason {
        match self.failed {
            ReadFailure::Panicked => Reason::Bug,
            ReadFailure::Hangs if self.origin.is_file() => Reason::FileUnreadable,
            ReadFailure::Hangs => Reason::KeySourceUnavailable,
            ReadFailure::Busy => Reason::Busy,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self.failed {
            ReadFailure::Hangs if self.origin.is_file() => "check whether its file system still answers",
            ReadFailure::Hangs => "check whether it is available and answers; anchord tries again",
            ReadFailure::Busy => {
                "check whether the files and devices of the other sessions still answer; anchord tries again"
            }
            ReadFailure::Panicked => return None,
        };
        Some(hint.into())
    }
}

impl BlockingReader {
    /// The reader of these files; all sessions with the same files share it.
    pub fn of(files: Vec<PathBuf>) -> Arc<Self> {
        let mut shared = SHARED_READERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shared.get(&files).and_then(Weak::upgrade) {
            return place;
        }
        let place = Self::new(files.clone(), Arc::clone(&FILE_BULKHEAD));
        shared.insert(files, Arc::downgrade(&place));
        place
    }

    /// An unshared reader of the agents, tokens and TPMs with these names.
    pub(super) fn at(peers: Vec<String>) -> Arc<Self> {
        Self::new(Vec::new(), Bulkhead::of(peers))
    }

    fn new(files: Vec<PathBuf>, bulkhead: Arc<Bulkhead>) -> Arc<Self> {
        Arc::new(Self { files, bulkhead, turn: Arc::default(), state: watch::Sender::new(ReaderState::Idle) })
    }

    /// Runs `read` on a thread where it may block. The guard in the result keeps others from reading until it is
    /// dropped.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, OwnedMutexGuard<()>), ReadFailure> {
        let (turn, permit) = self.turn(patience).await?;
        self.bulkhead.readers.fetch_add(1, Ordering::SeqCst);
        self.state.send_replace(ReaderState::Reading { since: Instant::now() });
        let reader = ReadingThread { place: Arc::clone(self), _permit: permit };
        let reading = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(reader);
            (read, turn)
        });
        match tokio::time::timeout(patience, reading).await {
            Ok(read) => read.map_err(|_| ReadFailure::Panicked),
            Err(_) => {
                self.hangs();
                Err(ReadFailure::Hangs)
            }
        }
    }

    /// Waits for its turn and a thread, as long as other reads make progress.
    ///
    /// A long wait alone does not show that something hangs: a queue of slow but healthy reads takes long too. So after
    /// each `patience` it checks two things. If the current read of this place has taken that long, it hangs. And if no
    /// read of the bulkhead has begun since, all its threads are stuck, and waiting on would not help. A read that hangs
    /// is noted in `state`, which wakes all others that wait for it.
    async fn turn(&self, patience: Duration) -> Result<(OwnedMutexGuard<()>, ThreadPermit), ReadFailure> {
        let mut state = self.state.subscribe();
        let mut turn = pin!(async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            (turn, self.bulkhead.permit().await)
        });
        let gives_up_at = Instant::now() + MAX_WAIT;
        loop {
            let readers = self.bulkhead.readers.load(Ordering::SeqCst);
            tokio::select! {
                biased;
                turn = &mut turn => return Ok(turn),
                _ = state.wait_for(|state| *state == ReaderState::Hanging) => return Err(ReadFailure::Hangs),
                () = tokio::time::sleep(patience) => {}
            }
            let now = *self.state.borrow();
            // The caller of that read may be gone, so nothing else notices.
            if matches!(now, ReaderState::Reading { since } if since.elapsed() >= patience) {
                self.hangs();
                return Err(ReadFailure::Hangs);
            }
            let is_stuck = self.bulkhead.readers.load(Ordering::SeqCst) == readers;
            if is_stuck || Instant::now() >= gives_up_at {
                return Err(ReadFailure::Busy);
            }
        }
    }

    /// Notes that the current read hangs, unless it has just ended.
    fn hangs(&self) {
        self.state.send_if_modified(|state| {
            let is_reading = matches!(state, ReaderState::Reading { .. });
            if is_reading {
                *state = ReaderState::Hanging;
            }
            is_reading
        });
    }
}

impl Drop for BlockingReader {
    fn drop(&mut self) {
        let mut shared = SHARED_READERS.lock().unwrap_or_else(PoisonError::into_inner);
        // A new reader may have been registered meanwhile.
        if shared.get(&self.files).is_some_and(|place| place.strong_count() == 0) {
            shared.remove(&self.files);
        }
    }
}

/// A thread that reads. Its end, by a panic too, sets the state.
struct ReadingThread {
    place: Arc<BlockingReader>,
    _permit: ThreadPermit,
}

impl Drop for ReadingThread {
    fn drop(&mut self) {
        self.place.state.send_replace(ReaderState::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// A place of files that only this test has, and a reader of it that hangs until the sender is dropped.
    async fn hanging(name: &str) -> (Arc<BlockingReader>, mpsc::Sender<()>) {
        let place = BlockingReader::of(vec![format!("/tests/{name}").into()]);
        let (sender, receiver) = mpsc::channel::<()>();
        let reading = place.read(SHORT, move || receiver.recv().is_err());
        assert_eq!(reading.await.map(|_| ()), Err(ReadFailure::Hangs));
        (place, sender)
    }

    #[tokio::test]
    async fn a_place_that_hangs_costs_one_thread_whoever_asks_and_is_read_again_when_it_answers() {
        let (place, end) = hanging("one").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..100).map(|_| BlockingReader::of(vec!["/tests/one".into()])).collect();

        for other in &others {
            let asked = Arc::clone(&asked);
            let read = other.read(PATIENCE, move || asked.fetch_add(1, Ordering::SeqCst)).await;
            assert_eq!(read.map(|_| ()), Err(ReadFailure::Hangs));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "another thread was sent after the first");

        drop(end);
        place.state.subscribe().wait_for(|state| *state == ReaderState::Idle).await.unwrap();
        assert_eq!(others[0].read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[tokio::test]
    async fn another_place_is_read_meanwhile() {
        let (_place, _end) = hanging("two").await;

        let other = BlockingReader::of(vec!["/tests/three".into()]);

        assert_eq!(other.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    /// Each read before it takes a while, and together they exceed `PATIENCE`.
    #[tokio::test(start_paused = true)]
    async fn a_long_queue_is_no_place_that_hangs() {
        let place = BlockingReader::of(vec!["/tests/four".into()]);
        let held = Arc::clone(&place.turn).lock_owned().await;
        let last = tokio::spawn({
            let place = Arc::clone(&place);
            async move { place.read(PATIENCE, || 7).await.map(|(read, _)| read) }
        });

        for _ in 0..5 {
            tokio::time::sleep(PATIENCE * 2 / 3).await;
            place.bulkhead.readers.fetch_add(1, Ordering::SeqCst);
        }
        drop(held);

        assert_eq!(last.await.unwrap(), Ok(7));
    }

    /// Many sessions, each with a place of its own at `peer`, that hang until the senders are dropped.
    async fn crowd(peer: &str) -> Vec<mpsc::Sender<()>> {
        let ends = (0..100).map(|_| {
            let (sender, receiver) = mpsc::channel::<()>();
            let place = BlockingReader::at(vec![peer.into()]);
            tokio::spawn(
                async move { place.read(PATIENCE, move || receiver.recv().is_err()).await.map(|_| ()) },
            );
            sender
        });
        let ends = ends.collect();
        tokio::task::yield_now().await;
        ends
    }

    async fn is_read_at_once(place: &Arc<BlockingReader>) -> bool {
        let read = place.read(PATIENCE, || 7);
        matches!(tokio::time::timeout(PATIENCE / 5, read).await, Ok(Ok((7, _))))
    }

    #[tokio::test]
    async fn a_crowd_at_an_agent_that_hangs_delays_no_file() {
        let _ends = crowd("/tests/silent-for-files.sock").await;

        assert!(is_read_at_once(&BlockingReader::of(vec!["/tests/beside-a-crowd".into()])).await);
    }

    #[tokio::test]
    async fn a_crowd_at_an_agent_that_hangs_delays_no_other_agent() {
        let _ends = crowd("/tests/silent.sock").await;

        assert!(is_read_at_once(&BlockingReader::at(vec!["/tests/well.sock".into()])).await);
    }

    #[tokio::test]
    async fn however_many_agents_hang_they_share_so_many_threads() {
        let (all, begun) = (Arc::new(Semaphore::new(5)), Arc::new(AtomicU64::new(0)));
        let mut ends = Vec::new();
        for bulkhead in (0..4).map(|_| Bulkhead::new(2, &all)) {
            for _ in 0..10 {
                let (sender, receiver) = mpsc::channel::<()>();
                let (place, begun) =
                    (BlockingReader::new(Vec::new(), Arc::clone(&bulkhead)), Arc::clone(&begun));
                let read = move || (begun.fetch_add(1, Ordering::SeqCst), receiver.recv().is_err());
                tokio::spawn(async move { place.read(SHORT, read).await.map(|_| ()) });
                ends.push(sender);
            }
        }
        tokio::task::yield_now().await;
        let last = BlockingReader::new(Vec::new(), Bulkhead::new(2, &all));

        assert_eq!(last.read(SHORT, || 7).await.map(|(read, _)| read), Err(ReadFailure::Busy));

        assert!(begun.load(Ordering::SeqCst) <= 5);
        drop(ends);
        assert_eq!(last.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[tokio::test]
    async fn a_place_that_waits_for_room_does_not_hang() {
        let bulkhead = Bulkhead::new(1, &Arc::new(Semaphore::new(1)));
        let permit = bulkhead.permit().await;
        let place = BlockingReader::new(vec!["/tests/seven".into()], Arc::clone(&bulkhead));

        let waiting = tokio::join!(place.read(SHORT, || 7), place.read(SHORT, || 7));

        let failed = (waiting.0.map(|(read, _)| read), waiting.1.map(|(read, _)| read));
        assert_eq!(failed, (Err(ReadFailure::Busy), Err(ReadFailure::Busy)));
        drop(permit);
        assert_eq!(place.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_room_has_an_end_though_others_get_through() {
        let bulkhead = Bulkhead::new(1, &Arc::new(Semaphore::new(1)));
        let _permit = bulkhead.permit().await;
        let place = BlockingReader::new(vec!["/tests/eight".into()], Arc::clone(&bulkhead));
        let began = Instant::now();
        let busy = async {
            loop {
                tokio::time::sleep(PATIENCE / 2).await;
                bulkhead.readers.fetch_add(1, Ordering::SeqCst);
            }
        };

        let read = tokio::select! {
            read = place.read(PATIENCE, || 7) => read,
            () = busy => unreachable!(),
        };

        assert_eq!(read.map(|(read, _)| read), Err(ReadFailure::Busy));
        assert_eq!(began.elapsed(), MAX_WAIT);
    }

    #[tokio::test]
    async fn a_panic_ends_one_reading() {
        let place = BlockingReader::of(vec!["/tests/five".into()]);

        let panicked = place.read(PATIENCE, || panic!("a deliberate panic")).await;

        assert_eq!(panicked.map(|((), _)| ()), Err(ReadFailure::Panicked));
        assert_eq!(place.read(PATIENCE, || 7).await.map(|(read, _)| read), Ok(7));
    }

    #[test]
    fn a_place_is_forgotten_with_its_last_session() {
        let files = vec![PathBuf::from("/tests/six")];
        let place = BlockingReader::of(files.clone());
        assert!(Arc::ptr_eq(&place, &BlockingReader::of(files.clone())));

        drop(place);

        assert!(!SHARED_READERS.lock().unwrap().contains_key(&files));
    }
}
