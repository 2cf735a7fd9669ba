//! The report of `check`: its steps in order, and its outcome.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::Exit;
use crate::cli::output;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Notice;

/// The whole report.
#[derive(Debug, Default)]
pub(in crate::cli) struct Report {
    /// The steps that belong to no session: the configuration, the daemon, the environment.
    pub(in crate::cli) steps: Vec<Step>,
    /// In the order of the configuration.
    pub(in crate::cli) sessions: Vec<SessionReport>,
}

/// The steps of one session.
#[derive(Debug)]
pub(in crate::cli) struct SessionReport {
    pub(in crate::cli) name: String,
    pub(in crate::cli) steps: Vec<Step>,
}

/// The subject of a step. Its id never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Subject {
    id: String,
    title: String,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) enum State {
    Ok,
    Skipped,
    Warning,
    Failed,
}

/// What is behind a step that went wrong, as a value: several steps, and several sessions, may have one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Cause<'a> {
    Failure(Reason),
    /// A warning about this subject.
    Warning(&'a Subject),
}

/// One check and its result.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Step {
    pub(in crate::cli) subject: Subject,
    pub(in crate::cli) state: State,
    /// The result as text.
    pub(in crate::cli) detail: String,
    /// The cause of a failure.
    pub(in crate::cli) reason: Option<String>,
    /// What to do about it.
    pub(in crate::cli) hint: Option<String>,
    /// Values to copy, such as policy statements, by name.
    pub(in crate::cli) suggestions: Map<String, Value>,
    /// The failed step that blocks this one.
    pub(in crate::cli) blocked_by: Option<Subject>,
    /// The reason of a failure as a value; its class decides the exit code.
    pub(in crate::cli) reason_code: Option<Reason>,
    is_needed: bool,
}

impl Subject {
    pub(in crate::cli) fn new(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self { id: id.into(), title: title.into() }
    }

    pub(in crate::cli) fn title(&self) -> &str {
        &self.title
    }

    pub(in crate::cli) fn ok(&self, detail: impl Into<String>) -> Step {
        self.step(State::Ok, detail)
    }

    pub(in crate::cli) fn warning(&self, detail: impl Into<String>, hint: impl Into<String>) -> Step {
        Step { hint: Some(hint.into()), ..self.step(State::Warning, detail) }
    }

    /// A warning from a notice.
    pub(in crate::cli) fn warned(&self, notice: &Notice) -> Step {
        Step { hint: notice.hint().map(str::to_owned), ..self.step(State::Warning, notice.message()) }
    }

    pub(in crate::cli) fn failed(&self, detail: impl Into<String>, failure: &Failure) -> Step {
        Step {
            reason: Some(failure.message().to_owned()),
            hint: failure.hint().map(str::to_owned),
            reason_code: Some(failure.reason()),
            ..self.step(State::Failed, detail)
        }
    }

    /// Skipped because `other` failed.
    pub(in crate::cli) fn skipped_after(&self, other: &Self) -> Step {
        let blocked_by = Some(other.clone());
        Step { blocked_by, ..self.skipped(format!("not run because `{}` failed", other.title)) }
    }

    pub(in crate::cli) fn skipped(&self, detail: impl Into<String>) -> Step {
        self.step(State::Skipped, detail)
    }

    fn step(&self, state: State, detail: impl Into<String>) -> Step {
        Step {
            subject: self.clone(),
            state,
            detail: detail.into(),
            reason: None,
            hint: None,
            suggestions: Map::new(),
            blocked_by: None,
            reason_code: None,
            is_needed: true,
        }
    }
}

impl State {
    pub(in crate::cli) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Step {
    pub(in crate::cli) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    pub(in crate::cli) fn cause(&self) -> Cause<'_> {
        self.reason_code.map_or(Cause::Warning(&self.subject), Cause::Failure)
    }

    #[must_use]
    pub(in crate::cli) fn hinting(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    #[must_use]
    pub(in crate::cli) fn suggesting(mut self, what: &str, value: Value) -> Self {
        self.suggestions.insert(what.into(), value);
        self
    }

    /// For a step that the session does not need: a failure becomes a warning.
    #[must_use]
    pub(in crate::cli) fn not_needed(self) -> Self {
        match self.state {
            State::Failed => Self { state: State::Warning, is_needed: false, ..self },
            _ => self,
        }
    }

    /// The order in which to fix problems, lowest first. The environment comes later because it only affects programs that
    /// are started in it, and steps that the session does not need come last.
    pub(in crate::cli) fn rank(&self) -> u8 {
        match self.subject.id.split('.').next() {
            _ if !self.is_needed => 2,
            Some("environment") => 1,
            _ => 0,
        }
    }

    fn failed_for(&self) -> Option<Reason> {
        self.reason_code.filter(|_| self.is_failed())
    }

    fn json(&self) -> Value {
        let mut shown = json!({
            "id": self.subject.id,
            "title": self.subject.title,
            "state": self.state.as_str(),
            "detail": self.detail,
            "reason": self.reason,
            "hint": self.hint,
            "class": self.failed_for().map(|reason| reason.class().as_str()),
            "reason_code": self.failed_for().map(Reason::as_str),
        });
        if !self.suggestions.is_empty() {
            shown["suggestions"] = Value::Object(self.suggestions.clone());
        }
        shown
    }
}

impl Report {
    /// The report without key material that a variable held instead of a path or a name.
    pub(in crate::cli) fn without_keys(mut self) -> Self {
        for step in
            self.steps.iter_mut().chain(self.sessions.iter_mut().flat_map(|session| &mut session.steps))
        {
            for text in
                [Some(&mut step.detail), step.reason.as_mut(), step.hint.as_mut()].into_iter().flatten()
            {
                *text = output::without_pem(text).into_owned();
            }
        }
        self
    }

    pub(in crate::cli) fn all(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(self.sessions.iter().flat_map(|session| &session.steps))
    }

    pub(in crate::cli) fn count(&self, state: State) -> usize {
        self.all().filter(|step| step.state == state).count()
    }

    /// `ok`, `warning` or `failed`.
    pub(in crate::cli) fn outcome(&self) -> State {
        let worst = self.all().map(|step| step.state).max().unwrap_or(State::Ok);
        // A step that is skipped without a failure was not needed.
        if worst == State::Skipped { State::Ok } else { worst }
    }

    /// The exit code of the worst failure: a bug, else a refusal, else a problem of this host.
    pub(in crate::cli) fn exit(&self) -> Exit {
        let exits = self.all().filter_map(Step::failed_for).map(|reason| Exit::from(reason.class()));
        exits.max_by_key(|exit| exit.code()).unwrap_or(Exit::Done)
    }

    pub(in crate::cli) fn json(&self) -> Value {
        let steps = |steps: &[Step]| steps.iter().map(Step::json).collect::<Vec<_>>();
        let sessions = self.sessions.iter();
        let sessions =
            sessions.map(|session| json!({ "name": session.name, "steps": steps(&session.steps) }));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "steps": steps(&self.steps),
            "sessions": sessions.collect::<Vec<_>>(),
            "outcome": self.outcome().as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;

    fn report(classes: &[Class]) -> Report {
        let failed =
            |class: &Class| Subject::new("a", "a").failed("x", &Failure::of((*class).into(), "why", None));
        let steps = classes.iter().map(failed).collect();
        Report { steps, sessions: Vec::new() }
    }

    #[test]
    fn the_worst_failure_decides_the_exit_code() {
        assert_eq!(report(&[]).exit(), Exit::Done);
        assert_eq!(report(&[Class::Throttled, Class::Transient]).exit(), Exit::Failed);
        assert_eq!(report(&[Class::Denied, Class::Misconfigured]).exit(), Exit::Refused);
        assert_eq!(report(&[Class::Denied, Class::Broken, Class::Transient]).exit(), Exit::Broken);
    }

    #[test]
    fn warnings_and_what_was_skipped_are_no_failure() {
        let subject = Subject::new("proxy", "proxy");
        let steps = vec![subject.ok("fine"), subject.skipped("not needed")];
        let skipped = Report { steps, sessions: Vec::new() };
        let steps = vec![subject.warned(&Notice::new("the key is open to others").hinting("chmod 0600 it"))];
        let warned = Report { steps, sessions: Vec::new() };

        assert_eq!((skipped.outcome(), skipped.exit()), (State::Ok, Exit::Done));
        assert_eq!((warned.outcome(), warned.exit()), (State::Warning, Exit::Done));
        assert_eq!(warned.steps[0].detail, "the key is open to others");
        assert_eq!(warned.steps[0].hint.as_deref(), Some("chmod 0600 it"));
    }

    #[test]
    fn machines_find_each_step_by_its_id() {
        let mut report = report(&[]);
        let failure = Failure::of(Reason::Refused, "AWS says no", Some("ask".into()));
        let step = Subject::new("create-session", "CreateSession").failed("refused", &failure);
        report.sessions.push(SessionReport { name: "web".into(), steps: vec![step] });

        let json = report.json();

        assert_eq!(json["outcome"], "failed");
        let expected = json!({
            "id": "create-session", "title": "CreateSession", "state": "failed", "detail": "refused",
            "reason": "AWS says no", "hint": "ask", "class": "denied", "reason_code": "refused",
        });
        assert_eq!(json["sessions"][0], json!({ "name": "web", "steps": [expected] }));
    }
}
