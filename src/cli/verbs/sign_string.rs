//! `anchord sign-string`: signs a fixed text, to test whether a key can sign.

use clap::ArgMatches;
use tracing::debug;

use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::grammar::helper::Line;
use crate::cli::grammar::helper::Name;
use crate::cli::grammar::helper::Words;
use crate::cli::output;
use crate::cli::output::prompt;
use crate::telemetry;
use anchord_core::digest::hex;
use anchord_core::digest::sha256;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;
use anchord_core::process_limits;
use anchord_identity::Algorithm;
use anchord_identity::Hash;
use anchord_identity::Passphrase;
use anchord_identity::Pipes;
use anchord_identity::Source;

/// AWS's tool signs this text and, unless the key is an ML-DSA key, the digest of [`OF_KEY`] and the public key. No request
/// begins with this text, so the signature has no other use.
const TEXT: &[u8] = b"AWS Roles Anywhere Credential Helper Signing Test1";
const OF_KEY: &[u8] = b"IAM RA";

pub(super) fn run(matches: &ArgMatches, name: Name, surroundings: &mut Surroundings<'_>) -> Exit {
    process_limits::no_core_files();
    let words = Words(matches);
    let hash = match words.get("digest") {
        Some("SHA384") => Hash::Sha384,
        Some("SHA512") => Hash::Sha512,
        _ => Hash::Sha256,
    };
    if !["certificate", "private-key", "cert-selector"].iter().any(|flag| words.has(flag)) {
        let hint = "name the key, or name with --certificate a file or token that has the key too";
        let mistake = Notice::new("--private-key is missing").hinting(hint);
        return output::report_mistakes(&vec![mistake], surroundings);
    }
    // A key needs no certificate to sign.
    let read = Line::read(matches, name, surroundings.environment, Vec::new());
    let (line, (source, warnings)) = match read.and_then(|line| Ok((line.clone(), line.source("/dev/null")?)))
    {
        Ok(read) => read,
        Err(mistakes) => return output::report_mistakes(&mistakes, surroundings),
    };
    output::warn(&warnings, surroundings);
    if line.debug {
        telemetry::init(tracing::Level::DEBUG, telemetry::Format::Text, true, std::io::stderr);
    }
    match signature(&source, words.has("certificate"), hash) {
        Ok(signature) => print(&signature, words.get("format").unwrap_or("json"), surroundings),
        Err(failure) => output::report(&failure, surroundings),
    }
}

fn signature(source: &Source, is_certified: bool, hash: Hash) -> Result<Vec<u8>, Failure> {
    let mut source = source.clone();
    source.read_pipes(&mut Pipes::default());
    if let Some(Passphrase::Prompted(answer)) = &source.passphrase {
        prompt::ask_for("the private key", answer);
    }
    // Checks a named certificate too: otherwise the user would not learn of a mistake in it.
    let key = if is_certified { source.certified_key() } else { source.signing_key() }?;
    debug!(algorithm = ?key.algorithm(), guarded_by = ?source.guard(), ?hash, "Signing");
    let mut text = TEXT.to_vec();
    if key.algorithm() != Algorithm::MlDsa {
        let of_key = [OF_KEY, key.public_key()].concat();
        text.extend(sha256(&of_key));
    }
    match key.sign_with(hash, &text) {
        Some(signature) => signature.map_err(Failure::from),
        None => Err(Failure::of(
            Reason::InvalidSetting,
            "this key signs only with SHA256, as Roles Anywhere requires",
            Some("leave out --digest".into()),
        )),
    }
}

fn print(signature: &[u8], format: &str, surroundings: &mut Surroundings<'_>) -> Exit {
    let bytes = match format {
        "bin" => signature.to_vec(),
        "text" => hex(signature).into_bytes(),
        _ => format!("\"{}\"", hex(signature)).into_bytes(),
    };
    // No line break at the end: scripts compare the output.
    match output::print_bytes(surroundings, &bytes) {
        Ok(_) => Exit::Done,
        Err(exit) => exit,
    }
}
