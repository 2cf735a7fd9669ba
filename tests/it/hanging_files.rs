//! A certificate on a file system whose server is gone.

use anchord_core::event;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::process::with_a_home_that_hangs;

/// Moves the link that the settings name to another folder, at once as tools do.
fn point_to(stage: &Stage, folder: &str) {
    let next = stage.path("next");
    fs_err::os::unix::fs::symlink(folder, &next).unwrap();
    fs_err::rename(next, stage.path("now")).unwrap();
}

fn threads(daemon: &Daemon) -> usize {
    fs_err::read_dir(format!("/proc/{}/task", daemon.id())).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_folder_that_hangs_is_reported_while_what_lives_is_served() {
    const SESSIONS: usize = 30;
    let stage = Stage::new().await;
    let Some(mut command) = with_a_home_that_hangs(&stage) else {
        eprintln!("not played: this user may have no mounts of its own");
        assert!(std::env::var_os("ANCHORD_TEST_ALL").is_none());
        return;
    };
    fs_err::create_dir(stage.path("good")).unwrap();
    for file in ["leaf.pem", "key.pem"] {
        fs_err::copy(stage.path(file), stage.path("good").join(file)).unwrap();
    }
    point_to(&stage, "good");
    let mut tables = "[imds]\nsession = \"s0\"\n".to_owned();
    for number in 0..SESSIONS {
        let identity = "certificate = \"now/leaf.pem\"\nprivate_key = \"now/key.pem\"";
        tables.push_str(&stage.session_of(&format!("s{number}"), identity));
    }
    stage.configure(&tables);
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;
    let issued = client::socket(&stage.socket(), "s0").await.key_id();

    point_to(&stage, "home");

    let line = daemon.wait_for_nth(event::CERTIFICATE_REFUSED, SESSIONS).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("now/leaf.pem") && error.contains("could not be read within 5 s"), "{line}");
    assert_eq!(line["hint"], "check whether its file system still answers");
    let status = stage.run(&["status"]).await;
    assert_eq!(status.code, 1, "they live, and their certificate cannot be read: {status:?}");
    assert_eq!(status.stdout.matches("could not be read within 5 s").count(), SESSIONS, "{}", status.stdout);
    assert!(
        status.stdout.contains("\n  hint: check whether its file system still answers\n"),
        "{}",
        status.stdout
    );
    assert_eq!(client::socket(&stage.socket(), "s0").await.key_id(), issued);
    assert_eq!(client::imds(&daemon.http().await).await.key_id(), issued);
    // Its workers, the log's thread, and those of what blocked before: not one for each session that hangs.
    let hanging = blocked_in_fuse(&daemon);
    assert!(hanging <= 1, "{hanging} of {} threads hang", threads(&daemon));
    let (code, output) = daemon.stop().await;
    assert_eq!(code, 0, "{output}");
}

/// How many threads wait for the file system that never answers; 0 where this user may not see that.
fn blocked_in_fuse(daemon: &Daemon) -> usize {
    let tasks = fs_err::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
    let place = |task: fs_err::DirEntry| fs_err::read_to_string(task.path().join("wchan")).ok();
    tasks.filter_map(|task| place(task.ok()?)).filter(|place| place.contains("fuse")).count()
}
