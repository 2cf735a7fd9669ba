//! What `credential-process` keeps between processes, where no daemon runs.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anchord_emulator::Authority;
use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::Leaf;
use anchord_emulator::LeafRequest;

use crate::daemonless::ASK;
use crate::daemonless::cache_file;
use crate::daemonless::cache_files;
use crate::daemonless::change;
use crate::daemonless::key_id;
use crate::daemonless::make_due;
use crate::daemonless::wait_for_processes;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

async fn ask(stage: &Stage) -> String {
    key_id(&stage.run(&ASK).await)
}

/// The serial numbers of the leaves that signed the requests so far.
fn signed_with(stage: &Stage) -> Vec<String> {
    let credentials = stage.emulator.requests().into_iter().filter_map(|request| request.credential);
    credentials.map(|credential| credential.split('/').next().unwrap().to_owned()).collect()
}

fn leaf(stage: &Stage, serial: u8) -> Leaf {
    let mut request = LeafRequest::new("robot-7", KeyKind::P256);
    request.serial = Some(vec![serial]);
    stage.root.leaf(&request).unwrap()
}

#[tokio::test]
async fn an_exchanged_certificate_is_used_by_the_next_process() {
    let stage = Stage::new().await;
    stage.install(&leaf(&stage, 7));
    let first = ask(&stage).await;
    stage.install(&leaf(&stage, 8));

    let second = ask(&stage).await;

    assert_ne!(first, second);
    assert_eq!(ask(&stage).await, second);
    assert_eq!(signed_with(&stage), ["7", "8"]);
}

/// AWS refuses the second certificate: what the first one was given is not the answer to that.
#[tokio::test]
async fn what_one_variable_or_pipe_was_given_is_not_handed_to_another_of_that_name() {
    for script in [
        "exec \"$0\" \"$@\" --certificate env:LEAF --private-key env:KEY",
        "printf %s \"$LEAF\" | exec \"$0\" \"$@\" --certificate /dev/stdin --private-key env:KEY",
    ] {
        let stage = Stage::new().await;
        let stranger = Authority::root("Other root", KeyKind::P256).unwrap();
        let ask_with = async |leaf: &Leaf| {
            let mut command = Command::new("sh");
            command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_anchord")).args(ASK);
            command.arg("--config").arg(stage.path("anchord.toml")).envs(process::home(stage.path("")));
            command.env("LEAF", leaf.certificate_pem()).env("KEY", leaf.key_pem(KeyForm::Pkcs8).unwrap());
            process::to_the_end(command).await
        };
        let one = leaf(&stage, 7);

        let first = key_id(&ask_with(&one).await);
        let other = ask_with(&stranger.leaf(&LeafRequest::new("robot-8", KeyKind::P256)).unwrap()).await;

        assert_eq!((other.code, other.stdout.as_str()), (1, ""), "{script}: {other:?}");
        assert_eq!(key_id(&ask_with(&one).await), first, "{script}");
    }
}

/// Whoever waits for the lock has looked at the old files, and the new ones are used by then.
#[tokio::test]
async fn a_certificate_exchanged_under_parallel_processes_is_renewed_once() {
    let stage = Stage::new().await;
    stage.install(&leaf(&stage, 7));
    ask(&stage).await;
    stage.install(&leaf(&stage, 8));
    stage.emulator.script([Fault::Hold]);

    let asks = futures_util::future::join_all((0..8).map(|_| stage.run(&ASK)));
    let release = async {
        stage.emulator.wait_for_held(1).await;
        stage.emulator.release();
    };
    let (answers, ()) = tokio::join!(asks, release);

    let ids: std::collections::BTreeSet<String> = answers.iter().map(key_id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(signed_with(&stage), ["7", "8"]);
}

#[tokio::test]
async fn a_new_certificate_that_gives_no_credentials_costs_none_that_live() {
    let stage = Stage::new().await;
    let (old, new) = (leaf(&stage, 7), leaf(&stage, 8));
    stage.install(&old);
    let first = ask(&stage).await;
    let whole = new.certificate_pem().to_owned();
    let nothing_of_it_worked = |ids: &[String]| assert!(ids.iter().all(|id| *id == first), "{ids:?}");

    stage.write("leaf.pem", &whole[..whole.len() / 2]);
    let half_written = ask(&stage).await;
    fs_err::remove_file(stage.path("leaf.pem")).unwrap();
    let missing = ask(&stage).await;
    stage.write("leaf.pem", &whole);
    let with_the_old_key = ask(&stage).await;
    nothing_of_it_worked(&[half_written, missing, with_the_old_key]);
    assert_eq!(signed_with(&stage), ["7"]);

    stage.emulator.set_revoked("8", true);
    stage.install(&new);
    nothing_of_it_worked(&[ask(&stage).await, ask(&stage).await]);
    assert_eq!(signed_with(&stage), ["7", "8"], "it was tried, and not again at once");

    stage.install(&leaf(&stage, 9));
    assert_ne!(ask(&stage).await, first);
    assert_eq!(signed_with(&stage), ["7", "8", "9"]);
}

/// An administrator has shortened the profile's sessions since.
#[tokio::test]
async fn a_grant_that_ends_earlier_costs_no_set_that_lives_longer() {
    let stage = Stage::new().await;
    stage.emulator.set_profile_duration(&stage.profile, 12 * 3600);
    stage.configure(&format!("{}duration = \"12h\"\n", stage.session("bedrock")));
    let first = ask(&stage).await;
    make_due(&stage);
    stage.emulator.set_profile_duration(&stage.profile, 3600);

    let ids = [ask(&stage).await, ask(&stage).await];

    assert_eq!(ids, [first.clone(), first]);
    assert_eq!(stage.emulator.sessions_created(), 2, "one call, and none before it would bring more");
}

#[tokio::test]
async fn a_pin_never_meets_credentials_of_an_unpinned_certificate() {
    let stage = Stage::new().await;
    ask(&stage).await;
    let other = "00".repeat(32);
    stage.configure(&format!("{}certificate_fingerprint = [\"{other}\"]\n", stage.session("bedrock")));

    let ran = stage.run(&ASK).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("pin"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_mistake_in_a_file_is_not_told_any_more_once_it_is_mended() {
    let stage = Stage::new().await;
    let (one, other) = (leaf(&stage, 7), leaf(&stage, 8));
    stage.install(&one);
    stage.write("leaf.pem", other.certificate_pem());

    assert_eq!(stage.run(&ASK).await.code, 1);
    stage.install(&other);

    assert!(ask(&stage).await.starts_with("ASIA"));
}

/// A refusal of the certificate that was there says nothing of the one that is.
#[tokio::test]
async fn a_refusal_is_not_told_of_another_certificate() {
    let stage = Stage::new().await;
    stage.emulator.set_revoked("7", true);
    stage.install(&leaf(&stage, 7));

    assert_eq!(stage.run(&ASK).await.code, 1);
    assert_eq!(stage.run(&ASK).await.code, 1);
    assert_eq!(signed_with(&stage), ["7"], "a failure is shared");
    stage.install(&leaf(&stage, 8));

    assert!(ask(&stage).await.starts_with("ASIA"));
}

/// A way to spoil a file.
type Spoil = fn(&Path);

const SPOILT: [(&str, Spoil); 9] = [
    ("empty", |file| fs_err::write(file, "").unwrap()),
    ("cut in half", |file| {
        let whole = fs_err::read(file).unwrap();
        fs_err::write(file, &whole[..whole.len() / 2]).unwrap();
    }),
    ("without its last byte", |file| {
        let whole = fs_err::read(file).unwrap();
        fs_err::write(file, &whole[..whole.len() - 1]).unwrap();
    }),
    ("binary", |file| fs_err::write(file, [0, 255, 254, 10, 0, 10, 7]).unwrap()),
    ("of another version", |file| {
        let whole = fs_err::read_to_string(file).unwrap();
        fs_err::write(file, whole.replacen("anchord cache 1", "anchord cache 2", 1)).unwrap();
    }),
    ("with another secret", |file| {
        let whole = fs_err::read_to_string(file).unwrap();
        let changed = whole.replacen("\"secret_access_key\":\"", "\"secret_access_key\":\"x", 1);
        assert_ne!(whole, changed);
        fs_err::write(file, changed).unwrap();
    }),
    ("larger than any", |file| fs_err::write(file, "x".repeat(1 << 20)).unwrap()),
    ("accessible to other users", |file| {
        fs_err::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }),
    ("a link", |file| {
        let elsewhere = file.with_extension("elsewhere");
        fs_err::rename(file, &elsewhere).unwrap();
        fs_err::os::unix::fs::symlink(elsewhere, file).unwrap();
    }),
];

#[tokio::test]
async fn a_spoilt_file_is_not_used_and_a_good_one_takes_its_place() {
    let stage = Stage::new().await;
    let mut known = vec![ask(&stage).await];
    for (how, spoil) in SPOILT {
        let file = cache_file(&stage, "json");
        spoil(&file);

        let made = ask(&stage).await;

        assert!(!known.contains(&made), "{how}");
        let found = fs_err::symlink_metadata(&file).unwrap();
        assert!(found.is_file() && found.mode() & 0o7777 == 0o600, "{how}");
        assert_eq!(ask(&stage).await, made, "{how}: the good one is read");
        known.push(made);
    }
}

/// The program, of which nothing but its answer is wanted, with a command line before its own.
fn behind(stage: &Stage, before: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_anchord"));
    command.args(ASK).arg("--config").arg(stage.path("anchord.toml"));
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(process::home(stage.path("")));
    command.stdin(std::process::Stdio::null());
    command
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_a_call_and_not_the_answer() {
    let stage = Stage::new().await;
    stage.write("a-file", "");
    for folder in ["/proc/none", "a-file"] {
        let mut command = behind(&stage, ":");
        command.env("XDG_RUNTIME_DIR", stage.path("").join(folder));

        assert!(key_id(&process::to_the_end(command).await).starts_with("ASIA"), "{folder}");
    }
    // Root may write wherever there is room for a file; in a folder's place there is not.
    ask(&stage).await;
    for path in [cache_file(&stage, "json"), cache_file(&stage, "lock")] {
        fs_err::remove_file(&path).unwrap();
        fs_err::create_dir(&path).unwrap();
        fs_err::write(path.join("in-use"), "").unwrap();
    }
    assert_ne!(ask(&stage).await, ask(&stage).await);
}

#[tokio::test]
async fn a_full_disk_costs_a_call_and_not_the_answer() {
    let stage = Stage::new().await;

    // No file may get longer than nothing, and whoever tries is killed.
    let ran = process::to_the_end(behind(&stage, "ulimit -f 0")).await;

    assert!(key_id(&ran).starts_with("ASIA"));
    let left: Vec<PathBuf> = cache_files(&stage);
    assert!(left.iter().all(|path| path.extension().is_some_and(|found| found == "lock")), "{left:?}");
    assert_ne!(ask(&stage).await, key_id(&ran));
}

/// Whenever it is killed, the file is the old or the new one, and nobody waits for who is gone.
#[tokio::test]
async fn a_killed_process_leaves_a_whole_file_and_no_lock() {
    let kills = if std::env::var_os("ANCHORD_TEST_ALL").is_some() { 1000 } else { 60 };
    let stage = Stage::new().await;
    ask(&stage).await;
    make_due(&stage);
    let started = tokio::time::Instant::now();
    ask(&stage).await;
    let whole = started.elapsed();
    let (mut old_ones, mut new_ones) = (0, 0);

    for kill in 0..kills {
        make_due(&stage);
        let file = cache_file(&stage, "json");
        let old = fs_err::read(&file).unwrap();
        let mut child = behind(&stage, ":").stdout(std::process::Stdio::null()).spawn().unwrap();
        // Spread over the run's whole length, in an order that has nothing to do with it.
        tokio::time::sleep(whole * (kill * 37 % 150) / 100).await;
        child.kill().unwrap();
        child.wait().unwrap();
        if fs_err::read(&file).unwrap() == old {
            old_ones += 1;
        } else {
            new_ones += 1;
            let created = stage.emulator.sessions_created();
            ask(&stage).await;
            assert_eq!(stage.emulator.sessions_created(), created, "what was left is whole, and fresh");
        }
    }

    assert!(old_ones > 0 && new_ones > 0, "{old_ones} old, {new_ones} new: the kills missed the writing");
    let started = tokio::time::Instant::now();
    make_due(&stage);
    ask(&stage).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "nobody waits for a lock");
}

/// Sets a file's time of change back by an hour.
fn age(path: &Path) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs_err::OpenOptions::new().write(true).open(path).unwrap().file().set_modified(then).unwrap();
}

fn names(stage: &Stage) -> Vec<String> {
    let files = cache_files(stage).into_iter();
    let mut names: Vec<String> =
        files.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn what_has_ended_is_removed_and_what_lives_or_is_locked_stays() {
    let stage = Stage::new().await;
    let folder = stage.path(".runtime/anchord/cache");
    // Entries of other settings, which are a stage's first ones under other names.
    ask(&stage).await;
    let (json, lock) = (cache_file(&stage, "json"), cache_file(&stage, "lock"));
    let alive = fs_err::read(&json).unwrap();
    change(&stage, |entry| {
        entry["made"]["obtained_at"] = "2026-01-01T00:00:00Z".into();
        entry["made"]["expires_at"] = "2026-01-01T01:00:00Z".into();
    });
    let ended = fs_err::read(&json).unwrap();
    // Of this host, as the names say.
    let (ours, _) = json.file_stem().unwrap().to_str().unwrap().rsplit_once('-').unwrap();
    for (name, entry) in [("alive", alive), ("ended", ended.clone()), ("locked", ended)] {
        let file = folder.join(format!("{ours}-{name}.json"));
        fs_err::write(&file, entry).unwrap();
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        fs_err::write(file.with_extension("lock"), "").unwrap();
    }
    fs_err::write(folder.join(format!("{ours}-alone.lock")), "").unwrap();
    for (name, is_old) in [(".anchord-old", true), (".anchord-new", false)] {
        fs_err::write(folder.join(name), "half").unwrap();
        if is_old {
            age(&folder.join(name));
        }
    }
    let held = fs_err::File::open(folder.join(format!("{ours}-locked.lock"))).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();

    ask(&stage).await;

    let own = [&json, &lock].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let others = ["alive.json", "alive.lock", "locked.json", "locked.lock"];
    let mut expected: Vec<String> =
        others.map(|name| format!("{ours}-{name}")).into_iter().chain(own).collect();
    expected.push(".anchord-new".into());
    expected.sort_unstable();
    assert_eq!(names(&stage), expected);
}

/// A lock that was removed while somebody waited for it is none: others would find another.
#[tokio::test]
async fn who_waits_for_a_lock_that_is_removed_locks_the_one_that_others_find() {
    let stage = Stage::new().await;
    ask(&stage).await;
    fs_err::remove_file(cache_file(&stage, "json")).unwrap();
    let path = cache_file(&stage, "lock");
    let removed = fs_err::File::open(&path).unwrap();
    rustix::fs::flock(&removed, rustix::fs::FlockOperation::LockExclusive).unwrap();
    stage.emulator.script([Fault::Hold]);

    let asked = ask(&stage);
    let looked = async {
        wait_for_processes(&stage, 1).await;
        fs_err::remove_file(&path).unwrap();
        drop(removed);
        stage.emulator.wait_for_held(1).await;
        let found = fs_err::File::open(&path).unwrap();
        let locked = rustix::fs::flock(&found, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        stage.emulator.release();
        locked
    };
    let (_, locked) = tokio::join!(asked, looked);

    assert_eq!(locked, Err(rustix::io::Errno::WOULDBLOCK));
}

/// Processes of other settings sweep all the time, and lock files vanish under those who wait for them.
#[tokio::test]
async fn sweeping_takes_the_lock_from_nobody() {
    let stage = Stage::new().await;
    let mut tables = String::new();
    for name in ["a", "b", "c"] {
        tables.push_str(&stage.session(name));
    }
    stage.configure(&format!("[imds]\nenabled = false\n{tables}"));
    let ask = |name: &'static str| {
        let stage = &stage;
        async move { (name, key_id(&stage.run(&["credential-process", "--session", name]).await)) }
    };

    for round in 1..=5 {
        for file in cache_files(&stage).iter().filter(|path| path.extension().unwrap() == "json") {
            fs_err::remove_file(file).unwrap();
        }
        let asked = ["a", "b", "c"].iter().flat_map(|name| (0..5).map(|_| ask(name)));
        let answers: std::collections::BTreeSet<_> =
            futures_util::future::join_all(asked).await.into_iter().collect();
        assert_eq!(answers.len(), 3, "{answers:?}");
        assert_eq!(stage.emulator.sessions_created(), 3 * round);
    }
}

/// The lock is held all the while: it is none of theirs.
#[tokio::test]
async fn without_the_cache_nothing_is_read_or_written_and_nobody_waited_for() {
    let stage = Stage::new().await;
    let no_cache = [&ASK[..], &["--no-cache"]].concat();

    let first = key_id(&stage.run(&no_cache).await);
    assert!(cache_files(&stage).is_empty(), "{:?}", names(&stage));

    let cached = ask(&stage).await;
    let before = fs_err::read(cache_file(&stage, "json")).unwrap();
    let held = fs_err::File::open(cache_file(&stage, "lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let second = key_id(&stage.run(&no_cache).await);
    let credentials = stage.path("credentials");
    let file = ["--credentials-file", credentials.to_str().unwrap()];
    let update = ["update", "--once", "--session", "bedrock", "--no-cache"];
    let ran: Ran = stage.run(&[&update[..], &file].concat()).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let written = fs_err::read_to_string(credentials).unwrap();
    let third = &stage.emulator.issued()[3].access_key_id;
    assert!(written.contains(third.as_str()), "{written}");
    let ids = std::collections::BTreeSet::from([&first, &cached, &second, third]);
    assert_eq!((ids.len(), stage.emulator.sessions_created()), (4, 4));
    assert_eq!(fs_err::read(cache_file(&stage, "json")).unwrap(), before);
}
