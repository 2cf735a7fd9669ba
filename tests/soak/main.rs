//! Runs the real session machine, keeper and front ends for days of virtual time, with every kind of fault.
//!
//! A seed decides everything: what AWS answers and when, what happens to the host, and when which SDK sends a request.
//! The time is tokio's paused time, so a day takes less than a second. Every step is checked against rules that are
//! written independently of the code: `sets` (which credentials clients must and may get), `pace` (how often AWS is
//! called), `health` (by when a session must have recovered) and `world` (how early credentials are renewed).
//!
//! ```text
//! ANCHORD_SOAK_SEEDS=1000 cargo test --release --test soak -- --nocapture     # so many seeds, and a summary
//! ANCHORD_SOAK_SEED=77 cargo test --test soak -- --nocapture                  # this one again
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment, and how long they took")]

mod aws;
mod clients;
mod health;
mod pace;
mod plain;
mod process;
mod random;
mod run;
mod script;
mod sets;
mod summary;
mod times;
mod trace;
mod wire;
mod world;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use run::Outcome;
use summary::Summary;

/// Enough to find common faults in a short time. `tests/run` plays a thousand.
const SEEDS: u64 = 8;

/// How long the host of each seed is awake.
const AWAKE: Duration = Duration::from_hours(2 * 24);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// Hides the messages of panics that the script causes.
fn silence_deliberate_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if !text.starts_with("a deliberate panic") {
            usual(panic);
        }
    }));
}

/// Plays the seeds on all processors. Stops early after a failure.
fn play(first: u64, count: u64) -> Vec<Outcome> {
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let outcome = run::play(seed, AWAKE);
                    if outcome.broken.is_some() {
                        next.store(first + count, Ordering::Relaxed);
                    }
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn whatever_goes_wrong_clients_get_what_can_be_had_and_all_is_well_again() {
    silence_deliberate_panics();
    let started = Instant::now();
    let (first, count) = match number("ANCHORD_SOAK_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("ANCHORD_SOAK_SEEDS").unwrap_or(SEEDS)),
    };

    let outcomes = play(first, count);

    let failed =
        outcomes.iter().filter(|outcome| outcome.broken.is_some()).min_by_key(|outcome| outcome.seed);
    if let Some(Outcome { seed, broken: Some(why), .. }) = failed {
        panic!("seed {seed}: {why}\nagain: ANCHORD_SOAK_SEED={seed} cargo test --test soak -- --nocapture");
    }
    let summary = Summary::of(&outcomes, started.elapsed());
    println!("{summary}");
    assert!(count < SEEDS || summary.calls_per_session_hour() <= summary::MOST_CALLS_PER_SESSION_HOUR);
}

#[test]
fn a_seed_decides_everything() {
    silence_deliberate_panics();
    // One seed with the real issuer, and one without.
    for seed in [0, 1] {
        let hashes = [(); 2].map(|()| run::play(seed, AWAKE / 4).hash);

        assert_eq!(hashes[0], hashes[1], "seed {seed}");
    }
}
