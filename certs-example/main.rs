//! Writes a sample CA, an intermediate, and a leaf with its key for each algorithm into a folder.
//!
//! Only for tests: the CA's key is in the same folder as the certificates that it signs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a generator prints the names of its files")]

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anchord_emulator::Authority;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use fs_err::os::unix::fs::OpenOptionsExt as _;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: cargo run --example certs -- FOLDER");
        return ExitCode::from(2);
    };
    match generate(&PathBuf::from(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs_err::create_dir_all(folder)?;
    let root = Authority::root("anchord sample root", KeyKind::P256)?;
    let intermediate = root.intermediate("anchord sample intermediate", KeyKind::P256)?;
    write(folder, "root.pem", root.certificate_pem(), 0o644)?;
    write(folder, "root.key", &root.key_pem(), 0o600)?;
    write(folder, "intermediate.pem", intermediate.certificate_pem(), 0o644)?;
    write(folder, "intermediate.key", &intermediate.key_pem(), 0o600)?;
    for kind in KeyKind::ALL {
        let leaf = intermediate.leaf(&LeafRequest::new(&format!("{kind}.sample"), kind))?;
        let chain = [leaf.certificate_pem(), intermediate.certificate_pem()].concat();
        write(folder, &format!("{kind}.pem"), &chain, 0o644)?;
        write(folder, &format!("{kind}.key"), &leaf.key_pem(KeyForm::Pkcs8)?, 0o600)?;
    }
    println!(
        "Register root.pem as the trust anchor. The other *.pem files are leaves with their intermediate; *.key are their keys."
    );
    Ok(())
}

/// Does not overwrite an existing file, which may be a real key.
fn write(folder: &Path, name: &str, text: &str, mode: u32) -> Result<(), Box<dyn Error>> {
    let path = folder.join(name);
    let mut file = fs_err::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path)?;
    file.write_all(text.as_bytes())?;
    println!("{}", path.display());
    Ok(())
}
