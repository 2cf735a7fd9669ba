//! The emulator as a program, for demonstrations: one trust anchor, one profile, one leaf, until a signal comes.
//!
//! It prints what a client must be told as `name=value` lines on standard output, the line `ready` last, and with
//! `--directory` writes the files that go with them. With `--control` scripts change what it plays.

mod control;

use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::Fault;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::READINGS;
use anchord_emulator::Readings;
use anchord_emulator::Setup;
use clap::Parser;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Play IAM Roles Anywhere, STS and Bedrock over TLS on loopback
#[derive(Debug, Parser)]
#[command(name = "anchord-emulator")]
struct Arguments {
    /// Where to listen; port 0 takes any
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The Region to play
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The Region to play STS in, if another
    #[arg(long)]
    sts_region: Option<String>,
    /// The Region to play Bedrock in, if another
    #[arg(long)]
    bedrock_region: Option<String>,
    /// Another Region with the same CA, at an address of its own
    #[arg(long)]
    second_region: Option<String>,
    /// Write root-ca.pem, leaf.pem with its chain, key.pem, access-keys of a user, tls-ca.pem and values.env there
    #[arg(long)]
    directory: Option<PathBuf>,
    /// The profile's session length in seconds; any from 1
    #[arg(long, default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..=43_200))]
    session_seconds: u32,
    /// Lay this fault over every request: throttle, throttle=RETRY-AFTER, error, unavailable=RETRY-AFTER, html, portal, denied,
    /// reset, slow=SECONDS, malformed, truncated, empty, partial, expired, oversized, another-role, another-role=ARN or
    /// stream-cut
    #[arg(long, value_parser = fault)]
    fault: Option<Fault>,
    /// Play another reading of AWS's documentation; may be given more than once
    #[arg(long, value_name = "READING", long_help = readings_help(), value_parser = reading)]
    reading: Vec<String>,
    /// The same as `--reading strict`
    #[arg(long)]
    strict: bool,
    /// Take commands on standard input, which control.rs lists, and end with it
    #[arg(long)]
    control: bool,
}

type AnyError = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(problem) => {
            let code = u8::try_from(problem.exit_code()).unwrap_or(2);
            // Nobody is left to be told of a closed terminal.
            let _ = problem.print();
            return ExitCode::from(code);
        }
    };
    match run(&arguments, &mut io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "anchord-emulator: {}", causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, output: &mut impl Write) -> Result<(), AnyError> {
    // Before anything is said: whoever reads `ready` may send a signal at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let root = Authority::root("Emulator root CA", KeyKind::P384)?;
    let intermediate = root.intermediate("Emulator issuing CA", KeyKind::P256)?;
    let leaf = intermediate.leaf(&LeafRequest::new("demo.example.com", KeyKind::P256))?;
    let setup = setup_of(arguments, &arguments.region, &root)?;
    let mut values = vec![
        ("region", setup.region.clone()),
        ("sts_region", setup.sts_region.clone()),
        ("bedrock_region", setup.bedrock_region.clone()),
        ("trust_anchor_arn", setup.trust_anchor_arn()),
        ("profile_arn", setup.profile_arn()),
        ("role_arn", setup.role_arn()),
    ];
    values.extend(setup.models.first().map(|model| ("model_id", model.id.clone())));
    let access_keys: String = setup
        .access_keys
        .iter()
        .map(|key| format!("{}:{}\n", key.access_key_id, key.secret_access_key))
        .collect();
    let mut emulators = vec![Emulator::start(setup).await?];
    values.insert(0, ("endpoint", emulators[0].endpoint()));
    if let Some(region) = &arguments.second_region {
        let mut setup = setup_of(arguments, region, &root)?;
        setup.listen.set_port(0);
        values.push(("second_trust_anchor_arn", setup.trust_anchor_arn()));
        values.push(("second_profile_arn", setup.profile_arn()));
        emulators.push(Emulator::start(setup).await?);
        values.push(("second_endpoint", emulators[1].endpoint()));
    }
    let authorities: String = emulators.iter().map(Emulator::tls_ca_pem).collect();
    for emulator in &emulators {
        emulator.always(arguments.fault.clone());
    }

    if let Some(directory) = &arguments.directory {
        let chained = [leaf.certificate_pem(), intermediate.certificate_pem()].concat();
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        values.push(("ca_file", write(&directory, "tls-ca.pem", 0o644, &authorities)?));
        values.push(("certificate", write(&directory, "leaf.pem", 0o644, &chained)?));
        values.push(("private_key", write(&directory, "key.pem", 0o600, &leaf.key_pem(KeyForm::Pkcs8)?)?));
        values.push(("root", write(&directory, "root-ca.pem", 0o644, root.certificate_pem())?));
        values.push(("access_keys", write(&directory, "access-keys", 0o600, &access_keys)?));
        write(&directory, "values.env", 0o644, &lines(&values))?;
    }
    output.write_all(lines(&values).as_bytes())?;
    output.write_all(b"ready\n")?;
    output.flush()?;

    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        played = control::play(&emulators, &intermediate, arguments.directory.as_deref(), output),
            if arguments.control => played?,
    }
    for emulator in &mut emulators {
        emulator.stop().await;
    }
    Ok(())
}

/// What is played in a Region.
fn setup_of(arguments: &Arguments, region: &str, root: &Authority) -> Result<Setup, AnyError> {
    let mut setup = Setup::sample(region, root);
    setup.listen = arguments.listen;
    setup.profiles[0].duration_seconds = arguments.session_seconds;
    let strict = arguments.strict.then_some("strict");
    for reading in arguments.reading.iter().map(String::as_str).chain(strict) {
        setup.readings.play(reading)?;
    }
    for (place, chosen) in [
        (&mut setup.sts_region, &arguments.sts_region),
        (&mut setup.bedrock_region, &arguments.bedrock_region),
    ] {
        chosen.as_deref().unwrap_or(region).clone_into(place);
    }
    Ok(setup)
}

fn lines(values: &[(&str, String)]) -> String {
    values.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// Writes a file anew, so that its mode holds even where an older one had another, and gives back its path.
fn write(directory: &Path, name: &str, mode: u32, text: &str) -> io::Result<String> {
    let path = directory.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path.display().to_string())
}

fn reading(name: &str) -> Result<String, String> {
    Readings::default().play(name).map(|()| name.to_owned())
}

fn readings_help() -> String {
    format!("Play another reading of AWS's documentation; may be given more than once: {READINGS}")
}

fn fault(text: &str) -> Result<Fault, String> {
    let unknown = || format!("`{text}` is no fault; --help lists them");
    if let Some(role_arn) = text.strip_prefix("another-role=") {
        return Ok(Fault::AnotherRole(role_arn.to_owned()));
    }
    if let Some((name, number)) = text.split_once('=') {
        let number: u32 = number.parse().map_err(|_| unknown())?;
        return match name {
            "throttle" => Ok(Fault::Throttle { retry_after: Some(number) }),
            "unavailable" => Ok(Fault::Unavailable { retry_after: number }),
            "slow" => Ok(Fault::Slow(Duration::from_secs(number.into()))),
            _ => Err(unknown()),
        };
    }
    Ok(match text {
        "throttle" => Fault::Throttle { retry_after: None },
        "error" => Fault::Status(500),
        "html" => Fault::Html(503),
        "portal" => Fault::Html(403),
        "denied" => Fault::Denied { message: "Unable to assume role".to_owned() },
        "reset" => Fault::Reset,
        "malformed" => Fault::Malformed,
        "truncated" => Fault::Truncated,
        "empty" => Fault::EmptyCredentialSet,
        "partial" => Fault::PartialCredentials,
        "expired" => Fault::Expired,
        "oversized" => Fault::Oversized,
        "another-role" => Fault::AnotherRole("arn:aws:iam::210987654321:role/AnotherRole".to_owned()),
        "stream-cut" => Fault::StreamCut,
        _ => return Err(unknown()),
    })
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
