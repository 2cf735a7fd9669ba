//! More SDKs as judges than `tests/sdk` has, with its channels and situations, and how soon each recovers.
//!
//! They come from registries that not everybody reaches: `tests/platforms/run` installs them and runs this. To play
//! some rows alone, name a part of their cells: `ANCHORD_SDK_CELLS="Java v2 / IMDSv2" tests/platforms/run`, or for
//! clients of Bedrock: `ANCHORD_SDK_CELLS="LiteLLM / stream" tests/platforms/run bedrock`.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::print_stdout, reason = "the tables are to be seen")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment and clock")]
#![allow(dead_code, reason = "tests/sdk, whose modules these are, uses the rest")]

mod bedrock;
#[path = "../sdk/channels.rs"]
mod channels;
mod claims;
mod gate;
#[path = "../sdk/host.rs"]
mod host;
mod page;
#[path = "../sdk/pipe.rs"]
mod pipe;
#[path = "../sdk/play.rs"]
mod play;
#[path = "../sdk/presigned.rs"]
mod presigned;
#[path = "../sdk/programs.rs"]
mod programs;
mod recovery;
#[path = "../sdk/relay.rs"]
mod relay;
mod sdks;
#[path = "../sdk/situations.rs"]
mod situations;
#[path = "../sdk/table.rs"]
mod table;

use sdks::Sdk;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/sdks.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_what_every_sdk_does_and_how_soon_it_recovers() {
    let part = std::env::var("ANCHORD_SDK_CELLS").unwrap_or_default();
    let (versions, mut missing) = play::versions(&Sdk::ALL).await;
    let (more_versions, more_missing) = play::versions(&Sdk::OF_README).await;
    missing.extend(more_missing);
    let (outcomes, mut failures) = play::play_all(&part, &missing).await;
    let (recoveries, more) = recovery::measure_all(&part, &missing).await;
    failures.extend(more);
    failures.extend(play::not_run(&missing));

    let text = page::render(
        &table::render(&outcomes, &versions),
        &recoveries,
        &table::run_with(&Sdk::OF_README, &more_versions),
    );
    println!("\n{text}");
    assert!(failures.is_empty(), "{} cells are not as claimed:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(part.is_empty(), "what was played is as claimed, but only {part:?} was");
    if std::env::var_os("ANCHORD_TEST_BLESS").is_some() {
        fs_err::write(PAGE, &text).unwrap();
    }
    let page = fs_err::read_to_string(PAGE).unwrap_or_default();
    assert!(page == text, "docs/reference/sdks.md is not the page above; ANCHORD_TEST_BLESS=1 writes it");
}
