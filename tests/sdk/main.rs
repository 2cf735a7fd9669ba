//! Real SDKs are the judges: each through every channel in every situation, as the README's table tells it.
//!
//! Not part of `cargo test --workspace`, because it needs their packages: `tests/run` installs them and runs it. To
//! play some cells alone, name a part of their names: `ANCHORD_SDK_CELLS="Go v2 / IMDSv2" cargo test --test sdk`.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::print_stdout, reason = "the table is to be seen")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment and clock")]

mod bedrock;
mod channels;
mod credentials_file;
mod host;
mod judge;
mod library;
mod pipe;
mod presigned;
mod programs;
mod relay;
mod sdks;
mod situations;
mod table;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use sdks::Sdk;
use situations::Cell;
use situations::Situation;
use table::Claim;
use table::Outcome;

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_tells_what_every_sdk_does_through_every_channel_in_every_situation() {
    let versions = versions().await;
    let part = std::env::var("ANCHORD_SDK_CELLS").unwrap_or_default();
    let (outcomes, failures) = play_all(&part).await;

    let text = table::render(&outcomes, &versions);
    println!("\n{text}");
    assert!(failures.is_empty(), "{} cells are not as claimed:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(part.is_empty(), "what was played is as claimed, but only {part:?} was");
    let readme = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section = table::section_of(&readme).expect("README.md has a section for this table");
    assert!(section == text, "the README's table is not the one above; put that in its place");
}

async fn versions() -> Vec<String> {
    let mut versions = Vec::new();
    for sdk in Sdk::ALL {
        versions.push(programs::version(sdk).await.unwrap());
    }
    versions
}

/// Plays the cells whose name contains `part`: what came of each cell, and what is not as claimed.
async fn play_all(part: &str) -> (Vec<Outcome>, Vec<String>) {
    let mut playing = JoinSet::new();
    let cells = table::cells();
    let mut outcomes = vec![Outcome::NotPlayed; cells.len()];
    for (number, cell) in cells.into_iter().enumerate() {
        if let Claim::Senseless = cell.claim() {
            outcomes[number] = Outcome::Senseless;
        } else if cell.name().contains(part) {
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
static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

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

fn panic_of(error: tokio::task::JoinError) -> String {
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
