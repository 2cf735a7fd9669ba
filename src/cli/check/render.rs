//! The report as people read it: a line a step, with why and what to do below it.

use std::fmt::Write as _;

use serde_json::Value;

use super::report::Report;
use super::report::State;
use super::report::Step;

/// Without colours, so that it can be pasted into a ticket.
pub(super) fn text(report: &Report) -> String {
    let width = report.all().map(|step| step.subject.title().chars().count()).max().unwrap_or(0);
    let mut text = format!("anchord {}\n", env!("CARGO_PKG_VERSION"));
    write_steps(&mut text, "this host", &report.steps, width);
    for session in &report.sessions {
        write_steps(&mut text, &format!("session {}", session.name), &session.steps, width);
    }
    let (failed, warnings) = (report.count(State::Failed), report.count(State::Warning));
    let skipped = report.count(State::Skipped);
    let _ = write!(text, "\n{}: {failed} failed, {warnings} to look at", report.outcome().as_str());
    let _ = match skipped {
        0 => writeln!(text),
        skipped => writeln!(text, ", {skipped} skipped"),
    };
    text
}

// Writing into a String cannot fail.
fn write_steps(text: &mut String, heading: &str, steps: &[Step], width: usize) {
    if steps.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}");
    for step in steps {
        let (state, title) = (step.state.as_str(), step.subject.title());
        let _ = writeln!(text, "  {state:7}  {title:width$}  {}", step.detail);
        if let Some(reason) = &step.reason {
            let _ = writeln!(text, "    why: {reason}");
        }
        if let Some(hint) = &step.hint {
            let _ = writeln!(text, "    do:  {hint}");
        }
        for (what, value) in &step.suggestions {
            let _ = writeln!(text, "    {}:", what.replace('_', " "));
            write_suggestion(text, value);
        }
    }
}

fn write_suggestion(text: &mut String, value: &Value) {
    let indented = format!("{value:#}");
    for line in indented.lines() {
        let _ = writeln!(text, "      {line}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::check::report::Session;
    use crate::cli::check::report::Subject;
    use crate::failure::Class;
    use crate::failure::Failure;

    #[test]
    fn each_step_is_a_line_with_why_and_what_to_do_below_it() {
        let certificate = Subject::new("certificate", "certificate");
        let call = Subject::new("create-session", "CreateSession");
        let failure = Failure::of(Class::Denied, "AWS says no", Some("ask the account's owner".into()));
        let steps = vec![
            certificate.ok("CN=robot-7"),
            call.failed("refused", &failure).suggesting("trust_policy", json!({ "Effect": "Allow" })),
            Subject::new("identity", "GetCallerIdentity").skipped_after(&call),
        ];
        let sessions = vec![Session { name: "web".into(), steps }];
        let report = Report { steps: Vec::new(), sessions };

        let expected = format!(
            "anchord {}\n\nsession web\n  \
             ok       certificate        CN=robot-7\n  \
             failed   CreateSession      refused\n    \
             why: AWS says no\n    \
             do:  ask the account's owner\n    \
             trust policy:\n      {{\n        \"Effect\": \"Allow\"\n      }}\n  \
             skipped  GetCallerIdentity  after `CreateSession`, which did not succeed\n\n\
             failed: 1 failed, 0 to look at, 1 skipped\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text(&report), expected);
    }
}
