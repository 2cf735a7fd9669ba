//! What the services remember between requests, and the faults laid over their decisions.
//!
//! One lock around all of it, never held across a wait: a request is decided, logged and counted at one instant, so a
//! test that was woken by the count finds everything else in place.

use std::collections::HashMap;
use std::collections::VecDeque;

use time::Duration;
use time::OffsetDateTime;

use crate::answer::Answer;
use crate::answer::Ending;
use crate::bedrock;
use crate::bedrock::Content;
use crate::bedrock::api_key;
use crate::canonical::Incoming;
use crate::damage;
use crate::faults::Fault;
use crate::keyring;
use crate::keyring::IssuedCredentials;
use crate::keyring::Key;
use crate::keyring::Keyring;
use crate::log::Facts;
use crate::log::LoggedRequest;
use crate::reply::Refusal;
use crate::roles_anywhere;
use crate::route;
use crate::service::Service;
use crate::setup::Setup;
use crate::sigv4;
use crate::sigv4::Complaint;
use crate::sigv4::Expected;
use crate::sts;
use crate::sts::Outcome;
use crate::sts::form::Form;
use crate::sts::xml;

/// The services' memory.
pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) clock_offset: Duration,
    /// Faults to come, each for one service or for whichever is asked next.
    pub(crate) script: VecDeque<(Option<Service>, Fault)>,
    /// Faults that stay, by service; `None` is for all of them.
    pub(crate) always: HashMap<Option<Service>, Fault>,
    pub(crate) log: Vec<LoggedRequest>,
    pub(crate) issued: Vec<IssuedCredentials>,
    pub(crate) keyring: Keyring,
    pub(crate) connections: u64,
}

impl State {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            setup,
            clock_offset: Duration::ZERO,
            script: VecDeque::new(),
            always: HashMap::new(),
            log: Vec::new(),
            issued: Vec::new(),
            keyring: Keyring::default(),
            connections: 0,
        }
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.setup.clock.now() + self.clock_offset
    }

    /// Decides and logs one request.
    pub(crate) fn take(&mut self, incoming: &Incoming, connection: u64) -> Answer {
        let now = self.now();
        let service = route::service(incoming);
        let mut entry = LoggedRequest::new(incoming, service, facts(service, incoming), connection, now);
        entry.fault = self.fault(service);
        let too_large = self.setup.readings.too_large(incoming).filter(|_| service == Service::RolesAnywhere);
        let mut answer = match entry.fault.clone().filter(|fault| !fault.answers_as_usual()) {
            _ if let Some(status) = too_large => {
                entry.reason = Some("the headers are too large".to_owned());
                Answer { at: Some(now), ..Answer::html(status) }
            }
            Some(fault) => {
                damage::answer(&self.setup, service, incoming, entry.role_arn.as_deref(), &fault, now)
            }
            None => match self.decide(service, incoming, now, &mut entry) {
                Ok(answer) => Answer { at: Some(now), ..answer },
                Err(refusal) => {
                    entry.reason = Some(refusal.reason.clone());
                    Answer { at: Some(now), ..damage::refused(&self.setup, service, &refusal) }
                }
            },
        };
        match &entry.fault {
            Some(Fault::Slow(pause)) => answer.ending = Ending::Late(*pause),
            Some(Fault::Hold) => answer.ending = Ending::Held,
            Some(Fault::Close) => answer.ending = Ending::Closed,
            Some(fault) => damage::stream(&mut answer, fault),
            None => {}
        }
        self.setup.readings.date(&mut answer);
        entry.status = (answer.ending != Ending::Reset).then_some(answer.status);
        entry.error_type = answer.error_type.map(str::to_owned);
        self.log.push(entry);
        answer
    }

    /// The next fault of the script that is for this service, else the one that stays.
    fn fault(&mut self, service: Service) -> Option<Fault> {
        let next = self.script.iter().position(|(only, _)| only.is_none_or(|only| only == service));
        let scripted = next.and_then(|index| self.script.remove(index)).map(|(_, fault)| fault);
        let always = || self.always.get(&Some(service)).or_else(|| self.always.get(&None)).cloned();
        scripted.or_else(always)
    }

    fn decide(
        &mut self,
        service: Service,
        incoming: &Incoming,
        now: OffsetDateTime,
        entry: &mut LoggedRequest,
    ) -> Result<Answer, Refusal> {
        self.admit(service, now)?;
        match service {
            Service::RolesAnywhere => {
                let mut grant = roles_anywhere::decide(&self.setup, incoming, now)?;
                if let Some(Fault::AnotherRole(role_arn)) = &entry.fault {
                    grant.principal.become_session_of(role_arn, &grant.session_name);
                    grant.role_arn.clone_from(role_arn);
                }
                let issued =
                    keyring::issue("CreateSession", &grant.role_arn, &grant.session_name, grant.expires_at)
                        .map_err(|error| damage::internal(service, 500, &error.to_string()))?;
                let expiration = self.setup.readings.stamp(grant.expires_at);
                let answer = Answer::json(201, &roles_anywhere::answer(&grant, &issued, &expiration));
                entry.access_key_id = Some(issued.access_key_id.clone());
                self.keyring.add(&issued, grant.principal);
                self.issued.push(issued);
                Ok(answer)
            }
            Service::Sts => self.decide_sts(incoming, now, entry),
            Service::Bedrock => self.decide_bedrock(incoming, now),
        }
    }

    fn decide_bedrock(&self, incoming: &Incoming, now: OffsetDateTime) -> Result<Answer, Refusal> {
        let region = self.setup.bedrock_region.as_str();
        let find = |id: &str| self.keyring.find(&self.setup, id);
        let key = match api_key::bearer(incoming) {
            Some(token) => {
                let key = api_key::verify(token, find, region, now)?;
                bedrock::permit(&self.setup, &key.principal, "bedrock:CallWithBearerToken", "*")?;
                key
            }
            None => self
                .verify(incoming, Expected { service: "bedrock", region }, now)
                .map_err(|complaint| bedrock::complaint(&complaint))?,
        };
        let reply = bedrock::decide(&self.setup, &key.principal, incoming)?;
        let answer = match reply.content {
            Content::Json(body) => Answer::json(200, &body),
            Content::Events(frames) => Answer::events(frames),
        };
        Ok(Answer { headers: reply.headers, ..answer })
    }

    fn decide_sts(
        &mut self,
        incoming: &Incoming,
        now: OffsetDateTime,
        entry: &mut LoggedRequest,
    ) -> Result<Answer, Refusal> {
        let expected = Expected { service: "sts", region: &self.setup.sts_region };
        let key = self.verify(incoming, expected, now).map_err(|complaint| sts::complaint(&complaint))?;
        match sts::decide(&self.setup, &key.principal, &Form::of(incoming), now)? {
            Outcome::Identity => Ok(Answer::xml(200, |request_id| xml::identity(&key.principal, request_id))),
            Outcome::Session(mut grant) => {
                if let Some(Fault::AnotherRole(role_arn)) = &entry.fault
                    && grant.action == "AssumeRole"
                {
                    grant.principal.become_session_of(role_arn, &grant.session_name);
                    grant.role_arn.clone_from(role_arn);
                }
                let issued =
                    keyring::issue(grant.action, &grant.role_arn, &grant.session_name, grant.expires_at)
                        .map_err(|error| damage::internal(Service::Sts, 500, &error.to_string()))?;
                let answer = Answer::xml(200, |request_id| xml::session(&grant, &issued, request_id));
                entry.access_key_id = Some(issued.access_key_id.clone());
                self.keyring.add(&issued, grant.principal);
                self.issued.push(issued);
                Ok(answer)
            }
        }
    }

    fn verify(
        &self,
        incoming: &Incoming,
        expected: Expected<'_>,
        now: OffsetDateTime,
    ) -> Result<Key, Complaint> {
        sigv4::verify(incoming, |id| self.keyring.find(&self.setup, id), expected, now)
    }

    /// Throttles, if there is a quota and the last second used it up.
    fn admit(&self, service: Service, now: OffsetDateTime) -> Result<(), Refusal> {
        let Some(quota) = self.setup.requests_per_second else { return Ok(()) };
        let recent = self.log.iter().rev().take_while(|entry| now - entry.at < Duration::SECOND);
        let recent = recent.filter(|entry| entry.service == service).count();
        if recent < quota {
            return Ok(());
        }
        Err(damage::throttled(service, &format!("there were {recent} requests a second")))
    }
}

fn facts(service: Service, incoming: &Incoming) -> Facts {
    match service {
        Service::RolesAnywhere => roles_anywhere::facts(incoming),
        Service::Sts => sts::facts(incoming),
        Service::Bedrock => bedrock::facts(incoming),
    }
}
