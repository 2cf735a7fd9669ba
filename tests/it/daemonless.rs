//! `credential-process` where no daemon runs.

use anchord_emulator::Fault;

use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

pub(crate) fn key_id(ran: &Ran) -> String {
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["Version"], 1);
    json["AccessKeyId"].as_str().unwrap().to_owned()
}

pub(crate) const ASK: [&str; 3] = ["credential-process", "--session", "bedrock"];

#[tokio::test]
async fn without_a_daemon_the_session_is_created_once_and_cached() {
    use std::os::unix::fs::MetadataExt as _;
    let stage = Stage::new().await;

    let first = key_id(&stage.run(&ASK).await);
    let second = key_id(&stage.run(&ASK).await);

    assert_eq!(first, second);
    assert_eq!(stage.emulator.sessions_created(), 1);
    let cache = stage.path(".runtime/anchord/cache");
    let modes: Vec<u32> = fs_err::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().mode() & 0o7777)
        .collect();
    assert_eq!(modes, [0o600, 0o600]);
    assert_eq!(fs_err::metadata(&cache).unwrap().mode() & 0o7777, 0o700);
}

/// None of them finds what another has made when it starts: all run before anything is.
#[tokio::test]
async fn fifty_parallel_processes_share_one_create_session() {
    const PROCESSES: usize = 50;
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Hold]);

    let asks = futures_util::future::join_all((0..PROCESSES).map(|_| stage.run(&ASK)));
    let release = async {
        stage.emulator.wait_for_held(1).await;
        wait_for_processes(&stage, PROCESSES).await;
        stage.emulator.release();
    };
    let (answers, ()) = tokio::join!(asks, release);

    let ids: std::collections::BTreeSet<String> = answers.iter().map(key_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(stage.emulator.requests().len(), 1);
}

/// Until so many processes of this stage run at once.
pub(crate) async fn wait_for_processes(stage: &Stage, count: usize) {
    let of_stage = |entry: &std::io::Result<fs_err::DirEntry>| {
        let line = fs_err::read(entry.as_ref().unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(stage.path("").to_str().unwrap())
    };
    let gives_up_at = tokio::time::Instant::now() + process::PATIENCE;
    while fs_err::read_dir("/proc").unwrap().filter(of_stage).count() < count {
        assert!(tokio::time::Instant::now() < gives_up_at, "there are not {count} processes at once");
        tokio::task::yield_now().await;
    }
}

/// The first call is refused, but not before every process runs.
#[tokio::test]
async fn parallel_processes_share_a_failure_too() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);
    stage.emulator.script([Fault::Hold]);

    let asks = futures_util::future::join_all((0..10).map(|_| stage.run(&ASK)));
    let release = async {
        stage.emulator.wait_for_held(1).await;
        wait_for_processes(&stage, 10).await;
        stage.emulator.release();
    };
    let (answers, ()) = tokio::join!(asks, release);

    for ran in &answers {
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains("Unable to assume role"), "{}", ran.stderr);
    }
    assert_eq!(stage.emulator.requests().len(), 1);
}

/// The service is down and the cache is due for renewal, but not over.
#[tokio::test]
async fn what_is_cached_and_alive_outlives_an_outage() {
    let mut stage = Stage::new().await;
    let first = key_id(&stage.run(&ASK).await);
    make_due(&stage);
    stage.emulator.stop().await;

    assert_eq!(key_id(&stage.run(&ASK).await), first);
}

/// An answer that never comes is no better a reason than one that refuses.
#[tokio::test]
async fn what_is_cached_and_alive_outlives_an_aws_that_never_answers() {
    let stage = Stage::new().await;
    let first = key_id(&stage.run(&ASK).await);
    make_due(&stage);
    stage.emulator.always(Some(Fault::Hold));

    assert_eq!(key_id(&stage.run(&ASK).await), first);
    assert_eq!(stage.emulator.requests().len(), 2, "a renewal was tried");
    assert_eq!(key_id(&stage.run(&ASK).await), first);
    assert_eq!(stage.emulator.requests().len(), 2, "and not again at once");
}

/// Obtained long ago, as far as the cache tells: its renewal is due, though it lives for an hour.
pub(crate) fn make_due(stage: &Stage) {
    change(stage, |entry| entry["made"]["obtained_at"] = "2026-01-01T00:00:00Z".into());
}

/// Changes what is kept as if it had been written so.
pub(crate) fn change(stage: &Stage, change: impl FnOnce(&mut serde_json::Value)) {
    let file = cache_file(stage, "json");
    let text = fs_err::read_to_string(&file).unwrap();
    let [title, _, json] = text.splitn(3, '\n').collect::<Vec<_>>().try_into().unwrap();
    let mut entry: serde_json::Value = serde_json::from_str(json).unwrap();
    change(&mut entry);
    let json = entry.to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    fs_err::write(&file, format!("{title}\n{digest}\n{json}")).unwrap();
}

/// The only file of the cache with this extension.
pub(crate) fn cache_file(stage: &Stage, extension: &str) -> std::path::PathBuf {
    let of_cache = cache_files(stage).into_iter();
    let mut found = of_cache.filter(|path| path.extension().is_some_and(|found| found == extension));
    found.next().unwrap()
}

pub(crate) fn cache_files(stage: &Stage) -> Vec<std::path::PathBuf> {
    let folder = fs_err::read_dir(stage.path(".runtime/anchord/cache"));
    folder.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// SDKs wait without a limit, and hold stdin open.
#[tokio::test]
async fn it_ends_within_ten_seconds_and_reads_no_stdin() {
    let stage = Stage::new().await;
    stage.emulator.always(Some(Fault::Hold));
    let mut command = process::anchord();
    command.args(ASK).arg("--config").arg(stage.path("anchord.toml")).args(["--read-timeout", "none"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _open = child.stdin.take();

    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let ran: Ran = tokio::time::timeout(process::PATIENCE, ended).await.unwrap().unwrap().into();

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("anchord: no credentials within 9 s"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1);
}

#[tokio::test]
async fn a_wrong_flag_is_told_in_one_line() {
    let stage = Stage::new().await;

    let ran = stage.run(&["credential-process", "--sesion", "bedrock"]).await;

    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (2, "", 1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("did you mean --session?") && !ran.stderr.contains("sesion "),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_failure_is_one_line_on_stderr_and_nothing_on_stdout() {
    let mut stage = Stage::new().await;
    stage.emulator.stop().await;

    let ran = stage.run(&ASK).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr.matches('\n').count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("anchord: no answer from 127.0.0.1:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("Connection refused") && ran.stderr.len() < 4096, "{}", ran.stderr);
}

/// SDKs show stderr only of a failure, and some of them take any text there for one.
#[tokio::test]
async fn a_region_that_no_partition_knows_is_told_with_a_failure() {
    let stage = Stage::new().await;
    let ask = ["credential-process", "--session", "bedrock", "--region", "us-east1"];

    key_id(&stage.run(&ask).await);
    stage.emulator.set_trust_policy_refusal(&stage.role, true);
    let ran = stage.run(&[&ask[..], &["--no-cache"]].concat()).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    let doubt = "; session bedrock, `region`: no partition of AWS knows the Region us-east1; hint: did you mean us-east-1? ";
    assert!(ran.stderr.contains(doubt) && ran.stderr.contains("Unable to assume role"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[tokio::test]
async fn a_refusal_tells_what_to_do() {
    let stage = Stage::new().await;
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let ran = stage.run(&ASK).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr.contains("Unable to assume role") && ran.stderr.contains("hint: the role's trust policy"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn flags_and_variables_alone_make_a_session() {
    let stage = Stage::new().await;
    let table = stage.session("bedrock");
    let value = |key: &str| {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let mut command = process::anchord();
    command
        .args(["credential-process", "--certificate"])
        .arg(stage.path("leaf.pem"))
        .arg("--private-key")
        .arg(stage.path("key.pem"))
        .args(["--trust-anchor-arn", &value("trust_anchor_arn"), "--profile-arn", &value("profile_arn")])
        .env("ANCHORD_ROLE_ARN", value("role_arn"))
        .env("ANCHORD_ENDPOINT", value("endpoint"))
        .env("ANCHORD_CA_FILE", stage.path("tls-ca.pem"))
        .envs(process::home(stage.path("")));

    let ran = process::to_the_end(command).await;

    assert_eq!(key_id(&ran), stage.emulator.issued()[0].access_key_id);
}

/// Whose credentials they are would else be decided by whichever daemon has a session of that name.
#[tokio::test]
async fn what_the_command_line_says_of_a_session_is_not_left_to_a_daemon() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;
    let daemons = stage.emulator.issued()[0].access_key_id.clone();
    let file = stage.path("written").to_str().unwrap().to_owned();
    let update = ["update", "--once", "--credentials-file", &file, "--session", "bedrock"];
    let other = ["--role-session-name", "nightly"];

    assert_eq!(key_id(&stage.run(&[&ASK[..], &["--region", "us-east-1"]].concat()).await), daemons);
    let asked = key_id(&stage.run(&[&ASK[..], &other[..]].concat()).await);
    assert_eq!(stage.run(&[&update[..], &other[..]].concat()).await.code, 0);

    let issued = stage.emulator.issued();
    assert_eq!((issued.len(), issued[1].role_session_name.as_str()), (2, "nightly"));
    assert_eq!(asked, issued[1].access_key_id);
    assert!(fs_err::read_to_string(&file).unwrap().contains(&asked), "from the cache that both share");
}

#[tokio::test]
async fn an_unknown_session_is_answered_with_the_known_ones() {
    let stage = Stage::new().await;
    let _daemon = stage.daemon().await;

    let ran = stage.run(&["credential-process", "--session", "bedrok"]).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("bedrok") && ran.stderr.contains("bedrock"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_home_that_hangs_ends_in_time_with_a_line() {
    let stage = Stage::new().await;
    let Some(mut command) = process::with_a_home_that_hangs(&stage) else {
        println!("not shown here: this user may have no mounts of their own");
        return;
    };
    command.args(ASK);

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("no credentials within 10 s; hint: check the network to AWS, and"),
        "{ran:?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1);
}
