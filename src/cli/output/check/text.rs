//! The report as text: one line for each step, with the cause and the advice below it.

use std::fmt::Write as _;

use serde_json::Value;

use super::report::Report;
use super::report::State;
use super::report::Step;

/// Without colours, so that a user can paste it into a ticket. The most important advice is the last line.
pub(in crate::cli) fn text(report: &Report) -> String {
    let width = report.all().map(|step| step.subject.title().chars().count()).max().unwrap_or(0);
    let headings: Vec<_> =
        report.sessions.iter().map(|session| format!("session {}", session.name)).collect();
    let mut page = Page { text: format!("anchord {}\n", env!("CARGO_PKG_VERSION")), width, told: Vec::new() };
    page.write_steps("this host", &report.steps);
    for (heading, session) in headings.iter().zip(&report.sessions) {
        page.write_steps(heading, &session.steps);
    }
    let mut text = page.text;
    let (failed, warnings) = (report.count(State::Failed), report.count(State::Warning));
    let skipped = report.count(State::Skipped);
    let plural = if warnings == 1 { "" } else { "s" };
    // Writing into a String cannot fail.
    let _ = write!(text, "\n{}: {failed} failed, {warnings} warning{plural}", report.outcome().as_str());
    let _ = match skipped {
        0 => writeln!(text),
        skipped => writeln!(text, ", {skipped} skipped"),
    };
    if let Some(first) = first_of_all(report) {
        let _ = writeln!(text, "do first: {first}");
    }
    text
}

/// The advice for the first failed step of the lowest rank, or else for the first such warning. Later problems may
/// follow from it.
fn first_of_all(report: &Report) -> Option<String> {
    let outcome = report.outcome();
    if outcome != State::Failed && outcome != State::Warning {
        return None;
    }
    let of_host = report.steps.iter().map(|step| (None, step));
    let of_sessions = report.sessions.iter().flat_map(|session| {
        session
            .steps
            .iter()
            .map(move |step| (Some(session.name.as_str()).filter(|_| report.sessions.len() > 1), step))
    });
    let candidates = of_host.chain(of_sessions).filter(|(_, step)| step.state == outcome);
    // `min_by_key` returns the first of equal steps.
    let (session, step) = candidates.min_by_key(|(_, step)| step.rank())?;
    let title = step.subject.title();
    let place = match session {
        Some(session) => format!("`{title}` of session {session}"),
        None => format!("`{title}`"),
    };
    Some(match (&step.hint, step.reason.as_ref().unwrap_or(&step.detail)) {
        (Some(hint), found) => format!("{hint} ({place}: {found})"),
        (None, found) => format!("check {place}: {found}"),
    })
}

/// The text so far. If several steps have the same cause, the first shows it and the others refer to the first.
struct Page<'a> {
    text: String,
    /// The width of the titles.
    width: usize,
    /// The problems shown so far, each cause once.
    told: Vec<Told<'a>>,
}

/// A step and its heading.
#[derive(Clone, Copy)]
struct Told<'a> {
    heading: &'a str,
    step: &'a Step,
}

/// Steps that refer to one cause, or a single step with its own cause.
struct Line<'a> {
    cause: Option<Told<'a>>,
    steps: Vec<&'a Step>,
}

impl Told<'_> {
    fn place(&self, heading: &str) -> String {
        let title = self.step.subject.title();
        if self.heading == heading { format!("`{title}`") } else { format!("`{title}` of {}", self.heading) }
    }

    /// Whether `step` has the same cause. Errors in the settings share a subject, but each has its own cause.
    fn explains(&self, heading: &str, step: &Step) -> bool {
        let is_same_place = self.heading == heading && self.step.subject == step.subject;
        !is_same_place && self.step.cause() == step.cause() && self.tells_all_of(step)
    }

    /// Whether a line that refers to this step leaves nothing out. Such a line has the message of a failure, but no
    /// hint, and no text of a warning.
    fn tells_all_of(&self, step: &Step) -> bool {
        let has_message = step.reason.is_some() || self.step.detail == step.detail;
        step.hint.is_some() && self.step.hint == step.hint && has_message
    }
}

impl Line<'_> {
    /// Whether a step with this cause can share this line.
    fn takes(&self, cause: Told<'_>, step: &Step) -> bool {
        let first = self.steps[0];
        let is_blocked = step.blocked_by.is_some();
        self.cause.is_some_and(|of| std::ptr::eq(of.step, cause.step))
            && first.state == step.state
            && (is_blocked || first.reason == step.reason && step.suggestions.is_empty())
    }
}

// Writing into a String cannot fail.
impl<'a> Page<'a> {
    fn write_steps(&mut self, heading: &'a str, steps: &'a [Step]) {
        if steps.is_empty() {
            return;
        }
        let _ = writeln!(self.text, "\n{heading}");
        for step in steps.iter().filter(|step| matches!(step.state, State::Failed | State::Warning)) {
            if self.told_before(heading, step).is_none() {
                self.told.push(Told { heading, step });
            }
        }
        let mut lines: Vec<Line<'_>> = Vec::new();
        for step in steps {
            let cause = self.cause(heading, steps, step);
            let shared = cause.and_then(|cause| lines.iter_mut().find(|line| line.takes(cause, step)));
            match shared {
                Some(line) => line.steps.push(step),
                None => lines.push(Line { cause, steps: vec![step] }),
            }
        }
        for line in &lines {
            match line.cause {
                Some(cause) => self.write_referring(heading, cause, &line.steps),
                None => self.write_step(line.steps[0]),
            }
        }
    }

    /// An earlier step with the same cause.
    fn told_before(&self, heading: &str, step: &Step) -> Option<Told<'a>> {
        self.told.iter().find(|told| told.explains(heading, step)).copied()
    }

    /// The step that `step` refers to: the failed step that blocks it, or an earlier step with the same problem.
    fn cause(&self, heading: &'a str, steps: &'a [Step], step: &'a Step) -> Option<Told<'a>> {
        let is_told = |step: &Step| self.told.iter().any(|told| std::ptr::eq(told.step, step));
        match &step.blocked_by {
            Some(subject) => {
                let went_wrong = |step: &&Step| step.subject == *subject && step.blocked_by.is_none();
                let step = steps.iter().find(went_wrong)?;
                self.told_before(heading, step).or(Some(Told { heading, step }))
            }
            None if is_told(step) => None,
            None => self.told_before(heading, step),
        }
    }

    fn write_step(&mut self, step: &Step) {
        self.write_line(step.state, step.subject.title(), &step.detail);
        if let Some(reason) = &step.reason {
            let _ = writeln!(self.text, "    why: {reason}");
        }
        if let Some(hint) = &step.hint {
            let _ = writeln!(self.text, "    do:  {hint}");
        }
        self.write_suggestions(step);
    }

    fn write_referring(&mut self, heading: &str, cause: Told<'_>, steps: &[&Step]) {
        let (first, place) = (steps[0], cause.place(heading));
        let is_direct = |step: &&Step| step.blocked_by.as_ref() == Some(&cause.step.subject);
        let mut detail = match &first.reason {
            _ if first.state == State::Skipped && steps.iter().all(is_direct) && cause.heading == heading => {
                first.detail.clone()
            }
            _ if first.state == State::Skipped => {
                format!("not run because {place} or a similar step failed")
            }
            Some(reason) if first.reason != cause.step.reason => format!("as {place}: {reason}"),
            _ => format!("as {place}"),
        };
        let mut title = first.subject.title().to_owned();
        if steps.len() > 1 {
            let titles: Vec<_> = steps.iter().map(|step| step.subject.title()).collect();
            title = format!("{} steps", steps.len());
            detail = format!("{detail}: {}", titles.join(", "));
        }
        self.write_line(first.state, &title, &detail);
        self.write_suggestions(first);
    }

    fn write_suggestions(&mut self, step: &Step) {
        for (what, value) in &step.suggestions {
            let _ = writeln!(self.text, "    {}:", what.replace('_', " "));
            write_suggestion(&mut self.text, value);
        }
    }

    fn write_line(&mut self, state: State, title: &str, detail: &str) {
        let (state, width) = (state.as_str(), self.width);
        let _ = writeln!(self.text, "  {state:7}  {title:width$}  {detail}");
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

    use anchord_core::notice::Notice;

    use super::*;
    use crate::cli::output::check::report::SessionReport;
    use crate::cli::output::check::report::Subject;
    use anchord_core::failure::Failure;
    use anchord_core::failure::Reason;

    #[test]
    fn each_step_is_a_line_with_why_and_what_to_do_below_it() {
        let certificate = Subject::new("certificate", "certificate");
        let call = Subject::new("create-session", "CreateSession");
        let failure = Failure::of(Reason::Refused, "AWS says no", Some("ask the account's owner".into()));
        let steps = vec![
            certificate.ok("CN=robot-7"),
            call.failed("refused", &failure).suggesting("trust_policy", json!({ "Effect": "Allow" })),
            Subject::new("identity", "GetCallerIdentity").skipped_after(&call),
        ];
        let sessions = vec![SessionReport { name: "web".into(), steps }];
        let report = Report { steps: Vec::new(), sessions };

        let expected = format!(
            "anchord {}\n\nsession web\n  \
             ok       certificate        CN=robot-7\n  \
             failed   CreateSession      refused\n    \
             why: AWS says no\n    \
             do:  ask the account's owner\n    \
             trust policy:\n      {{\n        \"Effect\": \"Allow\"\n      }}\n  \
             skipped  GetCallerIdentity  not run because `CreateSession` failed\n\n\
             failed: 1 failed, 0 warnings, 1 skipped\n\
             do first: ask the account's owner (`CreateSession`: AWS says no)\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text(&report), expected);
    }

    /// Thirteen steps that fail or are skipped because no name can be looked up.
    fn without_names(session: &str) -> SessionReport {
        let mut steps = Vec::new();
        for (id, title) in [("roles-anywhere", "Roles Anywhere"), ("sts", "STS"), ("bedrock", "Bedrock")] {
            let name = Subject::new(format!("{id}.name"), format!("{title}: name"));
            let hint = Some("check this host's resolver".to_owned());
            let failure = Failure::of(
                Reason::Unavailable,
                format!("cannot look up {id}.example"),
                hint.map(Into::into),
            );
            steps.push(name.failed("is not known", &failure));
            for what in ["connection", "HTTPS"] {
                steps.push(
                    Subject::new(format!("{id}.{what}"), format!("{title}: {what}")).skipped_after(&name),
                );
            }
        }
        let name = steps[0].subject.clone();
        for title in ["CreateSession", "GetCallerIdentity", "AssumeRole 1", "ListFoundationModels"] {
            steps.push(Subject::new(title, title).skipped_after(&name));
        }
        SessionReport { name: session.into(), steps }
    }

    #[test]
    fn one_cause_is_told_once_and_what_to_do_about_it_in_the_last_line() {
        let sessions = vec![without_names("a"), without_names("b")];

        let text = text(&Report { steps: Vec::new(), sessions });

        let count = |what: &str| text.matches(what).count();
        assert_eq!(count("    do:  check this host's resolver"), 1, "{text}");
        assert_eq!(count("as `Roles Anywhere: name`: cannot look up "), 2, "{text}");
        assert_eq!(count("as `Roles Anywhere: name` of session a"), 3, "{text}");
        let skipped =
            "10 steps                    not run because `Roles Anywhere: name` or a similar step failed: ";
        assert_eq!(count(skipped), 1, "{text}");
        assert_eq!(
            count("not run because `Roles Anywhere: name` of session a or a similar step failed: "),
            1,
            "{text}"
        );
        assert!(text.contains("\nfailed: 6 failed, 0 warnings, 20 skipped\n"), "{text}");
        let last = "\ndo first: check this host's resolver (`Roles Anywhere: name` of session a: cannot look up \
                    roles-anywhere.example)\n";
        assert!(text.ends_with(last), "{text}");
        assert_eq!(text.lines().count(), 1 + (2 + 6) + (2 + 4) + 3, "{text}");
    }

    #[test]
    fn each_mistake_of_the_settings_keeps_its_own_lines() {
        let mistake = |what: &str| {
            let hint = Some("did you mean `certificate`?".to_owned());
            let failure = Failure::of(Reason::InvalidSetting, what, hint.map(Into::into));
            Subject::new("configuration", "configuration").failed("a setting is wrong", &failure)
        };
        let steps = vec![mistake("unknown key `certifcate`"), mistake("unknown key `certificat`")];

        let text = text(&Report { steps, sessions: Vec::new() });

        assert_eq!((text.matches("    why: ").count(), text.matches("    do:  ").count()), (2, 2), "{text}");
        assert!(
            text.ends_with(
                "\ndo first: did you mean `certificate`? (`configuration`: unknown key `certifcate`)\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_the_service_may_fail_by_goes_before_advice_about_the_environment() {
        let here =
            Subject::new("environment.region", "environment: Region").warning("no Region", "set AWS_REGION");
        let tls = Subject::new("tls", "TLS").warning("a part is not used", "copy it again");
        let failure = Failure::of(Reason::Unavailable, "no answer", Some("check the firewall".into()));
        let spare = Subject::new("sts.name", "STS: name").failed("is not found", &failure).not_needed();
        let last = |steps: &[&Step]| {
            let steps = steps.iter().map(|step| (*step).clone()).collect();
            text(&Report { steps, sessions: Vec::new() }).lines().last().map(str::to_owned)
        };

        let expected = "do first: copy it again (`TLS`: a part is not used)";
        assert_eq!(last(&[&here, &spare, &tls]).as_deref(), Some(expected));
        assert_eq!(
            last(&[&spare, &here]).as_deref(),
            Some("do first: set AWS_REGION (`environment: Region`: no Region)")
        );
    }

    #[test]
    fn where_all_is_well_there_is_nothing_to_do_and_a_warning_is_something_to_begin_with() {
        let subject = Subject::new("clock", "clock");
        let page = |steps| text(&Report { steps, sessions: Vec::new() });

        assert!(!page(vec![subject.ok("fine")]).contains("do first"));
        assert!(
            page(vec![subject.warned(&Notice::new("it is late"))])
                .ends_with("\ndo first: check `clock`: it is late\n")
        );
    }
}
