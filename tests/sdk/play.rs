//! Plays the cells of the table, a few at once.

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::programs;
use crate::sdks::Sdk;
use crate::situations::Cell;
use crate::situations::Situation;
use crate::table;
use crate::table::Claim;
use crate::table::Outcome;

/// The version of each of these SDKs, and why some cannot be run.
pub(crate) async fn versions(sdks: &[Sdk]) -> (Vec<String>, Missing) {
    let (mut versions, mut missing) = (Vec::new(), Vec::new());
    for sdk in sdks.iter().copied() {
        versions.push(programs::version(sdk).await.unwrap_or_else(|why| {
            missing.push((sdk, why));
            "not run".to_owned()
        }));
    }
    (versions, missing)
}

/// SDKs that are not here, and why.
pub(crate) type Missing = Vec<(Sdk, String)>;

/// A failure for each SDK that is not here.
pub(crate) fn not_run(missing: &Missing) -> impl Iterator<Item = String> {
    missing.iter().map(|(sdk, why)| format!("{}: not run: {why}", sdk.name()))
}

/// Plays the cells of SDKs that are not `missing` and whose name contains `part`: what came of each cell, and what is not as claimed.
pub(crate) async fn play_all(part: &str, missing: &Missing) -> (Vec<Outcome>, Vec<String>) {
    let mut playing = JoinSet::new();
    let cells = table::cells();
    let mut outcomes = vec![Outcome::NotPlayed; cells.len()];
    for (number, cell) in cells.into_iter().enumerate() {
        if let Claim::Senseless = cell.claim() {
            outcomes[number] = Outcome::Senseless;
        } else if cell.name().contains(part) && !missing.iter().any(|(sdk, _)| *sdk == cell.sdk) {
            playing.spawn(async move { (number, play(cell).await) });
        }
    }
    let mut failures = Vec::new();
    while let Some(played) = playing.join_next().await {
        let (number, outcome) = played.unwrap();
        outcomes[number] = outcome.unwrap_or_else(|failure| {
            failures.push(failure);
            Outcome::Wrong
        });
    }
    (outcomes, failures)
}

const AT_ONCE: usize = 4;

/// Places for what runs at once, of all tests here.
pub(crate) static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

/// A cell in a task of its own, so that what panics in it is one cell's failure.
async fn play(cell: Cell) -> Result<Outcome, String> {
    // A daemon has to start within the time-out of an SDK: nothing else of this test may run beside it.
    let needs = if cell.situation == Situation::Gap { AT_ONCE } else { 1 };
    let _place = ROOM.acquire_many(u32::try_from(needs).unwrap()).await.unwrap();
    let player = cell.clone();
    let played = match tokio::spawn(async move { player.play().await }).await {
        Ok(played) => played,
        Err(error) => Err(panic_of(error)),
    };
    Outcome::of(cell.claim(), played).map_err(|failure| {
        let log = cell.log.lock().unwrap();
        let failure = format!("{}: {failure}\nThe daemon said:\n{}", cell.name(), last_lines(&log));
        println!("{failure}\n");
        failure
    })
}

pub(crate) fn panic_of(error: tokio::task::JoinError) -> String {
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
