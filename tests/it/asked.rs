//! Which session a daemon's client gets: the one that it asked for, or none of the daemon's.

use anchord_core::event;
use std::process::Command;

use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::Leaf;
use rustix::process::Signal;

use crate::daemonless::ASK;
use crate::daemonless::key_id;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;

/// A daemon with the stage's session, and another role that AWS would give.
async fn start() -> (Stage, Daemon, String) {
    let other = "arn:aws:iam::123456789012:role/Other".to_owned();
    let stage = Stage::new().await;
    let daemon = stage.daemon().await;
    (stage, daemon, other)
}

async fn with_variables(stage: &Stage, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = process::anchord();
    command
        .args(arguments)
        .arg("--config")
        .arg(stage.path("anchord.toml"))
        .envs(process::home(stage.path("")));
    command.envs(variables.iter().copied());
    process::to_the_end(command).await
}

/// The role of what was printed.
fn role_of(stage: &Stage, ran: &Ran) -> String {
    let id = key_id(ran);
    let issued = stage.emulator.issued();
    issued.iter().find(|set| set.access_key_id == id).unwrap().role_arn.clone()
}

#[tokio::test]
async fn a_variable_that_names_another_role_gives_that_role_beside_a_daemon_too() {
    let (stage, daemon, other) = start().await;
    let variables = [("ANCHORD_ROLE_ARN", other.as_str())];

    let beside_it = with_variables(&stage, &ASK, &variables).await;
    drop(daemon);
    let alone = with_variables(&stage, &ASK, &variables).await;

    assert_eq!(role_of(&stage, &beside_it), other);
    assert_eq!(key_id(&alone), key_id(&beside_it));
}

#[tokio::test]
async fn every_verb_that_takes_the_daemons_credentials_takes_none_of_another_role() {
    let (stage, _daemon, other) = start().await;
    let variables = [("ANCHORD_ROLE_ARN", other.as_str())];
    let file = stage.path("written");
    let update = ["update", "--once", "--credentials-file", file.to_str().unwrap()];

    let updated = with_variables(&stage, &update, &variables).await;
    let key = with_variables(&stage, &["bedrock", "api-key"], &variables).await;

    assert_eq!((updated.code, key.code), (0, 0), "{updated:?} {key:?}");
    let issued = stage.emulator.issued();
    assert_eq!((issued.len(), issued[1].role_arn.as_str()), (2, other.as_str()), "the daemon's, and one");
    assert!(fs_err::read_to_string(&file).unwrap().contains(&issued[1].access_key_id));
}

#[tokio::test]
async fn what_is_said_as_the_daemon_has_it_is_the_daemons() {
    let (stage, _daemon, _) = start().await;
    let daemons = stage.emulator.issued()[0].access_key_id.clone();
    let same = [("ANCHORD_ROLE_ARN", stage.role.as_str()), ("ANCHORD_DURATION", "60m")];

    assert_eq!(key_id(&with_variables(&stage, &ASK, &same).await), daemons);
    assert_eq!(key_id(&with_variables(&stage, &ASK, &[("ANCHORD_REGION", "us-west-2")]).await), daemons);
    let flags = ["--duration", "3600", "--role-arn", &stage.role];
    assert_eq!(key_id(&stage.run(&[&ASK[..], &flags].concat()).await), daemons);
    assert_eq!(stage.emulator.sessions_created(), 1);
}

#[tokio::test]
async fn a_file_that_the_daemon_knows_by_another_path_is_the_same() {
    let (stage, _daemon, _) = start().await;
    fs_err::os::unix::fs::symlink(stage.path(""), stage.path("link")).unwrap();
    let link = stage.path("link/anchord.toml");
    let mut command = process::anchord();
    command.args(ASK).arg("--config").arg(&link).arg("--socket-path").arg(stage.socket());
    command.envs(process::home(stage.path("")));

    assert_eq!(key_id(&process::to_the_end(command).await), stage.emulator.issued()[0].access_key_id);
}

/// Its own file says which session is meant, and a daemon that has not read it yet has another.
#[tokio::test]
async fn a_file_of_ones_own_that_was_edited_gives_what_it_says_now() {
    let (stage, _daemon, other) = start().await;
    stage.configure(&stage.session("bedrock").replace(&stage.role, &other));
    let edited = stage.run(&ASK).await;
    stage.configure(&stage.session("new"));
    let new = stage.run(&["credential-process", "--session", "new"]).await;

    assert_eq!(role_of(&stage, &edited), other);
    assert_eq!(role_of(&stage, &new), stage.role, "the daemon knows no such session");
}

#[tokio::test]
async fn why_the_daemon_was_not_used_is_told_where_the_call_fails() {
    let (stage, _daemon, other) = start().await;
    fs_err::remove_file(stage.path("key.pem")).unwrap();

    let ran = with_variables(&stage, &ASK, &[("ANCHORD_ROLE_ARN", &other)]).await;

    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (1, "", 1), "{ran:?}");
    let told = "; the daemon was not used: the daemon's session `bedrock` has other settings than asked for: `role_arn`";
    assert!(ran.stderr.contains("key.pem") && ran.stderr.contains(told), "{}", ran.stderr);
}

/// As a program that knows of no settings asks: curl, or an SDK of our own making.
#[tokio::test]
async fn a_request_that_says_nothing_of_the_session_is_answered() {
    let (stage, _daemon, _) = start().await;
    let mut command = process::anchord();
    command.args(ASK).arg("--socket-path").arg(stage.socket()).envs(process::home(stage.path("nowhere")));

    assert_eq!(key_id(&process::to_the_end(command).await), stage.emulator.issued()[0].access_key_id);
}

/// A reload to another role, which AWS refuses.
#[tokio::test]
async fn what_a_daemon_still_holds_of_an_earlier_role_is_given_to_no_client_that_states_the_new_one() {
    let (stage, daemon, other) = start().await;
    let daemons = stage.emulator.issued()[0].access_key_id.clone();
    stage.emulator.always(Some(Fault::Denied { message: "not authorized".into() }));
    stage.configure(&stage.session("bedrock").replace(&stage.role, &other));
    daemon.signal(Signal::HUP);
    daemon.wait_for(event::CREDENTIALS_INHERITED).await;
    let mut unstated = process::anchord();
    unstated.args(ASK).arg("--socket-path").arg(stage.socket()).envs(process::home(stage.path("nowhere")));
    let mut by_flags = process::anchord();
    by_flags.args(["exec", "--config"]).arg(stage.path("anchord.toml")).args(["--role-arn", &other]);
    by_flags.args(["--", "true"]).envs(process::home(stage.path("")));

    let unstated = process::to_the_end(unstated).await;
    // A refusal is cached too.
    let stated = stage.run(&[&ASK[..], &["--no-cache"]].concat()).await;
    let executed = process::to_the_end(by_flags).await;
    stage.emulator.always(None);
    let granted = stage.run(&ASK).await;

    assert_eq!(key_id(&unstated), daemons);
    let told = "the daemon still hands out credentials of its earlier settings of session `bedrock`";
    for refused in [&stated, &executed] {
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
    }
    assert!(stated.stderr.contains("not authorized"), "it calls AWS itself: {stated:?}");
    assert!(executed.stderr.contains("anchord status"), "{executed:?}");
    assert_eq!(role_of(&stage, &granted), other);
}

const NO_MOUNTS: &str = "this user may have no mounts of their own";

/// The program as root of a host of its own, which has the stage's daemon as the system's and `system` as the system's
/// file. `None` where this user may have no mounts of their own.
fn as_root(stage: &Stage, system: &str) -> Option<Command> {
    on_a_host(stage, system, "exec \"$@\"")
}

/// The same as a user whom permissions bind: what nobody may read or use is closed to it. `prepared` runs before, as root.
fn as_a_user(stage: &Stage, system: &str, prepared: &str) -> Option<Command> {
    let bound = "exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    on_a_host(stage, system, &format!("{prepared} || exit 99; {bound}"))
}

fn on_a_host(stage: &Stage, system: &str, then: &str) -> Option<Command> {
    stage.write("system.toml", system);
    let mounted = format!(
        "mount -t tmpfs etc /etc && mount -t tmpfs run /run && mkdir /etc/anchord /run/anchord \
         && mount --bind run /run/anchord && cp system.toml /etc/anchord/anchord.toml || exit 99; {then}"
    );
    let in_it = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mounted, "sh", program]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.current_dir(stage.path("")).env_clear().env("PATH", path).envs(process::home(stage.path("")));
        command
    };
    let may_mount = in_it("true").output().is_ok_and(|output| output.status.success());
    may_mount.then(|| in_it(env!("CARGO_BIN_EXE_anchord")))
}

/// The stage's session, for a file that is elsewhere.
fn absolute(stage: &Stage) -> String {
    let here = |name: &str| format!("\"{}\"", stage.path(name).display());
    let table = stage.session("bedrock");
    let table = table.replace("\"leaf.pem\"", &here("leaf.pem")).replace("\"key.pem\"", &here("key.pem"));
    format!("[upstream]\nca_file = {}\n{table}", here("tls-ca.pem"))
}

#[tokio::test]
async fn roots_own_session_is_not_replaced_by_the_systems_of_that_name() {
    let (stage, _daemon, other) = start().await;
    let Some(mut command) = as_root(&stage, &absolute(&stage)) else {
        return not_played(NO_MOUNTS);
    };
    fs_err::create_dir_all(stage.path(".config/anchord")).unwrap();
    stage.write(".config/anchord/anchord.toml", &absolute(&stage).replace(&stage.role, &other));
    command.args(ASK);

    assert_eq!(role_of(&stage, &process::to_the_end(command).await), other);
}

/// The daemon goes on with what it has loaded, and so do its clients.
#[tokio::test]
async fn an_edit_of_the_systems_file_breaks_no_client_before_it_is_loaded() {
    let (stage, _daemon, other) = start().await;
    let Some(mut command) = as_root(&stage, &absolute(&stage).replace(&stage.role, &other)) else {
        return not_played(NO_MOUNTS);
    };
    command.args(ASK);

    assert_eq!(key_id(&process::to_the_end(command).await), stage.emulator.issued()[0].access_key_id);
}

/// Flags say all that is needed to ask, and the daemon has loaded its settings before the mistake was made.
#[tokio::test]
async fn a_mistake_in_the_settings_is_not_in_the_way_of_a_daemon_that_flags_name() {
    let (stage, daemon, _) = start().await;
    fs_err::create_dir_all(stage.path(".config/anchord")).unwrap();
    stage.write(".config/anchord/anchord.toml", "[session.bedrock\n");
    let ask = |arguments: &[&str]| {
        let mut command = process::anchord();
        command.args(ASK).args(arguments).envs(process::home(stage.path("")));
        process::to_the_end(command)
    };
    let socket = stage.socket().to_str().unwrap().to_owned();

    let by_flags = ask(&["--socket-path", &socket]).await;
    drop(daemon);
    let without = ask(&["--socket-path", &socket]).await;

    assert_eq!(key_id(&by_flags), stage.emulator.issued()[0].access_key_id);
    assert_eq!((without.code, without.stdout.as_str()), (1, ""));
    assert!(without.stderr.contains("anchord.toml:1: not TOML"), "{without:?}");
}

/// No file defines the session.
#[tokio::test]
async fn a_role_alone_is_answered_by_a_daemon_that_has_it_and_by_no_other() {
    let (stage, daemon, other) = start().await;
    let daemons = stage.emulator.issued()[0].access_key_id.clone();
    let ask = |role: &str, arguments: &[&str]| {
        let mut command = process::anchord();
        command.args(arguments).envs(process::home(stage.path("nowhere"))).env("ANCHORD_ROLE_ARN", role);
        command.env("ANCHORD_SOCKET_PATH", stage.socket());
        process::to_the_end(command)
    };
    let file = stage.path("written");
    let update = ["update", "--once", "--session", "bedrock", "--credentials-file", file.to_str().unwrap()];
    let exec = ["exec", "--session", "bedrock", "--", "true"];

    assert_eq!(key_id(&ask(&stage.role, &ASK).await), daemons);
    assert_eq!(key_id(&ask(&stage.role, &ASK[..1]).await), daemons, "the only one");
    assert_eq!(ask(&stage.role, &update).await.code, 0);
    assert_eq!(ask(&stage.role, &exec).await.code, 0);
    for verb in [&ASK[..], &update, &exec] {
        let refused = ask(&other, verb).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
        assert!(refused.stderr.contains("has other settings than asked for: `role_arn`"), "{refused:?}");
    }
    drop(daemon);
    let alone = ask(&other, &ASK).await;
    assert_eq!(alone.code, 1);
    let told = "no daemon runs, and session `bedrock` in ANCHORD_ROLE_ARN lacks `certificate`";
    assert!(alone.stderr.contains(told), "{alone:?}");
}

/// The variable says so as the flag does.
#[tokio::test]
async fn a_file_that_a_variable_names_is_ones_own_word_though_flags_name_the_daemon() {
    let (stage, _daemon, other) = start().await;
    stage.write("own.toml", &absolute(&stage).replace(&stage.role, &other));
    stage.write("mistaken.toml", "[session.bedrock\n");
    let ask = |file: &str| {
        let mut command = process::anchord();
        command.args(ASK).arg("--socket-path").arg(stage.socket()).envs(process::home(stage.path("")));
        command.env("ANCHORD_CONFIG", stage.path(file));
        process::to_the_end(command)
    };

    let own = ask("own.toml").await;
    let mistaken = ask("mistaken.toml").await;

    assert_eq!(role_of(&stage, &own), other);
    assert_eq!((mistaken.code, mistaken.stdout.as_str()), (1, ""), "{mistaken:?}");
    assert!(mistaken.stderr.contains("mistaken.toml:1: not TOML"), "{mistaken:?}");
}

#[tokio::test]
async fn the_status_of_a_daemon_that_a_flag_names_needs_no_settings_file() {
    let (stage, _daemon, other) = start().await;
    fs_err::create_dir_all(stage.path(".config/anchord")).unwrap();
    stage.write(".config/anchord/anchord.toml", "[session.bedrock\n");
    let mut command = process::anchord();
    command.args(["status", "--socket-path"]).arg(stage.socket()).envs(process::home(stage.path("")));
    command.env("ANCHORD_ROLE_ARN", &other);

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.contains("bedrock: live"), "{ran:?}");
}

#[tokio::test]
async fn access_keys_that_the_daemon_knows_by_another_path_are_the_same() {
    let (stage, _daemon, _) = start().await;
    fs_err::os::unix::fs::symlink(stage.path(""), stage.path("link")).unwrap();
    let session = |folder: &str| {
        let keys = stage.path(folder).join("keys");
        let text = format!(
            "[session.bedrock]\nsource = \"access-keys\"\nregion = \"us-east-1\"\naccess_keys = \"file:{}\"\n",
            keys.display()
        );
        stage.write("keys.toml", &text);
        let given = [("config", stage.path("keys.toml").to_str().unwrap().to_owned())];
        let given = given.iter().map(|(flag, value)| (*flag, value.as_str()));
        anchord_config::load_given(given, &anchord_config::Environment::from_iter([("A", "")])).unwrap()
    };
    let daemons = anchord_config::facts(session("").the_session().unwrap());

    let stated = session("link").stated_by_any_path();

    assert!(stated.iter().any(|fact| fact.option == "access_keys" && daemons.contains(fact)), "{stated:?}");
}

/// It may mean another session than the daemon's.
#[tokio::test]
async fn a_file_of_ones_own_that_cannot_be_read_is_told_and_no_daemon_asked() {
    let (stage, _daemon, _) = start().await;
    stage.write("mistaken.toml", "runtime_directory = \"run\"\n[session.bedrock\n");
    let mut command = process::anchord();
    command.args(ASK).arg("--config").arg(stage.path("mistaken.toml")).envs(process::home(stage.path("")));

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (1, "", 1), "{ran:?}");
    assert!(ran.stderr.contains("mistaken.toml:2: not TOML"), "{ran:?}");
}

#[tokio::test]
async fn a_mistake_in_the_systems_file_breaks_no_client_while_the_daemon_lives() {
    let (stage, daemon, _) = start().await;
    let ask = async || {
        let mut command = as_root(&stage, "[session.bedrock\n")?;
        command.args(ASK);
        Some(process::to_the_end(command).await)
    };
    let Some(beside_it) = ask().await else {
        return not_played(NO_MOUNTS);
    };
    drop(daemon);
    let alone = ask().await.unwrap();

    assert_eq!(key_id(&beside_it), stage.emulator.issued()[0].access_key_id);
    assert_eq!((alone.code, alone.stdout.as_str()), (1, ""));
    assert!(alone.stderr.contains("/etc/anchord/anchord.toml:1: not TOML"), "{alone:?}");
}

/// The host's settings may be read by all, its key and its socket by the daemon's user alone.
#[tokio::test]
async fn a_user_whom_the_daemon_keeps_out_is_sent_to_the_daemon_and_not_to_the_key() {
    let (stage, _daemon, _) = start().await;
    let closed = "chmod 0 key.pem run/anchord.sock";
    let ran = async |arguments: &[&str]| {
        let mut command = as_a_user(&stage, &absolute(&stage), closed)?;
        command.args(arguments);
        Some(process::to_the_end(command).await)
    };
    let Some(asked) = ran(&ASK).await else {
        return not_played(NO_MOUNTS);
    };
    let told =
        "a daemon listens on `/run/anchord/anchord.sock`, but this user may not use it: permission denied";

    assert_eq!((asked.code, asked.stdout.as_str(), asked.stderr.lines().count()), (1, "", 1), "{asked:?}");
    let update = ["update", "--once", "--credentials-file", "written"];
    let rest = [&["status"][..], &["exec", "--", "true"], &update, &["check"]];
    let mut all = vec![asked];
    for arguments in rest {
        all.push(ran(arguments).await.unwrap());
    }
    for ran in &all {
        assert_ne!(ran.code, 0, "{ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(told), "{ran:?}");
        assert!(!said.contains("let the daemon's user read it") && !said.contains("chmod"), "{ran:?}");
        assert!(said.contains("[socket]"), "the setting that decides: {ran:?}");
    }
}

/// `su` leaves the variable as it is.
#[tokio::test]
async fn a_user_with_anothers_runtime_directory_reaches_the_systems_daemon() {
    let (stage, _daemon, _) = start().await;
    fs_err::create_dir(stage.path("theirs")).unwrap();
    // Root's own default is another.
    let as_another = "chmod 0 theirs || exit 99; \
                      exec unshare --user --map-user=1000 setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let ran = async |arguments: &[&str]| {
        let mut command = on_a_host(&stage, &absolute(&stage), as_another)?;
        command.args(arguments).env("XDG_RUNTIME_DIR", stage.path("theirs"));
        Some(process::to_the_end(command).await)
    };
    let Some(asked) = ran(&ASK).await else {
        return not_played(NO_MOUNTS);
    };
    let status = ran(&["status"]).await.unwrap();

    assert_eq!(key_id(&asked), stage.emulator.issued()[0].access_key_id);
    assert!(status.code == 0 && status.stdout.contains("bedrock: live"), "{status:?}");
}

/// These look at the files themselves.
#[tokio::test]
async fn who_looks_at_a_closed_key_beside_a_daemon_is_not_told_to_open_it() {
    let (stage, _daemon, _) = start().await;
    let ran = async |arguments: &[&str]| {
        let mut command = as_a_user(&stage, &absolute(&stage), "chmod 0 key.pem leaf.pem")?;
        command.args(arguments);
        Some(process::to_the_end(command).await)
    };
    for arguments in [&["config", "check"][..], &["certificate", "show"], &["check"]] {
        let Some(ran) = ran(arguments).await else {
            return not_played(NO_MOUNTS);
        };

        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("clients of the daemon do not need this file"), "{said}");
        assert!(!said.contains("let the daemon's user read it"), "{said}");
    }
}

/// The certificate of these is open, so that the key alone is refused.
#[tokio::test]
async fn a_closed_key_of_an_open_certificate_beside_a_daemon_is_left_closed() {
    let (stage, _daemon, _) = start().await;
    for more in [&[][..], &["--json"]] {
        let Some(mut command) = as_a_user(&stage, &absolute(&stage), "chmod 0 key.pem") else {
            return not_played(NO_MOUNTS);
        };
        command.args(["certificate", "show"]).args(more);

        let ran = process::to_the_end(command).await;

        assert!(ran.stdout.contains("clients of the daemon do not need this file"), "{ran:?}");
        assert!(!ran.stdout.contains("let the daemon's user read it"), "{ran:?}");
    }
}

/// A shell may have a `LEAF` of its own, and one that has none means the daemon's.
#[tokio::test]
async fn a_client_with_another_certificate_in_the_variable_gets_none_of_the_daemons_credentials() {
    let stage = Stage::new().await;
    stage.configure(&stage.session_of("bedrock", "certificate = \"env:LEAF\"\nprivate_key = \"env:KEY\""));
    let with = |mut command: Command, leaf: &Leaf| {
        command.env("LEAF", leaf.certificate_pem()).env("KEY", leaf.key_pem(KeyForm::Pkcs8).unwrap());
        command
    };
    let asking = || {
        let mut command = process::anchord();
        command.args(ASK).arg("--config").arg(stage.path("anchord.toml"));
        command.envs(process::home(stage.path("")));
        command
    };
    let (own, other) = (stage.leaf(), stage.leaf());
    let mut run = process::anchord();
    run.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(with(run, &own));
    daemon.wait_for(event::DAEMON_READY).await;

    let without = key_id(&process::to_the_end(asking()).await);
    let same = key_id(&process::to_the_end(with(asking(), &own)).await);
    let others = key_id(&process::to_the_end(with(asking(), &other)).await);
    let mut unusable = asking();
    unusable.env("LEAF", "words").env("KEY", "words");
    let unusable = process::to_the_end(unusable).await;

    assert_eq!(without, same);
    assert_ne!(others, same);
    assert_eq!((unusable.code, unusable.stdout.as_str()), (1, ""), "{unusable:?}");
    assert_eq!(stage.emulator.issued().len(), 2, "the daemon's, and the other's own");
}

/// The key may be readable to whom the socket is not.
#[tokio::test]
async fn who_may_read_the_hosts_key_needs_no_daemon() {
    let (stage, _daemon, _) = start().await;
    let Some(mut command) = as_a_user(&stage, &absolute(&stage), "chmod 0 run/anchord.sock") else {
        return not_played(NO_MOUNTS);
    };
    command.args(ASK);

    let ran = process::to_the_end(command).await;

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(stage.emulator.issued().len(), 2, "it calls AWS itself");
}

#[tokio::test]
async fn a_client_that_the_daemon_serves_needs_no_settings_of_the_hosts() {
    let (stage, daemon, _) = start().await;
    let daemons = stage.emulator.issued()[0].access_key_id.clone();
    let ran = async |arguments: &[&str]| {
        let mut command = as_a_user(&stage, &absolute(&stage), "chmod 0 /etc/anchord/anchord.toml")?;
        command.args(arguments);
        Some(process::to_the_end(command).await)
    };
    let Some(only) = ran(&["credential-process"]).await else {
        return not_played(NO_MOUNTS);
    };

    assert_eq!(key_id(&only), daemons, "{only:?}");
    assert_eq!(key_id(&ran(&ASK).await.unwrap()), daemons);
    for arguments in [&["status"][..], &["exec", "--", "true"]] {
        let ran = ran(arguments).await.unwrap();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    }
    drop(daemon);
    let alone = ran(&ASK).await.unwrap();
    assert_eq!(alone.code, 1);
    assert!(alone.stderr.contains("this user may not read `/etc/anchord/anchord.toml`"), "{alone:?}");
}
