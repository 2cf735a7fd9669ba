//! The request's body: read, filled in and checked before any call.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::ArgMatches;
use serde_json::json;

use super::Ended;
use super::template;
use super::template::Form;
use super::template::Variables;
use crate::cli::Surroundings;
use anchord_core::content;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Above Bedrock's limit (25 MB), and small enough for any host's memory.
const LARGEST: u64 = 64 << 20;

/// The body from the arguments.
pub(super) fn read(
    matches: &ArgMatches,
    content_type: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Bytes, Ended> {
    let folder = surroundings.environment.current_dir();
    let variables = variables(matches, folder)?;
    let is_literal = matches.get_flag("literal");
    if let Some(text) = matches.get_one::<String>("message") {
        let text = if is_literal { text.clone() } else { rendered(text, Form::Text, &variables)? };
        if text.trim().is_empty() {
            let hint = Some("Bedrock refuses a message without text".into());
            return Err(Ended::Misused(Failure::of(Reason::InvalidSetting, "the message is empty", hint)));
        }
        let body = json!({"messages": [{"role": "user", "content": [{"text": text}]}]});
        return Ok(body.to_string().into());
    }
    let form = if is_json(content_type) { Form::Json } else { Form::Text };
    let given = given(matches, folder)?;
    let body = match String::from_utf8(given) {
        Ok(text) if is_literal => text.into_bytes(),
        // Windows programs begin UTF-8 with a byte order mark, which JSON does not allow.
        Ok(text) => rendered(text.trim_start_matches('\u{feff}'), form, &variables)?.into_bytes(),
        // An image, for example: it has no placeholders.
        Err(binary) if form == Form::Text && variables.is_empty() => binary.into_bytes(),
        Err(binary) => {
            let at = binary.utf8_error().valid_up_to();
            let hint =
                Some("JSON and placeholders are text; give the `--content-type` of a binary body".into());
            let what = format!("the body is not UTF-8 at byte {at}");
            return Err(Ended::Misused(Failure::of(Reason::InvalidSetting, what, hint)));
        }
    };
    if form == Form::Json {
        template::check_json(&body).map_err(Ended::Misused)?;
    }
    Ok(body.into())
}

fn rendered(template: &str, form: Form, variables: &Variables) -> Result<String, Ended> {
    template::render(template, form, variables).map_err(Ended::Misused)
}

/// `application/json`, with or without parameters, and the types based on it (`application/vnd.x+json`).
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn given(matches: &ArgMatches, folder: &Path) -> Result<Vec<u8>, Ended> {
    if let Some(path) = matches.get_one::<String>("body-file").filter(|path| *path != "-") {
        return file(&folder.join(path));
    }
    match matches.get_one::<String>("body").map(String::as_str) {
        Some("-") => stdin(),
        Some(text) => Ok(text.as_bytes().to_vec()),
        None if matches.contains_id("body-file") => stdin(),
        None if rustix::termios::isatty(std::io::stdin()) => {
            let hint = "give `--body`, `--body-file` or `--message`; `--body -` reads from the terminal";
            Err(Ended::Misused(Failure::of(Reason::InvalidSetting, "no body is given", Some(hint.into()))))
        }
        None => stdin(),
    }
}

fn stdin() -> Result<Vec<u8>, Ended> {
    let mut content = Vec::new();
    let length =
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut content).map_err(|error| {
            Failure::of(Reason::FileUnreadable, format!("cannot read stdin: {error}"), None)
        })?;
    if length as u64 > LARGEST { Err(too_large("stdin").into()) } else { Ok(content) }
}

fn file(path: &Path) -> Result<Vec<u8>, Ended> {
    let shown = format!("`{}`", path.display());
    // A pipe will do, because the body is read only once.
    let read = match content::is_pipe(path) {
        true => content::read_pipe(path, LARGEST, PATIENCE),
        false => content::read(path, LARGEST),
    };
    match read {
        Ok(content) => Ok(content.bytes.expose().clone()),
        Err(content::ReadError::TooLarge { .. }) => Err(too_large(&shown).into()),
        Err(fault) => {
            let hint = fault.hint(path);
            Err(Failure::of(Reason::FileUnreadable, format!("cannot read {shown}: {fault}"), hint).into())
        }
    }
}

/// The program at the other end of a pipe may need minutes, for example for another model's answer.
const PATIENCE: Duration = Duration::from_secs(600);

fn too_large(name: &str) -> Failure {
    let hint = Some("Bedrock's limit is 25 MB".into());
    Failure::of(Reason::FileUnusable, format!("{name} is larger than 64 MiB"), hint)
}

fn variables(matches: &ArgMatches, folder: &Path) -> Result<Variables, Ended> {
    let mut variables = Variables::new();
    for text in matches.get_many::<String>("var").into_iter().flatten() {
        let (name, value) = pair("var", text)?;
        add(&mut variables, name, value.to_owned())?;
    }
    for text in matches.get_many::<String>("var-file").into_iter().flatten() {
        let (name, path) = pair("var-file", text)?;
        let content = String::from_utf8(file(&folder.join(path))?).map_err(|_| {
            Failure::of(Reason::FileUnusable, format!("`{path}` of variable `{name}` is not UTF-8"), None)
        })?;
        add(&mut variables, name, content)?;
    }
    Ok(variables)
}

fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Ended> {
    let found = text.split_once('=').filter(|(name, _)| template::is_name(name));
    found.ok_or_else(|| {
        // The message does not repeat the value, because it may be a secret.
        let hint = Some(format!(
            "write `--{flag} NAME={}`; a name has letters, digits, `_`, `-` and `.`",
            if flag == "var" { "VALUE" } else { "PATH" }
        ));
        Ended::Misused(Failure::of(
            Reason::InvalidSetting,
            format!("--{flag}: the value has no name"),
            hint.map(Into::into),
        ))
    })
}

fn add(variables: &mut Variables, name: &str, value: String) -> Result<(), Ended> {
    match variables.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => {
            let what = format!("variable `{name}` is given twice");
            Err(Ended::Misused(Failure::of(
                Reason::InvalidSetting,
                what,
                Some("leave one of them out".into()),
            )))
        }
    }
}
