//! What the service remembers between requests, and the faults laid over its decisions.
//!
//! One lock around all of it, never held across a wait: a request is decided, logged and counted at one instant, so a
//! test that was woken by the count finds everything else in place.

use std::collections::VecDeque;

use serde_json::Value;
use serde_json::json;
use time::Duration;
use time::OffsetDateTime;

use crate::canonical::Incoming;
use crate::faults::Fault;
use crate::log::IssuedCredentials;
use crate::log::LoggedRequest;
use crate::reply::Refusal;
use crate::service;
use crate::setup::Setup;

/// The service's memory.
pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) clock_offset: Duration,
    pub(crate) script: VecDeque<Fault>,
    pub(crate) always: Option<Fault>,
    pub(crate) log: Vec<LoggedRequest>,
    pub(crate) issued: Vec<IssuedCredentials>,
    pub(crate) connections: u64,
}

/// What the connection shall do.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) error_type: Option<&'static str>,
    pub(crate) retry_after: Option<u32>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) at: OffsetDateTime,
    pub(crate) ending: Ending,
}

/// How an answer reaches the client, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Usual,
    Late(std::time::Duration),
    Held,
    Closed,
    /// More bytes are announced than sent.
    Cut,
    Reset,
}

impl State {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            setup,
            clock_offset: Duration::ZERO,
            script: VecDeque::new(),
            always: None,
            log: Vec::new(),
            issued: Vec::new(),
            connections: 0,
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.setup.clock.now() + self.clock_offset
    }

    /// Decides and logs one request.
    pub(crate) fn take(&mut self, incoming: &Incoming, connection: u64) -> Answer {
        let now = self.now();
        let mut entry = LoggedRequest::new(incoming, connection, now);
        entry.fault = self.script.pop_front().or_else(|| self.always.clone());
        let mut answer = match entry.fault.clone().filter(|fault| !fault.answers_as_usual()) {
            Some(fault) => Answer { at: now, ..self.faulty(&fault) },
            None => self.decide(incoming, now, &mut entry),
        };
        match entry.fault {
            Some(Fault::Slow(pause)) => answer.ending = Ending::Late(pause),
            Some(Fault::Hold) => answer.ending = Ending::Held,
            Some(Fault::Close) => answer.ending = Ending::Closed,
            _ => {}
        }
        entry.status = (answer.ending != Ending::Reset).then_some(answer.status);
        entry.error_type = answer.error_type.map(str::to_owned);
        self.log.push(entry);
        answer
    }

    fn decide(&mut self, incoming: &Incoming, now: OffsetDateTime, entry: &mut LoggedRequest) -> Answer {
        let granted = self.admit(now).and_then(|()| service::decide(&self.setup, incoming, now));
        let granted = granted.and_then(|grant| {
            service::issue(&grant).map_err(|error| {
                Refusal::new(500, "InternalServerException", "Internal failure", error.to_string())
            })
        });
        match granted {
            Ok((issued, body)) => {
                entry.access_key_id = Some(issued.access_key_id.clone());
                self.issued.push(issued);
                Answer { at: now, ..json_answer(201, &body) }
            }
            Err(refusal) => {
                entry.reason = Some(refusal.reason.clone());
                Answer { at: now, ..refused(&refusal) }
            }
        }
    }

    /// Throttles, if there is a quota and the last second used it up.
    fn admit(&self, now: OffsetDateTime) -> Result<(), Refusal> {
        let Some(quota) = self.setup.requests_per_second else { return Ok(()) };
        let recent = self.log.iter().rev().take_while(|entry| now - entry.at < Duration::SECOND).count();
        if recent < quota {
            return Ok(());
        }
        let reason = format!("there were {recent} requests a second");
        Err(Refusal::new(429, "ThrottlingException", "Rate exceeded", reason))
    }

    fn faulty(&self, fault: &Fault) -> Answer {
        match fault {
            Fault::Throttle { retry_after } => {
                let refusal = Refusal::new(429, "ThrottlingException", "Rate exceeded", "fault");
                Answer { retry_after: *retry_after, ..refused(&refusal) }
            }
            Fault::Status(status) => {
                refused(&Refusal::new(*status, "InternalServerException", "Internal failure", "fault"))
            }
            Fault::Html(status) => Answer {
                status: *status,
                content_type: "text/html",
                body: format!("<html><body><h1>{status}</h1>\nTry again later\n</body></html>\n")
                    .into_bytes(),
                ..json_answer(*status, &Value::Null)
            },
            Fault::Denied { message } => {
                refused(&Refusal::new(403, "AccessDeniedException", message, "fault"))
            }
            Fault::Malformed => {
                Answer { body: b"{\"credentialSet\":[{\"creden".to_vec(), ..json_answer(201, &Value::Null) }
            }
            Fault::Truncated => Answer { ending: Ending::Cut, ..json_answer(201, &self.unbacked()) },
            Fault::EmptyCredentialSet => {
                let mut body = self.unbacked();
                body["credentialSet"] = json!([]);
                json_answer(201, &body)
            }
            Fault::PartialCredentials => {
                let mut body = self.unbacked();
                body["credentialSet"][0]["credentials"]["sessionToken"].take();
                if let Some(Value::Object(members)) = body.pointer_mut("/credentialSet/0/credentials") {
                    members.remove("sessionToken");
                }
                json_answer(201, &body)
            }
            Fault::Expired => {
                let mut body = self.unbacked();
                let expired_at = service::stamp(self.now() - Duration::HOUR);
                body["credentialSet"][0]["credentials"]["expiration"] = Value::String(expired_at);
                json_answer(201, &body)
            }
            Fault::Oversized => {
                let mut body = self.unbacked();
                body["padding"] = Value::String("x".repeat(4 << 20));
                json_answer(201, &body)
            }
            Fault::Reset => Answer { ending: Ending::Reset, ..json_answer(500, &Value::Null) },
            Fault::Slow(_) | Fault::Hold | Fault::Close => json_answer(500, &Value::Null),
        }
    }

    /// The shape of a session whose credentials nobody was given: what faults damage.
    fn unbacked(&self) -> Value {
        json!({
            "credentialSet": [{
                "assumedRoleUser": { "arn": "arn:aws:sts::123456789012:assumed-role/Fault/fault", "assumedRoleId": "AROAFAULT:fault" },
                "credentials": {
                    "accessKeyId": "ASIAFAULTFAULTFAULT2",
                    "secretAccessKey": "fault/secret/fault/secret/fault/secret/f",
                    "sessionToken": "fault-session-token",
                    "expiration": service::stamp(self.now() + Duration::HOUR),
                },
                "packedPolicySize": 10,
                "roleArn": self.setup.role_arn(),
                "sourceIdentity": "CN=fault",
            }],
            "subjectArn": self.setup.arn("subject/fault"),
        })
    }
}

/// 413, before anything is read into memory without end.
pub(crate) fn too_large(at: OffsetDateTime) -> Answer {
    let refusal = Refusal::new(413, "RequestEntityTooLargeException", "Request entity too large", "body");
    Answer { at, ..refused(&refusal) }
}

fn refused(refusal: &Refusal) -> Answer {
    Answer { error_type: Some(refusal.kind), ..json_answer(refusal.status, &refusal.body()) }
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer {
        status,
        error_type: None,
        retry_after: None,
        content_type: "application/json",
        body: body.to_string().into_bytes(),
        at: OffsetDateTime::UNIX_EPOCH,
        ending: Ending::Usual,
    }
}
