//! A SPIFFE agent whose HTTP/2 and gRPC are Google's for Go, as SPIRE's agent's are: the fake in the emulator has the same
//! HTTP/2 as the daemon, and might share its faults.

use anchord_core::event;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::spiffe;

use crate::load::Load;
use anchord_testing::stage::Stage;

const ROBOT: &str = "spiffe://example.org/robot-7";

/// Where `tests/run` puts what it builds; `None` where it may be missing and is.
fn program() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_anchord")).ancestors().nth(2).unwrap();
    let program = folder.join("sdk/spiffe_agent");
    if !program.exists() {
        assert!(std::env::var_os("ANCHORD_TEST_ALL").is_none(), "{} is missing", program.display());
        return None;
    }
    Some(program)
}

struct Agent {
    child: Child,
    response: PathBuf,
}

impl Agent {
    /// Listens when this returns.
    fn start(program: &Path, stage: &Stage) -> Self {
        let response = stage.path("response.bin");
        let mut command = Command::new(program);
        command.arg(stage.path("agent.sock")).arg(&response);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self { child, response }
    }

    fn rotate(&mut self, svid: spiffe::Svid) {
        give(&self.response, svid);
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whole at any moment, as what an agent gives is.
fn give(response: &Path, svid: spiffe::Svid) {
    let next = response.with_extension("next");
    fs_err::write(&next, spiffe::encode(vec![svid])).unwrap();
    fs_err::rename(next, response).unwrap();
}

/// Later credentials end later: AWS's dates have whole seconds.
fn svid(stage: &Stage, serial: u8) -> spiffe::Svid {
    stage.emulator.set_clock_offset(time::Duration::seconds(i64::from(serial) * 2));
    let mut request = LeafRequest::new("robot", KeyKind::P256);
    request.uris = vec![ROBOT.into()];
    request.serial = Some(vec![serial]);
    spiffe::Svid::new(ROBOT, &stage.root.leaf(&request).unwrap(), &stage.root)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_grpc_go_gives_rotates_and_restarts_without_a_client_noticing() {
    let Some(program) = program() else { return };
    let stage = Stage::new().await;
    let socket = stage.path("agent.sock");
    let identity = format!("certificate = \"{ROBOT}\"\nspiffe_socket = \"unix://{}\"\n", socket.display());
    stage.configure(&stage.session_of("bedrock", &identity));
    give(&stage.path("response.bin"), svid(&stage, 1));
    let mut agent = Agent::start(&program, &stage);
    let daemon = stage.daemon().await;
    let mut load = Load::start(&stage, &daemon).await;

    agent.rotate(svid(&stage, 2));
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    load.answered(50).await;
    agent.kill();
    give(&agent.response, svid(&stage, 3));
    agent = Agent::start(&program, &stage);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 3).await;
    agent.rotate(svid(&stage, 4));
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 4).await;

    load.end().await;
    let requests = stage.emulator.requests();
    let serials: Vec<_> = requests
        .iter()
        .map(|request| request.credential.as_ref().unwrap().split('/').next().unwrap())
        .collect();
    assert_eq!(serials, ["1", "2", "3", "4"]);
}
