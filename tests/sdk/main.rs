//! Real SDKs are the judges: each through every channel in every situation, as the README's table tells it.
//!
//! Not part of `cargo test --workspace`, because it needs their packages: `tests/run` installs them and runs it. To
//! play some cells alone, name a part of their names: `ANCHORD_SDK_CELLS="Go v2 / IMDSv2" cargo test --test sdk`.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]
#![allow(clippy::print_stdout, reason = "the table is to be seen")]
#![allow(clippy::disallowed_methods, reason = "tests read their own environment and clock")]

mod bedrock;
mod channels;
mod claims;
mod credentials_file;
mod host;
mod judge;
mod library;
mod pipe;
mod play;
mod presigned;
#[allow(dead_code, reason = "tests/platforms uses the rest")]
mod programs;
mod relay;
mod sdks;
mod situations;
mod table;

use play::ROOM;

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_tells_what_every_sdk_does_through_every_channel_in_every_situation() {
    let (versions, missing) = play::versions(&sdks::Sdk::ALL).await;
    let part = std::env::var("ANCHORD_SDK_CELLS").unwrap_or_default();
    let (outcomes, mut failures) = play::play_all(&part, &missing).await;
    failures.extend(play::not_run(&missing));

    let text = table::render(&outcomes, &versions);
    println!("\n{text}");
    assert!(failures.is_empty(), "{} cells are not as claimed:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(part.is_empty(), "what was played is as claimed, but only {part:?} was");
    let readme = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section = table::section_of(&readme).expect("README.md has a section for this table");
    assert!(section == text, "the README's table is not the one above; put that in its place");
}
