//! Clients of Bedrock as people use them, each through `anchord exec`, with the daemon and an emulated AWS.

mod clients;
mod page;
mod running;

use std::process::Command;
use std::time::Instant;

use anchord_core::event;
use anchord_emulator::Fault;
use anchord_emulator::LoggedRequest;
use anchord_emulator::Service;
use tokio::task::JoinSet;

use crate::bedrock::clients::Client;
use crate::bedrock::running::Running;
use crate::play;
use crate::play::ROOM;
use crate::recovery;
use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/bedrock-clients.md");
const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const ANSWER: &str = "You said: Tell me of one ship and two seas";
/// No client's default, and not the one of Roles Anywhere.
const REGION: &str = "eu-central-1";
/// A warning about what `exec` sets.
const TWO_TOKENS: &str =
    "you have set both awsContainerAuthorizationToken and awsContainerAuthorizationTokenFile";
const VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_what_every_bedrock_client_does_through_exec() {
    let part = std::env::var("ANCHORD_SDK_CELLS").unwrap_or_default();
    let (rows, failures) = play_all(&part).await;

    let text = page::render(&rows);
    println!("\n{text}");
    assert!(failures.is_empty(), "{} cells are not as claimed:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(part.is_empty(), "what was played is as claimed, but only {part:?} was");
    if std::env::var_os("ANCHORD_TEST_BLESS").is_some() {
        fs_err::write(PAGE, &text).unwrap();
    }
    let page = fs_err::read_to_string(PAGE).unwrap_or_default();
    assert!(
        page == text,
        "docs/reference/bedrock-clients.md is not the page above; ANCHORD_TEST_BLESS=1 writes it"
    );
}

/// A client, and what came of each of [`Cell::ALL`].
pub(crate) struct Row {
    client: Client,
    cells: [String; Cell::ALL.len()],
}

impl Row {
    fn cell(&self, cell: Cell) -> &str {
        &self.cells[cell as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Version,
    Region,
    Without,
    Whole,
    Stream,
    Key,
    Denied,
}

impl Cell {
    const ALL: [Self; 7] =
        [Self::Version, Self::Region, Self::Without, Self::Whole, Self::Stream, Self::Key, Self::Denied];
}

/// Plays each cell whose name contains `part`: the rows, and what is not as claimed.
async fn play_all(part: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut failures, mut playing) = (Vec::new(), Vec::new(), JoinSet::new());
    for (number, client) in Client::ALL.into_iter().enumerate() {
        rows.push(Row { client, cells: std::array::from_fn(|_| "not run".to_owned()) });
        if let Some(why) = client.missing() {
            failures.push(format!("{}: not run: {why}", client.name()));
            continue;
        }
        for cell in Cell::ALL {
            let name = format!("{} / {}", client.name(), format!("{cell:?}").to_lowercase());
            if name.contains(part) && (cell != Cell::Without || client.setting().is_some()) {
                playing.spawn(async move { (number, cell, name, play(client, cell).await) });
            }
        }
    }
    while let Some(played) = playing.join_next().await {
        let (number, cell, name, came) = played.unwrap();
        rows[number].cells[cell as usize] = came.unwrap_or_else(|failure| {
            println!("{name}: {failure}\n");
            failures.push(format!("{name}: {failure}"));
            "WRONG".to_owned()
        });
    }
    (rows, failures)
}

/// A cell in a task of its own, so that what panics in it is one cell's failure.
async fn play(client: Client, cell: Cell) -> Result<String, String> {
    let _place = ROOM.acquire().await.unwrap();
    let playing = tokio::spawn(async move {
        match cell {
            Cell::Version => version(client).await,
            Cell::Region => region(client).await,
            Cell::Without => without(client).await,
            Cell::Whole => whole(client).await,
            Cell::Stream => stream(client).await,
            Cell::Key => key(client).await,
            Cell::Denied => denied(client).await,
        }
    });
    playing.await.unwrap_or_else(|error| Err(play::panic_of(error)))
}

/// A daemon, and a Bedrock in another Region than Roles Anywhere.
struct Scene {
    stage: Stage,
    daemon: Daemon,
}

impl Scene {
    async fn new() -> Self {
        let stage = Self::stage().await;
        let daemon = stage.daemon().await;
        Self { stage, daemon }
    }

    async fn denied() -> Self {
        let stage = Self::stage().await;
        stage.emulator.set_trust_policy_refusal(&stage.role, true);
        let daemon = Daemon::unready(&stage.path("anchord.toml"));
        daemon.http().await;
        daemon.wait_for(event::CREDENTIALS_UNAVAILABLE).await;
        Self { stage, daemon }
    }

    async fn stage() -> Stage {
        let stage = Stage::with(|setup| REGION.clone_into(&mut setup.bedrock_region)).await;
        let lines = format!("certificate = \"leaf.pem\"\nprivate_key = \"key.pem\"\nregion = \"{REGION}\"");
        stage.configure(&stage.session_of("bedrock", &lines));
        stage
    }

    /// Starts a client's program by `anchord exec`.
    fn start(&self, client: Client, how: &str) -> Running {
        self.start_after(&["--"], client, how)
    }

    /// The same with these arguments between the session's name and the program.
    fn start_after(&self, arguments: &[&str], client: Client, how: &str) -> Running {
        let program = client.command(how, MODEL);
        let mut command = Command::new(process::program());
        command.arg("exec").arg("--config").arg(self.stage.path("anchord.toml"));
        command.args(["--session", "bedrock"]).args(arguments).arg(program.get_program());
        command.args(self.trust(client)).args(program.get_args());
        command.envs(process::home(self.stage.path("home"))).current_dir(self.stage.path(""));
        let endpoint = self.stage.emulator.endpoint();
        for name in
            ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "ANTHROPIC_BEDROCK_BASE_URL", "AWS_BEDROCK_RUNTIME_ENDPOINT"]
        {
            command.env(name, &endpoint);
        }
        let ca = self.stage.path("tls-ca.pem");
        command.env("AWS_CA_BUNDLE", &ca).env("NODE_EXTRA_CA_CERTS", &ca).env("SSL_CERT_FILE", &ca);
        // LiteLLM would wait for a list of prices from GitHub.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        Running::start(&command)
    }

    /// The arguments by which a JVM trusts the emulator's TLS.
    fn trust(&self, client: Client) -> Vec<String> {
        if !matches!(client, Client::Langchain4j | Client::SpringAi) {
            return Vec::new();
        }
        let store = self.stage.path("trust.p12");
        let mut command = Command::new("keytool");
        command.args(["-importcert", "-noprompt", "-alias", "emulator", "-storepass", "changeit"]);
        command.arg("-keystore").arg(&store).arg("-file").arg(self.stage.path("tls-ca.pem"));
        let made = command.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        vec![
            format!("-Djavax.net.ssl.trustStore={}", store.display()),
            "-Djavax.net.ssl.trustStorePassword=changeit".to_owned(),
        ]
    }

    fn calls(&self) -> Vec<LoggedRequest> {
        self.stage.emulator.requests_to(Service::Bedrock)
    }

    /// The only call, which has to be this one in Bedrock's Region, with the session's credentials or a key made of them.
    fn call(&self, operation: &str) -> Result<LoggedRequest, String> {
        let issued = self.stage.emulator.issued().remove(0);
        let mut calls = self.calls();
        let Some(call) = calls.pop().filter(|_| calls.is_empty()) else {
            return Err(format!("not one call: {calls:?}"));
        };
        let is_good = call.status == Some(200)
            && call.action.as_deref() == Some(operation)
            && call.model_id.as_deref() == Some(MODEL)
            && call.scope_region.as_deref() == Some(REGION)
            && call.signer.as_ref() == Some(&issued.access_key_id);
        if is_good { Ok(call) } else { Err(format!("not the call that was expected: {call:?}")) }
    }

    /// The same, signed with the session's credentials, their token included.
    fn signed_call(&self, operation: &str) -> Result<(), String> {
        let call = self.call(operation)?;
        let has_token = call.header_names.iter().any(|name| name == "x-amz-security-token");
        if has_token && !call.is_bearer { Ok(()) } else { Err(format!("no signed call: {call:?}")) }
    }
}

/// What its program says before anything else.
async fn version(client: Client) -> Result<String, String> {
    Running::start(&client.command("whole", MODEL)).told("version: ").await
}

async fn whole(client: Client) -> Result<String, String> {
    let scene = Scene::new().await;
    let ended = scene.start(client, "whole").ended().await;
    ended.check(ANSWER)?;
    scene.signed_call(client.operations()[0])?;
    if ended.output.contains(TWO_TOKENS) != client.warns_of_two_tokens() {
        return Err(format!("a warning of two tokens is missing, or is new:\n{}", ended.output));
    }
    Ok("yes".to_owned())
}

/// The emulator sends the second half once the program has shown a piece of the first. Without the token's variable,
/// which nothing here needs.
async fn stream(client: Client) -> Result<String, String> {
    let scene = Scene::new().await;
    let emulator = &scene.stage.emulator;
    emulator.script_for(Service::Bedrock, [Fault::StreamHold]);
    let mut running = scene.start_after(&["--token-file-only", "--"], client, "stream");
    let first: String = serde_json::from_str(&running.told("piece: ").await?).unwrap();
    emulator.wait_for_held(1).await;
    emulator.release();
    let ended = running.ended().await;
    ended.check(ANSWER)?;
    scene.signed_call(client.operations()[1])?;
    if ended.pieces().len() < 2 || ended.output.contains(TWO_TOKENS) {
        return Err(format!("all of it came with {first:?}, or with a warning:\n{}", ended.output));
    }
    Ok("yes".to_owned())
}

/// A client whose setting is missing, which has to fail.
async fn without(client: Client) -> Result<String, String> {
    let scene = Scene::new().await;
    let setting = client.setting().unwrap();
    let ended = scene.start(client, "bare").ended().await;
    let asked: Vec<String> = scene.calls().into_iter().filter_map(|call| call.scope_region).collect();
    let told = format!("{}\nBedrock was asked in {asked:?}", ended.output);
    match ended.check(ANSWER) {
        Ok(()) => Err("it works without the setting".to_owned()),
        Err(_) if told.contains(setting.sign) => Ok("no".to_owned()),
        Err(_) => Err(format!("it should fail with {:?}: {told}", setting.sign)),
    }
}

/// Which variable of the Region is enough.
async fn region(client: Client) -> Result<String, String> {
    // LangChain4j's program reads the variable itself.
    let how = if client == Client::Langchain4j { "bare" } else { "whole" };
    let mut enough = Vec::new();
    for (kept, removed) in [(0, 1), (1, 0)] {
        let scene = Scene::new().await;
        let ended = scene.start_after(&["--", "env", "-u", VARIABLES[removed]], client, how).ended().await;
        if ended.check(ANSWER).is_ok() {
            scene.signed_call(client.operations()[0])?;
            enough.push(VARIABLES[kept]);
        }
    }
    match enough.as_slice() {
        [] => Ok("neither".to_owned()),
        [one] => Ok(format!("`{one}`")),
        _ => Ok("either".to_owned()),
    }
}

/// `exec` sets an API key.
async fn key(client: Client) -> Result<String, String> {
    let scene = Scene::new().await;
    // What is shown of the AI SDK is that it needs nothing else then.
    let how = if client == Client::AiSdk { "bare" } else { "whole" };
    let ended = scene.start_after(&["--bedrock-api-key", "--"], client, how).ended().await;
    ended.check(ANSWER)?;
    let call = scene.call(client.operations()[0])?;
    Ok(if call.is_bearer { "yes" } else { "it signs instead" }.to_owned())
}

/// AWS refuses the session.
async fn denied(client: Client) -> Result<String, String> {
    let scene = Scene::denied().await;
    let started_at = Instant::now();
    let ended = scene.start(client, "whole").ended().await;
    println!("{} / denied: it ended after {:.1?}", client.name(), started_at.elapsed());
    if ended.code == 0 || !ended.output.contains("version: ") || !ended.pieces().is_empty() {
        return Err(format!("it ended with {}:\n{}", ended.code, ended.output));
    }
    let status = scene.stage.run(&["status"]).await;
    if recovery::told_by(&status.stdout) != "the reason" {
        return Err(format!("`anchord status` does not tell the reason: {status:?}"));
    }
    Ok(recovery::told_by(&ended.output).to_owned())
}
