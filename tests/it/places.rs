//! A daemon on a host that lacks what its settings name: an address, a place to write to.

use anchord_core::event;
use std::process::Command;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;

/// No host of the tests has it.
const MISSING: &str = "169.254.170.23:9";

fn listening_on(stage: &Stage, addresses: &str) {
    stage.configure(&stage.session("bedrock"));
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("\"127.0.0.1:0\"", addresses));
}

#[tokio::test]
async fn an_address_that_the_host_lacks_is_waited_for_while_the_others_serve() {
    let stage = Stage::new().await;
    listening_on(&stage, &format!("\"127.0.0.1:0\", \"{MISSING}\""));
    let daemon = stage.daemon().await;

    let line = daemon.wait_for(event::LISTENER_ADDRESS_MISSING).await;
    let status = stage.run(&["status"]).await;
    let json = stage.run(&["status", "--json"]).await;

    assert_eq!((&line["level"], &line["address"]), (&"WARN".into(), &MISSING.into()));
    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
    assert_eq!(status.code, 0, "{status:?}");
    let told = format!("http://{MISSING} is not served: this host does not have the address yet");
    assert!(status.stdout.contains(&told), "{status:?}");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["listeners"]["waiting"], serde_json::json!([format!("http://{MISSING}")]));
}

/// The interface may come after the daemon.
#[tokio::test]
async fn a_daemon_whose_addresses_are_all_missing_serves_its_socket() {
    let stage = Stage::new().await;
    listening_on(&stage, &format!("\"{MISSING}\""));
    let _daemon = stage.daemon().await;

    let status = stage.run(&["status"]).await;

    assert!(status.stdout.contains(MISSING) && status.stdout.contains("bedrock: live"), "{status:?}");
}

#[tokio::test]
async fn a_port_in_use_ends_the_daemon_though_another_address_is_missing() {
    let stage = Stage::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    listening_on(&stage, &format!("\"{MISSING}\", \"{}\"", taken.1));

    let ran = stage.run(&["run"]).await;

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("Address already in use"), "{ran:?}");
}

/// In a network of its own, which gets the address later. AWS cannot be reached from there.
#[tokio::test]
async fn an_address_that_appears_is_served() {
    let stage = Stage::new().await;
    let in_a_network = |program: &str| {
        let mut command = Command::new("unshare");
        // While there is no address at all, the kernel takes any.
        let up = "ip link set lo up || exit 99; exec \"$@\"";
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", up, "sh", program]).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    };
    let has_tools = in_a_network("true").output();
    let may_enter = Command::new("nsenter").arg("--version").output().is_ok();
    if !may_enter || !has_tools.is_ok_and(|output| output.status.success()) {
        return not_played("this user may have no network of their own");
    }
    listening_on(&stage, "\"169.254.170.23:0\"");
    let mut command = in_a_network(env!("CARGO_BIN_EXE_anchord"));
    command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    daemon.wait_for(event::LISTENER_ADDRESS_MISSING).await;

    let id = daemon.id().to_string();
    let mut up = Command::new("nsenter");
    up.args(["--target", &id, "--user", "--net", "--preserve-credentials"]);
    up.args(["ip", "address", "add", "169.254.170.23/32", "dev", "lo"]);
    let up = process::to_the_end(up).await;
    assert_eq!(up.code, 0, "{up:?}");

    daemon.wait_for(event::LISTENER_ADDRESS_APPEARED).await;
    let status = stage.run(&["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert!(json["listeners"].get("waiting").is_none(), "{json}");
    assert!(json["listeners"]["http"][0].as_str().unwrap().starts_with("http://169.254.170.23:"), "{json}");
}

const IMDS_ALONE: [&str; 4] = ["--socket-enabled", "false", "--container-enabled", "false"];

/// Under a file nothing can be made, by root neither.
fn without_a_place(stage: &Stage) {
    stage.configure(&stage.session("bedrock"));
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("\"run\"", "\"leaf.pem/run\""));
}

#[tokio::test]
async fn imds_alone_is_served_where_nothing_can_be_written() {
    let stage = Stage::new().await;
    without_a_place(&stage);
    let mut command = process::anchord();
    command.arg("run").args(IMDS_ALONE).arg("--config").arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    let address = daemon.http().await;
    let token = client::imds_token(&address).await;
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for(event::CONFIG_RELOADED).await;

    assert_eq!(daemon.wait_for(event::RUNTIME_DIRECTORY_MISSING).await["level"], "WARN");
    assert_eq!(client::imds_list(&address, &token).await.status, 200, "the key outlives a reload");
}

/// A folder may be there and closed to writers, as on a root file system that is read-only.
#[tokio::test]
async fn imds_alone_is_served_where_the_folder_is_read_only() {
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("run")).unwrap();
    let mounted = "mount -t tmpfs -o mode=700 run run && mount -o remount,ro run || exit 99; exec \"$@\"";
    let in_it = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh", program]);
        command.current_dir(stage.path("")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    };
    if !in_it("true").output().is_ok_and(|output| output.status.success()) {
        return not_played("this user may have no mounts of their own");
    }
    let mut command = in_it(env!("CARGO_BIN_EXE_anchord"));
    command.arg("run").args(IMDS_ALONE).arg("--config").arg(stage.path("anchord.toml"));
    let daemon = Daemon::of(command);
    daemon.wait_for(event::DAEMON_READY).await;

    assert_eq!(client::imds(&daemon.http().await).await.status, 200);
}

#[tokio::test]
async fn what_needs_a_place_says_so_where_there_is_none() {
    let stage = Stage::new().await;
    without_a_place(&stage);

    for part in ["--socket-enabled", "--container-enabled"] {
        let ran = stage.run(&["run", part, "false"]).await;

        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("cannot make the runtime directory"), "{ran:?}");
    }
}

/// Nobody has told where files go, and none are needed.
#[tokio::test]
async fn imds_alone_needs_no_setting_of_a_folder() {
    let stage = Stage::new().await;
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    stage.write("anchord.toml", &text.replace("runtime_directory = \"run\"\n", ""));
    let settle = |imds_alone: bool| {
        let given = [("config", stage.path("anchord.toml").to_str().unwrap().to_owned())];
        let off = ["socket-enabled", "container-enabled"].map(|flag| (flag, "false".to_owned()));
        let given = given.into_iter().chain(off.into_iter().filter(|_| imds_alone)).collect::<Vec<_>>();
        let given = given.iter().map(|(flag, value)| (*flag, value.as_str()));
        let arguments = anchord_config::Arguments::given(given).unwrap();
        anchord_config::load(arguments, &anchord_config::Environment::from_iter([("A", "")]))
    };

    assert!(settle(false).is_err());
    assert!(settle(true).is_ok());
}
