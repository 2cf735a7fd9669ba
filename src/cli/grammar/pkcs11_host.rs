//! The grammar of `anchord pkcs11-host`.

use std::path::PathBuf;

use clap::Arg;
use clap::ArgAction;
use clap::Command;
use clap::value_parser;

pub(in crate::cli) const VERB: &str = "pkcs11-host";
pub(in crate::cli) const GUARD: &str = "guard";

/// Not for people, and not shown to them.
pub(super) fn command() -> Command {
    let module = Arg::new("module").required_unless_present(GUARD).value_parser(value_parser!(PathBuf));
    let guard = Arg::new(GUARD).long(GUARD).action(ArgAction::SetTrue).conflicts_with("module");
    Command::new(VERB).about("Hold a PKCS#11 module for the daemon").hide(true).args([module, guard])
}
