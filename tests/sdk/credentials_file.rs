//! The shared credentials file, written by `anchord update` into what its user had: every SDK finds the profile that
//! was written, and the others as before.
//!
//! The file is read once by each SDK, in a program of its own, before and after.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use crate::ROOM;
use crate::programs::Clock;
use crate::programs::Program;
use crate::programs::Shown;
use crate::programs::Variables;
use crate::sdks::Sdk;
use anchord_testing::stage::Stage;

/// What only a person writes, and every SDK reads. `{end}` is a line break.
const AWKWARD: &str = "\u{23} Schlüssel für Bücher 🔑 — do not touch{end}\
    ; [work]{end}\
    {end}\
    [default]{end}\
    aws_access_key_id = ASIADEFAULT{end}\
    aws_secret_access_key=default/secret+with=signs=={end}\
    aws_session_token =   token/of+default=={end}\
    {end}\
    [work]{end}\
    \u{23} aws_access_key_id = ASIACOMMENT{end}\
    AWS_Access_Key_Id = ASIAOLD{end}\
    aws_secret_access_key = old-secret{end}\
    aws_session_token = old-token{end}\
    region = eu-central-1{end}\
    x_of_another_tool = ünknown = [work]{end}\
    s3 ={end}\
    \u{20}\u{20}addressing_style = path{end}\
    [profile work]{end}\
    aws_access_key_id = ASIAPREFIXED{end}\
    aws_secret_access_key = prefixed-secret{end}\
    aws_session_token = prefixed-token{end}\
    [work-2]{end}\
    aws_access_key_id = ASIATWO{end}\
    aws_secret_access_key = two-secret{end}\
    \u{23} between{end}\
    aws_session_token = two-token{end}\
    [Work]{end}\
    aws_access_key_id = ASIACAPITAL{end}\
    aws_secret_access_key = capital-secret{end}\
    aws_session_token = capital-token";

/// Profiles that every SDK reads from it, and the ids of their keys.
const OTHERS: [(&str, &str); 3] =
    [("default", "ASIADEFAULT"), ("work-2", "ASIATWO"), ("Work", "ASIACAPITAL")];
/// Profiles that some SDKs read from it, each as it does.
const UNSURE: [&str; 2] = ["profile work", "\"work\""];

/// Profiles that are written: one in the midst, one that is new, the one that needs no name, and the unusual ones.
const WRITTEN: [&str; 6] = ["work", "new", "default", "a.b_c-d@e", TWO_WORDS, NO_ASCII];
const TWO_WORDS: &str = "two words";
const NO_ASCII: &str = "Bücher";

/// Whether an SDK knows profiles of such names at all, whoever wrote them.
fn knows(sdk: Sdk, profile: &str) -> bool {
    match sdk {
        Sdk::Boto3 | Sdk::Awscli | Sdk::Go => true,
        Sdk::JavaScript => profile != TWO_WORDS,
        Sdk::Rust | Sdk::Awscrt => ![TWO_WORDS, NO_ASCII].contains(&profile),
    }
}

fn variables(stage: &Stage, profile: &str) -> Variables {
    let path = |name: &str| stage.path(name).to_str().unwrap().to_owned();
    vec![
        ("AWS_SHARED_CREDENTIALS_FILE", path("credentials")),
        ("AWS_CONFIG_FILE", path("no-such-file")),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_PROFILE", profile.to_owned()),
    ]
}

/// What an SDK that starts now reads as this profile.
async fn read(stage: &Stage, sdk: Sdk, profile: &str) -> Result<Shown, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(sdk, Clock::Real, variables(stage, profile), folder.path()).await?;
    program.get().await
}

/// The same as something that can be compared: who cannot find a profile tells it in different words each time.
async fn id(stage: &Stage, sdk: Sdk, profile: &str) -> Option<String> {
    read(stage, sdk, profile).await.ok().map(|shown| shown.id())
}

/// What an SDK reads of everything that is not written.
async fn others(stage: &Stage, sdk: Sdk, written: &str) -> BTreeMap<&'static str, Option<String>> {
    let names = OTHERS.iter().map(|(name, _)| *name).chain(UNSURE).filter(|name| *name != written);
    let mut read = BTreeMap::new();
    for name in names {
        read.insert(name, id(stage, sdk, name).await);
    }
    read
}

async fn play(sdk: Sdk, profile: &str, ending: &str) {
    let what = format!("{} / {profile} / {ending:?}", sdk.name());
    let stage = Stage::new().await;
    stage.write("credentials", &AWKWARD.replace("{end}", ending));
    let before = others(&stage, sdk, profile).await;
    for (name, expected) in OTHERS.iter().filter(|(name, _)| *name != profile) {
        assert_eq!(before[name].as_deref(), Some(*expected), "{what}: {name}, as the user wrote it");
    }

    let file = stage.path("credentials");
    let ran = stage
        .run(&["update", "--once", "--profile", profile, "--credentials-file", file.to_str().unwrap()])
        .await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{what}");

    match read(&stage, sdk, profile).await {
        Ok(shown) => assert!(shown.are(&stage.emulator.issued()[0]), "{what}: {}", shown.id()),
        Err(error) => assert!(!knows(sdk, profile), "{what}: {error}"),
    }
    assert_eq!(others(&stage, sdk, profile).await, before, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_reads_what_update_wrote_and_the_other_profiles_as_before() {
    let mut playing = JoinSet::new();
    for sdk in Sdk::ALL {
        for profile in WRITTEN {
            // What reads names has nothing to do with what reads line breaks.
            let endings = if ["work", "new"].contains(&profile) { &["\n", "\r\n"][..] } else { &["\n"] };
            for ending in endings {
                playing.spawn(async move {
                    let _place = ROOM.acquire().await.unwrap();
                    play(sdk, profile, ending).await;
                });
            }
        }
    }
    let mut failures = Vec::new();
    while let Some(played) = playing.join_next().await {
        failures.extend(played.err().map(crate::play::panic_of));
    }
    assert!(failures.is_empty(), "{} are not as they should be:\n{}", failures.len(), failures.join("\n\n"));
}
