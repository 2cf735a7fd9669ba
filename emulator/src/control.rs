//! Commands to the program, a line each on standard input, for scripts that play a story: what goes wrong, and when.
//!
//! Each is answered by one line of JSON on standard output, an object with either `done` or `error`. Commands that are
//! about a Region have `first` or `second` before them:
//!
//! ```text
//!   leaf                      writes a new key and leaf of the same name to --directory
//!   REGION fault NAME         lays a fault over every request, by the names of --fault; `none` ends it
//!   REGION profile SECONDS    changes the profile's session length
//!   REGION another SECONDS    adds a profile of that session length, and gives its ARN
//!   REGION clock SECONDS      shifts the service's clock
//!   REGION reading NAME       plays another reading besides those played; `none` plays the likelier of each
//!   REGION drop               closes every connection
//!   REGION issued FROM        the sets given out, from this number on, and whether they were sent as usual
//!   REGION requests FROM      the requests, from this number on
//! ```

use std::collections::HashMap;
use std::io;
use std::io::BufRead as _;
use std::io::Write;
use std::path::Path;

use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::Profile;
use anchord_emulator::Readings;
use fs_err as fs;
use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;

use crate::AnyError;

/// Carries out commands until standard input ends.
pub(crate) async fn play(
    emulators: &[Emulator],
    issuer: &Authority,
    directory: Option<&Path>,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut commands = commands();
    while let Some(command) = commands.recv().await {
        let words: Vec<&str> = command.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["leaf"] => renew_leaf(issuer, directory),
            ["first", words @ ..] => carry_out(emulators.first(), words),
            ["second", words @ ..] => carry_out(emulators.get(1), words),
            _ => Err(unknown(&command)),
        };
        let answer = match answer {
            Ok(done) => json!({ "done": done }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

/// The lines of standard input. A thread reads them, which the end of the process ends.
fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn unknown(command: &str) -> AnyError {
    format!("`{command}` is no command").into()
}

fn carry_out(emulator: Option<&Emulator>, words: &[&str]) -> Result<Value, AnyError> {
    let emulator = emulator.ok_or("there is no second Region without --second-region")?;
    match words {
        ["fault", "none"] => emulator.always(None),
        ["fault", name] => emulator.always(Some(crate::fault(name)?)),
        ["profile", seconds] => {
            let seconds = seconds.parse()?;
            emulator.change(|setup| setup.profiles[0].duration_seconds = seconds);
        }
        ["another", seconds] => return Ok(add_profile(emulator, seconds.parse()?).into()),
        ["clock", seconds] => emulator.set_clock_offset(time::Duration::seconds(seconds.parse()?)),
        ["reading", "none"] => emulator.change(|setup| setup.readings = Readings::default()),
        ["reading", name] => {
            let mut played = Ok(());
            emulator.change(|setup| played = setup.readings.play(name));
            played?;
        }
        ["drop"] => emulator.drop_connections(),
        ["issued", from] => return Ok(issued(emulator, from.parse()?)),
        ["requests", from] => return Ok(requests(emulator, from.parse()?)),
        _ => return Err(unknown(&words.join(" "))),
    }
    Ok(Value::Null)
}

/// A profile like the first, with another ARN.
fn add_profile(emulator: &Emulator, seconds: u32) -> String {
    let mut arn = String::new();
    emulator.change(|setup| {
        arn = format!("{}-{}", setup.profile_arn(), setup.profiles.len());
        let profile = Profile { arn: arn.clone(), duration_seconds: seconds, ..setup.profiles[0].clone() };
        setup.profiles.push(profile);
    });
    arn
}

fn issued(emulator: &Emulator, from: usize) -> Value {
    let (issued, requests) = (emulator.issued(), emulator.requests());
    let by_key: HashMap<&str, bool> = requests
        .iter()
        .filter_map(|request| Some((request.access_key_id.as_deref()?, request.fault.is_none())))
        .collect();
    let set = |set: &anchord_emulator::IssuedCredentials| {
        json!({
            "action": set.action,
            "access_key_id": set.access_key_id,
            "secret_access_key": set.secret_access_key,
            "session_token": set.session_token,
            "expires_at": set.expires_at.unix_timestamp(),
            "role_arn": set.role_arn,
            "sent": by_key.get(set.access_key_id.as_str()),
        })
    };
    issued.iter().skip(from).map(set).collect()
}

fn requests(emulator: &Emulator, from: usize) -> Value {
    let request = |request: &anchord_emulator::LoggedRequest| {
        json!({
            "at": request.at.unix_timestamp(),
            "action": request.action,
            "role_arn": request.role_arn,
            "status": request.status,
            "fault": request.fault.as_ref().map(|fault| format!("{fault:?}")),
            "access_key_id": request.access_key_id,
            "reason": request.reason,
        })
    };
    emulator.requests().iter().skip(from).map(request).collect()
}

/// As tools do that renew certificates: each file is replaced in one step, and for a moment the two do not belong together.
fn renew_leaf(issuer: &Authority, directory: Option<&Path>) -> Result<Value, AnyError> {
    let directory = directory.ok_or("there are no files without --directory")?;
    let leaf = issuer.leaf(&LeafRequest::new("demo.example.com", KeyKind::P256))?;
    let chained = [leaf.certificate_pem(), issuer.certificate_pem()].concat();
    for (name, mode, text) in
        [("key.pem", 0o600, &leaf.key_pem(KeyForm::Pkcs8)?), ("leaf.pem", 0o644, &chained)]
    {
        let new = crate::write(directory, &format!("{name}.new"), mode, text)?;
        fs::rename(new, directory.join(name))?;
    }
    Ok(Value::Null)
}
