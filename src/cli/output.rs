//! All output of the verbs: exit codes, failures, warnings, prompts, and the reports of `check` and `status`.

pub(super) mod check;
mod exit;
mod printing;
pub(super) mod prompt;
pub(super) mod status;

pub(crate) use exit::Exit;
pub(super) use printing::LEAVE_IT_CLOSED;
pub(super) use printing::Reader;
pub(super) use printing::for_clients;
pub(super) use printing::print;
pub(super) use printing::print_bytes;
pub(super) use printing::report;
pub(super) use printing::report_mistakes;
pub(super) use printing::report_on_one_line;
pub(super) use printing::report_problems;
pub(super) use printing::warn;
pub(super) use printing::without_pem;
