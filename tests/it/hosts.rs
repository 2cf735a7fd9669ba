//! Hosts that share a home, as mount namespaces: the same paths, but another machine and another certificate on each.

use std::process::Command;

use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;

use crate::daemonless::ASK;
use crate::daemonless::key_id;
use anchord_testing::stage::Ran;
use anchord_testing::stage::Stage;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;

/// What a host has that the others do not.
struct Host {
    /// Also its certificate's serial number.
    number: u8,
    machine_id: &'static str,
    name: &'static str,
}

impl Host {
    /// Makes what is its own. The settings name `here/leaf.pem` and `here/key.pem`.
    fn set_up(&self, stage: &Stage) {
        let mut request = LeafRequest::new("robot", KeyKind::P256);
        request.serial = Some(vec![self.number]);
        let leaf = stage.root.leaf(&request).unwrap();
        fs_err::create_dir(stage.path(&self.folder())).unwrap();
        stage.write(&format!("{}/leaf.pem", self.folder()), leaf.certificate_pem());
        stage.write(&format!("{}/key.pem", self.folder()), &leaf.key_pem(KeyForm::Pkcs8).unwrap());
        stage.write(&format!("{}/machine-id", self.folder()), self.machine_id);
    }

    fn folder(&self) -> String {
        format!("host-{}", self.number)
    }

    /// `program` on this host, with a home and no folder of a login session.
    fn command(&self, stage: &Stage, program: &str) -> Command {
        let mounted = "mount --bind \"$1\" here && mount --bind \"$1/machine-id\" /etc/machine-id \
                       && echo \"$2\" >/proc/sys/kernel/hostname && mount -t tmpfs run /run || exit 99; \
                       shift 2; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--uts", "sh", "-c", mounted, "sh"]);
        command.args([&self.folder(), self.name, program]).current_dir(stage.path(""));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", stage.path(""));
        command
    }

    async fn ask(&self, stage: &Stage) -> Ran {
        let mut command = self.command(stage, env!("CARGO_BIN_EXE_anchord"));
        command.args(ASK).arg("--config").arg(stage.path("anchord.toml"));
        process::to_the_end(command).await
    }
}

/// These hosts, one home and its settings; `None` where this user may have no mounts of their own.
async fn set_up(hosts: &[Host; 2]) -> Option<Stage> {
    let stage = Stage::new().await;
    fs_err::create_dir(stage.path("here")).unwrap();
    let identity = "certificate = \"here/leaf.pem\"\nprivate_key = \"here/key.pem\"";
    stage.configure(&stage.session_of("bedrock", identity));
    hosts.iter().for_each(|host| host.set_up(&stage));
    let may_mount =
        |host: &Host| host.command(&stage, "true").output().is_ok_and(|output| output.status.success());
    hosts.iter().all(may_mount).then_some(stage)
}

const NOT_SHOWN: &str = "this user may have no mounts of their own, or there is no /etc/machine-id";

/// The serial numbers of the leaves that signed the requests so far.
fn signed_with(stage: &Stage) -> Vec<String> {
    let credentials = stage.emulator.requests().into_iter().filter_map(|request| request.credential);
    credentials.map(|credential| credential.split('/').next().unwrap().to_owned()).collect()
}

const OTHER_MACHINES: [Host; 2] = [
    Host { number: 7, machine_id: "11111111111111111111111111111111", name: "same" },
    Host { number: 8, machine_id: "22222222222222222222222222222222", name: "same" },
];
/// Machines that were made from one image may have one id.
const OF_ONE_IMAGE: [Host; 2] = [
    Host { number: 7, machine_id: "11111111111111111111111111111111", name: "one" },
    Host { number: 8, machine_id: "11111111111111111111111111111111", name: "other" },
];

#[tokio::test]
async fn on_a_shared_home_each_host_has_its_own_identity_with_one_call_each() {
    for hosts in [OTHER_MACHINES, OF_ONE_IMAGE] {
        let Some(stage) = set_up(&hosts).await else { return not_played(NOT_SHOWN) };
        let [one, other] = &hosts;

        let first = [key_id(&one.ask(&stage).await), key_id(&other.ask(&stage).await)];
        for _ in 0..3 {
            assert_eq!([key_id(&one.ask(&stage).await), key_id(&other.ask(&stage).await)], first);
        }

        assert_ne!(first[0], first[1]);
        assert_eq!(signed_with(&stage), ["7", "8"]);
        assert!(stage.path(".cache/anchord/cache").exists(), "they share it");
    }
}

#[tokio::test]
async fn a_host_whose_certificate_is_refused_gets_nothing_of_another_host_and_goes_on_with_its_own() {
    let hosts = OTHER_MACHINES;
    let Some(stage) = set_up(&hosts).await else { return not_played(NOT_SHOWN) };
    let [one, other] = &hosts;
    let first = key_id(&one.ask(&stage).await);
    stage.emulator.set_revoked("8", true);

    let refused = other.ask(&stage).await;
    fs_err::copy(stage.path("host-8/leaf.pem"), stage.path("host-7/leaf.pem")).unwrap();
    fs_err::copy(stage.path("host-8/key.pem"), stage.path("host-7/key.pem")).unwrap();
    let own = one.ask(&stage).await;

    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:?}");
    assert_eq!(key_id(&own), first, "its new certificate is refused too");
    assert_eq!(signed_with(&stage), ["7", "8", "8"]);
}
