//! `update`: a profile of the shared credentials file.

use anchord_core::event;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anchord_emulator::Authority;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use rustix::process::Signal;

use anchord_testing::names_in;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process::PATIENCE;
use anchord_testing::stage::process::anchord;
use anchord_testing::stage::process::count_of;
use anchord_testing::stage::process::home;
use anchord_testing::stage::process::to_the_end;
use anchord_testing::stage::process::with_a_home_that_hangs;

fn key_id(path: &Path, profile: &str) -> Option<String> {
    let text = fs_err::read_to_string(path).ok()?;
    let section = text.split(&format!("[{profile}]\n")).nth(1)?.split("\n[").next()?.to_owned();
    let line = section.lines().find_map(|line| line.strip_prefix("aws_access_key_id = "))?;
    Some(line.to_owned())
}

const ONCE: [&str; 4] = ["update", "--once", "--session", "bedrock"];

/// What the log says when the reserve of a minute begins.

#[tokio::test]
async fn once_writes_the_file_in_a_folder_of_its_own_and_says_nothing() {
    let stage = Stage::new().await;

    let ran = stage.run(&ONCE).await;

    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let path = stage.path(".aws/credentials");
    assert!(key_id(&path, "default").unwrap().starts_with("ASIA"));
    assert_eq!(fs_err::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs_err::metadata(stage.path(".aws")).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn other_profiles_stay_byte_for_byte() {
    let stage = Stage::new().await;
    let before = "# mine\r\n[other]\naws_access_key_id = AKIAOTHER\n\n[work]\nregion = eu-west-1";
    stage.write("mine", before);
    let file = stage.path("mine");
    let arguments =
        [&ONCE[..], &["--profile", "work", "--credentials-file", file.to_str().unwrap()]].concat();

    let ran = stage.run(&arguments).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let text = fs_err::read_to_string(&file).unwrap();
    assert!(
        text.starts_with(
            "# mine\r\n[other]\naws_access_key_id = AKIAOTHER\n\n[work]\naws_access_key_id = ASIA"
        )
    );
    assert!(text.ends_with("\nregion = eu-west-1"), "{text}");
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_a_line_and_the_file_stays() {
    let stage = Stage::new().await;
    stage.write("mine", "[default]\naws_access_key_id = AKIAOLD\n");
    let file = stage.path("mine");
    let place = ["--credentials-file", file.to_str().unwrap()];
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let refused = stage.run(&[&ONCE[..], &place].concat()).await;
    let unnameable = stage.run(&[&ONCE[..], &["--profile", "a]b"]].concat()).await;
    let folder = stage.run(&[&ONCE[..], &["--credentials-file", "/"]].concat()).await;

    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("Unable to assume role"), "{}", refused.stderr);
    assert_eq!(key_id(&file, "default").unwrap(), "AKIAOLD");
    assert!(
        unnameable.stderr.contains("--profile: a profile's name must not contain"),
        "{}",
        unnameable.stderr
    );
    assert_ne!(folder.code, 0);
}

/// The verb in the foreground, writing the usual file's `work`.
fn updater(stage: &Stage, configuration: &str, more: &[&str]) -> Daemon {
    let mut command = anchord();
    command.arg("update").arg("--config").arg(stage.path(configuration)).args(more);
    command.args(["--session", "bedrock", "--profile", "work"]).envs(home(stage.path("")));
    Daemon::of(command)
}

/// Eight seconds more than those of the end in which nothing is handed out: a renewal is due after two of them.
async fn stage_of_short_lives() -> Stage {
    Stage::with(|setup| setup.profiles[0].duration_seconds = 68).await
}

#[tokio::test]
async fn in_the_foreground_it_writes_and_ends_at_sigterm_and_at_ctrl_c() {
    for signal in [Signal::TERM, Signal::INT] {
        let stage = Stage::new().await;
        let updater = updater(&stage, "anchord.toml", &[]);

        updater.wait_for(event::FILE_WRITTEN).await;

        assert!(key_id(&stage.path(".aws/credentials"), "work").unwrap().starts_with("ASIA"));
        updater.signal(signal);
        let (code, output) = updater.ended().await;
        assert_eq!(code, 0, "{output}");
        stage.assert_no_secrets(&output, &[]);
    }
}

#[tokio::test]
async fn in_the_foreground_the_file_is_renewed_ahead_of_its_end() {
    let stage = stage_of_short_lives().await;
    let updater = updater(&stage, "anchord.toml", &[]);

    updater.wait_for_nth(event::FILE_WRITTEN, 3).await;

    let (code, output) = updater.stop().await;
    assert_eq!(code, 0, "{output}");
    let issued = stage.emulator.issued();
    assert_eq!(
        key_id(&stage.path(".aws/credentials"), "work").unwrap(),
        issued.last().unwrap().access_key_id
    );
    for pair in issued.windows(2) {
        let between = pair[1].expires_at - pair[0].expires_at;
        assert!((1..=7).contains(&between.whole_seconds()), "not at once, and in time: {between}");
    }
    for trouble in [event::CREDENTIALS_RENEWAL_FAILED, event::CREDENTIALS_EXPIRED] {
        assert_eq!(count_of(trouble, &output), 0, "{output}");
    }
}

#[tokio::test]
async fn in_the_foreground_an_outage_leaves_the_file_as_it_is_until_aws_is_back() {
    let mut stage = stage_of_short_lives().await;
    let file = stage.path(".aws/credentials");
    let updater = updater(&stage, "anchord.toml", &[]);
    updater.wait_for(event::FILE_WRITTEN).await;
    stage.emulator.stop().await;

    let told = updater.wait_for(event::CREDENTIALS_RENEWAL_FAILED).await;
    let before = fs_err::read(&file).unwrap();
    let expired = updater.wait_for(event::CREDENTIALS_WITHHELD).await;

    assert_eq!((told["class"].as_str(), told["session"].as_str()), (Some("transient"), Some("bedrock")));
    assert_eq!(expired["class"], "transient");
    assert_eq!(fs_err::read(&file).unwrap(), before);
    stage.emulator.restart().await.unwrap();
    updater.wait_for(event::CREDENTIALS_RECOVERED).await;
    updater
        .wait_for_line(event::FILE_WRITTEN, 1, |line| {
            let last =
                stage.emulator.issued().last().map(|issued| anchord_core::clock::rfc3339(issued.expires_at));
            line["event"] == event::FILE_WRITTEN && line["ends_at"].as_str() == last.as_deref()
        })
        .await;
    assert_ne!(fs_err::read(&file).unwrap(), before);
    assert_eq!(updater.stop().await.0, 0);
}

#[tokio::test]
async fn in_the_foreground_a_refusal_is_told_once_with_what_to_do() {
    let stage = stage_of_short_lives().await;
    let updater = updater(&stage, "anchord.toml", &[]);
    updater.wait_for(event::FILE_WRITTEN).await;
    let before = fs_err::read(stage.path(".aws/credentials")).unwrap();
    stage.emulator.set_trust_policy_refusal(&stage.role, true);

    let told = updater.wait_for(event::CREDENTIALS_RENEWAL_FAILED).await;
    updater.wait_for(event::CREDENTIALS_WITHHELD).await;

    assert_eq!(told["class"], "denied");
    assert!(told["error"].as_str().unwrap().contains("Unable to assume role"), "{told}");
    assert!(told["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{told}");
    let (code, output) = updater.stop().await;
    assert_eq!((code, count_of(event::CREDENTIALS_RENEWAL_FAILED, &output)), (0, 1), "{output}");
    let refusals = stage.emulator.requests().iter().filter(|request| request.status == Some(403)).count();
    assert_eq!(refusals, 1, "an administrator is given time");
    assert_eq!(fs_err::read(stage.path(".aws/credentials")).unwrap(), before);
}

/// The first is refused, and the next attempt would be minutes away; the second would hold for an hour.
#[tokio::test]
async fn in_the_foreground_another_certificate_is_used_as_soon_as_it_is_there() {
    let stage = Stage::of_short_sessions().await;
    let leaf = |root: &Authority| root.leaf(&LeafRequest::new("robot-7", KeyKind::P256)).unwrap();
    stage.install(&leaf(&Authority::root("nobody's", KeyKind::P256).unwrap()));
    let updater = updater(&stage, "anchord.toml", &[]);
    updater.wait_for(event::CREDENTIALS_UNAVAILABLE).await;

    stage.install(&leaf(&stage.root));
    updater.wait_for(event::FILE_WRITTEN).await;
    // Later credentials end later: AWS's dates have whole seconds.
    stage.emulator.set_clock_offset(time::Duration::seconds(2));
    stage.install(&leaf(&stage.root));
    updater.wait_for_nth(event::FILE_WRITTEN, 2).await;

    let issued = stage.emulator.issued();
    assert_eq!(issued.len(), 2);
    assert_eq!(key_id(&stage.path(".aws/credentials"), "work").unwrap(), issued[1].access_key_id);
    assert_eq!(updater.stop().await.0, 0);
}

#[tokio::test]
async fn in_the_foreground_it_follows_the_daemon_and_calls_nobody_else() {
    let stage = stage_of_short_lives().await;
    let daemon = stage.daemon().await;
    // No session, no certificate: only the daemon can give it anything.
    stage.write("client.toml", "[log]\nformat = \"json\"\n");
    let socket = stage.socket();
    let updater = updater(&stage, "client.toml", &["--socket-path", socket.to_str().unwrap()]);

    updater.wait_for_nth(event::FILE_WRITTEN, 3).await;

    let written = key_id(&stage.path(".aws/credentials"), "work").unwrap();
    assert!(stage.emulator.issued().iter().any(|issued| issued.access_key_id == written));
    assert_eq!(daemon.stop().await.0, 0);
    let hint = "start the daemon";
    updater
        .wait_for_line(hint, 1, |line| line["hint"].as_str().is_some_and(|told| told.contains(hint)))
        .await;
    assert_eq!(updater.stop().await.0, 0);
}

/// The daemon's user may be the only one who can read it.
#[tokio::test]
async fn in_the_foreground_nobody_looks_at_a_certificate_while_a_daemon_answers() {
    let stage = stage_of_short_lives().await;
    let daemon = stage.daemon().await;
    // The daemon goes on with the one that it has loaded.
    fs_err::remove_file(stage.path("leaf.pem")).unwrap();
    let socket = stage.socket();
    let updater = updater(&stage, "anchord.toml", &["--socket-path", socket.to_str().unwrap()]);

    updater.wait_for_nth(event::FILE_WRITTEN, 3).await;

    let output = updater.stop().await.1;
    assert!(!output.contains("leaf.pem"), "{output}");
    assert_eq!(daemon.stop().await.0, 0);
}

/// Its daemon was away for a while. It is the daemon's business again, whose credentials are not there any sooner.
#[tokio::test]
async fn in_the_foreground_certificates_are_the_daemons_again_once_it_is_back() {
    let stage = stage_of_short_lives().await;
    let socket = stage.socket();
    let updater = updater(&stage, "anchord.toml", &["--socket-path", socket.to_str().unwrap()]);
    updater.wait_for(event::CERTIFICATE_LOADED).await;
    updater.wait_for(event::FILE_WRITTEN).await;
    let daemon = stage.daemon().await;
    updater.wait_for_nth(event::FILE_WRITTEN, 3).await;

    stage.write("leaf.pem", "half a certificate");
    daemon.wait_for(event::CERTIFICATE_REFUSED).await;
    updater.wait_for_nth(event::FILE_WRITTEN, 5).await;

    let output = updater.stop().await.1;
    for trouble in
        [event::CERTIFICATE_REFUSED, event::CERTIFICATE_UNAVAILABLE, event::CREDENTIALS_RENEWAL_FAILED]
    {
        assert_eq!(count_of(trouble, &output), 0, "{output}");
    }
    assert_eq!(daemon.stop().await.0, 0);
}

#[tokio::test]
async fn in_the_foreground_it_ends_at_sigterm_while_the_home_hangs() {
    let stage = Stage::new().await;
    let Some(mut command) = with_a_home_that_hangs(&stage) else {
        println!("not shown here: this user may have no mounts of their own");
        return;
    };
    command.arg("update").arg("--config").arg(stage.path("anchord.toml")).args(["--session", "bedrock"]);
    let updater = Daemon::of(command);
    // It reads the cache as soon as it takes signals, and until then there is nothing to be seen of it.
    let status = format!("/proc/{}/status", updater.id());
    let takes_sigterm = || {
        let status = fs_err::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
        u64::from_str_radix(caught, 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0
    };
    let taken = async {
        while !takes_sigterm() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();

    updater.signal(Signal::TERM);

    let (code, output) = updater.ended().await;
    assert_eq!(code, 0, "{output}");
    assert_eq!(count_of(event::UPDATE_STOPPED, &output), 1, "{output}");
}

#[tokio::test]
async fn the_daemon_writes_several_profiles_and_follows_a_reload() {
    let stage = Stage::new().await;
    let file =
        |name: &str, lines: &str| format!("[credentials_file.{name}]\npath = \"aws/{name}\"\n{lines}\n");
    let session = stage.session("bedrock");
    stage.configure(&format!("{session}{}{}", file("one", "profile = \"work\""), file("two", "")));
    let daemon = stage.daemon().await;

    daemon.wait_for_nth(event::FILE_WRITTEN, 2).await;
    assert!(key_id(&stage.path("aws/one"), "work").unwrap().starts_with("ASIA"));
    assert_eq!(key_id(&stage.path("aws/one"), "work"), key_id(&stage.path("aws/two"), "default"));

    stage.configure(&format!("{session}{}", file("three", "session = \"bedrock\"")));
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth(event::FILE_WRITTEN, 3).await;
    assert_eq!(key_id(&stage.path("aws/three"), "default"), key_id(&stage.path("aws/two"), "default"));
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0);
    stage.assert_no_secrets(&output, &[]);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_costs_the_daemon_nothing() {
    let stage = Stage::new().await;
    let session = stage.session("bedrock");
    stage.configure(&format!(
        "{session}[credentials_file.bad]\npath = \"run\"\n[credentials_file.good]\npath = \"good\"\n"
    ));
    let daemon = stage.daemon().await;

    daemon.wait_for(event::FILE_WRITTEN).await;
    let told = daemon.wait_for(event::FILE_NOT_WRITTEN).await;

    assert!(told.to_string().contains("is not a regular file"), "{told}");
    assert!(key_id(&stage.path("good"), "default").is_some());
    assert_eq!(daemon.stop().await.0, 0);
}

#[tokio::test]
async fn mistakes_in_a_table_are_told_with_their_lines() {
    let stage = Stage::new().await;
    let table = "[credentials_file.a]\nprofil = \"x\"\n[credentials_file.b]\nsession = \"none\"\npath = \"b\"\n\
                 [credentials_file.c]\nprofile = \"a]b\"\npath = \"c\"\n";
    stage.configure(&format!("{}{table}", stage.session("bedrock")));

    let ran = stage.run(&["config", "check"]).await;

    assert_ne!(ran.code, 0);
    for told in ["unknown key `profil`", "there is no session `none`", "a profile's name must not contain"] {
        assert!(ran.stderr.contains(told), "{told}: {}{}", ran.stdout, ran.stderr);
    }
}

/// Whenever it is killed, the file is the old or the new one. All of the thousand kills where nothing may be left out.
#[tokio::test]
async fn a_killed_update_leaves_a_whole_file() {
    let kills = if std::env::var_os("ANCHORD_TEST_ALL").is_some() { 1000 } else { 100 };
    let stage = Stage::new().await;
    let file = stage.path("mine");
    let others = "# a line that is there to be kept, whatever happens to the program\n".repeat(2000);
    let old = format!("[default]\naws_access_key_id = AKIAOLD\nregion = eu-west-1\n[other]\n{others}");
    let arguments = [&ONCE[..], &["--credentials-file", file.to_str().unwrap()]].concat();
    // The first calls AWS; those to come find the cache.
    assert_eq!(stage.run(&arguments).await.code, 0);
    stage.write("mine", &old);
    let started = tokio::time::Instant::now();
    assert_eq!(stage.run(&arguments).await.code, 0);
    let whole = started.elapsed();
    let new = fs_err::read_to_string(&file).unwrap();
    let (mut old_ones, mut new_ones) = (0, 0);

    for kill in 0..kills {
        stage.write("mine", &old);
        let mut command = anchord();
        command.args(&arguments).arg("--config").arg(stage.path("anchord.toml")).envs(home(stage.path("")));
        let mut child = command.spawn().unwrap();
        // Spread over the run's whole length, in an order that has nothing to do with it.
        let after = whole * (kill * 37 % 150) / 100;
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
        match fs_err::read_to_string(&file).unwrap() {
            text if text == old => old_ones += 1,
            text if text == new => new_ones += 1,
            text => panic!("neither the old nor the new file: {} bytes", text.len()),
        }
    }

    assert!(old_ones > 0 && new_ones > 0, "{old_ones} old, {new_ones} new: the kills missed the writing");
    assert_eq!(stage.run(&arguments).await.code, 0);
    let left = fs_err::read_dir(stage.path("")).unwrap();
    let left =
        left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".anchord-"));
    assert_eq!(left.count(), 0, "what killed writers left is swept away");
}

/// `update --once` into `file`, as a user whom permissions bind: root without its capabilities is one.
async fn run_bound(stage: &Stage, file: &Path) -> Ran {
    let anchord = anchord();
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(anchord.get_program()).env_clear();
            command
        }
        false => anchord,
    };
    command.args(ONCE).arg("--config").arg(stage.path("anchord.toml")).envs(home(stage.path("")));
    command.arg("--credentials-file").arg(file);
    to_the_end(command).await
}

const OLD: &str = "[default]\naws_access_key_id = AKIAOLD\n";

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A limit on the size of files stands for a disk that is full: writing fails half-way.
#[tokio::test]
async fn where_there_is_no_room_the_old_file_is_whole_and_nothing_lies_about() {
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("aws")).unwrap();
    let file = stage.path("aws/credentials");
    // Into the cache, which is to have room.
    assert_eq!(stage.run(&ONCE).await.code, 0);
    let old = format!("{OLD}{}", "# a line that is there to be kept\n".repeat(4000));
    fs_err::write(&file, &old).unwrap();
    let mut command = Command::new("sh");
    // Blocks are of 512 or of 1024 bytes, by the shell.
    command.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_anchord")]).args(ONCE);
    command.arg("--config").arg(stage.path("anchord.toml")).arg("--credentials-file").arg(&file);

    command.env_clear().envs(home(stage.path("")));

    let ran = to_the_end(command).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    let told = format!("anchord: cannot write `{}`: File too large", file.display());
    assert!(ran.stderr.starts_with(&told), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: raise the limit on the size of files"), "{}", ran.stderr);
    assert_eq!(fs_err::read_to_string(&file).unwrap(), old);
    assert_eq!(names_in(&stage.path("aws")), [".credentials.lock", "credentials"]);
}

/// A disk that only this test sees, of four pages.
#[tokio::test]
async fn on_a_full_disk_the_old_file_is_whole_and_nothing_lies_about() {
    let own_mounts = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(own_mounts).arg("true").status().is_ok_and(|status| status.success()) {
        println!("not shown here: this user may have no mounts of their own");
        return;
    }
    let stage = Stage::new().await;
    assert_eq!(stage.run(&ONCE).await.code, 0, "into the cache, which is to have room");
    let old = format!("{OLD}{}", "# a line that is there to be kept\n".repeat(250));
    fs_err::write(stage.path("old"), &old).unwrap();
    fs_err::create_dir(stage.path("disk")).unwrap();
    let script = "mount -t tmpfs -o size=16k tmpfs disk && cp old disk/credentials || exit 99
        \"$0\" \"$@\"; code=$?
        cp disk/credentials new; ls -A disk > names; exit $code";
    let mut command = Command::new("unshare");
    command.args(own_mounts).args(["sh", "-c", script, env!("CARGO_BIN_EXE_anchord")]).args(ONCE);
    command.arg("--config").arg(stage.path("anchord.toml"));
    command.arg("--credentials-file").arg(stage.path("disk/credentials"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.current_dir(stage.path("")).env_clear().env("PATH", path).envs(home(stage.path("")));

    let ran = to_the_end(command).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("credentials`: No space left on device"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: make room on the file system of `"), "{}", ran.stderr);
    assert_eq!(fs_err::read_to_string(stage.path("new")).unwrap(), old);
    assert_eq!(fs_err::read_to_string(stage.path("names")).unwrap(), ".credentials.lock\ncredentials\n");
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_to_is_named() {
    let stage = Stage::new().await;
    for (folder, has_lock) in [("empty", false), ("used", true)] {
        let folder = stage.path(folder);
        fs_err::create_dir(&folder).unwrap();
        let file = folder.join("credentials");
        fs_err::write(&file, OLD).unwrap();
        if has_lock {
            fs_err::write(folder.join(".credentials.lock"), "").unwrap();
        }
        set_mode(&folder, 0o500);

        let ran = run_bound(&stage, &file).await;

        set_mode(&folder, 0o700);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        let told = if has_lock {
            "credentials`: Permission denied"
        } else {
            ".credentials.lock`: Permission denied"
        };
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        let hint = format!("hint: let this user write to the directory `{}`", folder.display());
        assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
        assert_eq!(fs_err::read_to_string(&file).unwrap(), OLD);
        assert!(names_in(&folder).iter().all(|name| !name.contains(".anchord-")), "{:?}", names_in(&folder));
    }
}

#[tokio::test]
async fn another_users_file_is_left_to_them() {
    if !rustix::process::geteuid().is_root() {
        println!("not shown here: only root can make a file of another user");
        return;
    }
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("aws")).unwrap();
    let file = stage.path("aws/credentials");
    fs_err::write(&file, OLD).unwrap();
    set_mode(&file, 0o644);
    std::os::unix::fs::chown(&file, Some(12345), None).unwrap();

    let ran = run_bound(&stage, &file).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("belongs to user 12345, not to this user"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: run as user 12345, or choose another path"), "{}", ran.stderr);
    assert_eq!(
        (fs_err::read_to_string(&file).unwrap().as_str(), fs_err::metadata(&file).unwrap().uid()),
        (OLD, 12345)
    );
    assert_eq!(names_in(&stage.path("aws")), [".credentials.lock", "credentials"]);
}

/// In a group of its own it would be closed to those who read it.
#[tokio::test]
async fn a_file_whose_group_cannot_be_kept_stays_as_it_is() {
    if !rustix::process::geteuid().is_root() {
        println!("not shown here: only root can give a file to a group that it is then no member of");
        return;
    }
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("aws")).unwrap();
    let file = stage.path("aws/credentials");
    fs_err::write(&file, OLD).unwrap();
    std::os::unix::fs::chown(&file, None, Some(12345)).unwrap();

    let ran = run_bound(&stage, &file).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("belongs to group 12345, and this user cannot give files to that group"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("hint: make this user a member of group 12345"), "{}", ran.stderr);
    let kept = fs_err::metadata(&file).unwrap();
    assert_eq!((fs_err::read_to_string(&file).unwrap().as_str(), kept.gid()), (OLD, 12345));
    assert_eq!(names_in(&stage.path("aws")), [".credentials.lock", "credentials"]);
}

/// Programs of theirs have to read the file, and their own `update` has to take the lock.
#[tokio::test]
async fn what_root_makes_in_a_users_folder_is_the_users() {
    if !rustix::process::geteuid().is_root() {
        println!("not shown here: only root can make a folder of another user");
        return;
    }
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("home")).unwrap();
    std::os::unix::fs::chown(stage.path("home"), Some(12345), Some(54321)).unwrap();
    let file = stage.path("home/new/.aws/credentials");

    let ran = stage.run(&[&ONCE[..], &["--credentials-file", file.to_str().unwrap()]].concat()).await;

    assert_eq!(ran.code, 0, "{ran:?}");
    for name in ["new", "new/.aws", "new/.aws/credentials", "new/.aws/.credentials.lock"] {
        let found = fs_err::metadata(stage.path("home").join(name)).unwrap();
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (12345, 54321, mode), "{name}");
    }
}

#[tokio::test]
async fn a_link_is_followed_and_a_folder_in_the_files_place_is_left_alone() {
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("dotfiles")).unwrap();
    fs_err::write(stage.path("dotfiles/aws"), OLD).unwrap();
    fs_err::create_dir(stage.path(".aws")).unwrap();
    std::os::unix::fs::symlink("../dotfiles/aws", stage.path(".aws/credentials")).unwrap();

    let ran = stage.run(&ONCE).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(fs_err::symlink_metadata(stage.path(".aws/credentials")).unwrap().is_symlink());
    assert!(key_id(&stage.path("dotfiles/aws"), "default").unwrap().starts_with("ASIA"));

    fs_err::create_dir(stage.path("aws")).unwrap();
    fs_err::create_dir(stage.path("aws/credentials")).unwrap();
    let pipe = stage.path("aws/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let folders = [stage.path("aws/credentials"), "/".into(), stage.path("aws/.."), stage.path("aws/none/")];
    for folder in folders.into_iter().chain([pipe]) {
        let ran = stage.run(&[&ONCE[..], &["--credentials-file", folder.to_str().unwrap()]].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        let told =
            format!("anchord: `{}` is not a regular file\n  hint: choose another path\n", folder.display());
        assert_eq!(ran.stderr, told);
    }
    assert_eq!(names_in(&stage.path("aws")), ["credentials", "pipe"], "not even a lock");
    assert!(!Path::new("..lock").exists());
}

#[tokio::test]
async fn a_users_own_keys_are_not_written_into_a_file() {
    let stage = Stage::new().await;
    stage.write("keys", "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    stage.configure(
        "[imds]\nenabled = false\n[session.bedrock]\nsource = \"access-keys\"\naccess_keys = \"file:keys\"\n\
         get_session_token = false\nregion = \"us-east-1\"\n",
    );
    let file = stage.path("aws/credentials");

    let ran = stage.run(&["update", "--once", "--credentials-file", file.to_str().unwrap()]).await;

    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("long-term access keys are not written")
            && ran.stderr.contains("get_session_token"),
        "{ran:?}"
    );
    assert!(!file.exists());
}

#[tokio::test]
async fn a_file_that_boto3_cannot_parse_is_written_with_a_warning() {
    let stage = Stage::new().await;
    for (text, expected) in [
        ("\u{feff}[other]\nregion = x\n", "it begins with a byte order mark"),
        ("[q]\na=b\n[other]\n[q]\na=b\n", "line 4 repeats the section [q] of line 1"),
    ] {
        stage.write("credentials", text);

        let ran = stage
            .run(&[&ONCE[..], &["--credentials-file", stage.path("credentials").to_str().unwrap()]].concat())
            .await;

        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
        let warning = "anchord: warning: boto3 and the AWS CLI cannot read `";
        assert!(ran.stderr.starts_with(warning) && ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(key_id(&stage.path("credentials"), "default").is_some());
    }
}
