//! Reading what may hang: network file systems, tokens, agents.
//!
//! No timer ends a call into a file system whose server is gone; its thread is lost until the server is back. So each
//! place has one reader at a time, whichever session asks, and while that one hangs nobody else is sent after it. And
//! however many places hang at once, as all do on one mount, threads are left for what does not.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use super::Error;
use super::Origin;

/// Files are read in milliseconds, and tokens, TPMs and agents have four seconds; what takes longer than this hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How many places are read at once; the runtime has twice as many threads for what blocks (`cli::exit`).
static READERS: Semaphore = Semaphore::const_new(64);

/// How many hang now. With this many, nothing more is read until one answers: sessions go on with what they hold.
static HANGING: AtomicUsize = AtomicUsize::new(0);
const MOST_HANGING: usize = 32;

/// Places that are files, which several sessions may share.
static SHARED: LazyLock<Mutex<HashMap<Vec<PathBuf>, Weak<Place>>>> = LazyLock::new(Mutex::default);

/// What is read as one.
#[derive(Debug)]
pub(super) struct Place {
    files: Vec<PathBuf>,
    /// Held by the reader to its end, even if nobody waits for it any more.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    state: watch::Sender<State>,
    /// How many there have been.
    readers: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Reading,
    Hanging,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It takes too long, now or since somebody else began.
    Hangs,
    /// It panicked.
    Panicked,
}

impl Failed {
    /// As an error about `origin`.
    pub(super) fn at(self, origin: Origin) -> Error {
        match self {
            Self::Hangs => Error::Hanging { origin, patience: PATIENCE },
            Self::Panicked => Error::Panicked { origin },
        }
    }
}

impl Place {
    /// The place of these files, the same one for everybody who reads them; without files one that nobody shares.
    pub(super) fn of(files: Vec<PathBuf>) -> Arc<Self> {
        let new = |files| {
            let (turn, readers) = (Arc::default(), AtomicU64::new(0));
            Arc::new(Self { files, turn, state: watch::Sender::new(State::Idle), readers })
        };
        if files.is_empty() {
            return new(files);
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shared.get(&files).and_then(Weak::upgrade) {
            return place;
        }
        let place = new(files.clone());
        shared.insert(files, Arc::downgrade(&place));
        place
    }

    /// What `read` gives, on a thread where it may block, and the right to be the only reader until that is dropped.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, OwnedMutexGuard<()>), Failed> {
        let turn = self.turn(patience).await?;
        // It fails only once it is closed, which nobody does.
        let _permit = READERS.acquire().await.map_err(|_| Failed::Panicked)?;
        if HANGING.load(Ordering::SeqCst) >= MOST_HANGING {
            return Err(Failed::Hangs);
        }
        self.readers.fetch_add(1, Ordering::SeqCst);
        self.state.send_replace(State::Reading);
        let reader = Reader(Arc::clone(self));
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
    async fn turn(&self, patience: Duration) -> Result<OwnedMutexGuard<()>, Failed> {
        let mut state = self.state.subscribe();
        let mut turn = pin!(Arc::clone(&self.turn).lock_owned());
        loop {
            let readers = self.readers.load(Ordering::SeqCst);
            tokio::select! {
                biased;
                turn = &mut turn => return Ok(turn),
                _ = state.wait_for(|state| *state == State::Hanging) => return Err(Failed::Hangs),
                () = tokio::time::sleep(patience) => {
                    if self.readers.load(Ordering::SeqCst) == readers {
                        self.hangs();
                        return Err(Failed::Hangs);
                    }
                }
            }
        }
    }

    /// Notes that the reader of now hangs, unless it has just ended.
    fn hangs(&self) {
        self.state.send_if_modified(|state| {
            let is_reading = *state == State::Reading;
            if is_reading {
                *state = State::Hanging;
                HANGING.fetch_add(1, Ordering::SeqCst);
            }
            is_reading
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            // Another one may have taken its place meanwhile.
            if shared.get(&self.files).is_some_and(|place| place.strong_count() == 0) {
                shared.remove(&self.files);
            }
        }
    }
}

/// A thread that reads; its end, by a panic too, is noted.
struct Reader(Arc<Place>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            if *state == State::Hanging {
                HANGING.fetch_sub(1, Ordering::SeqCst);
            }
            *state = State::Idle;
        });
    }
}

#[cfg(test)]
mod tests {
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
            place.readers.fetch_add(1, Ordering::SeqCst);
        }
        drop(held);

        assert_eq!(last.await.unwrap(), Ok(7));
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
