//! The steps of one session: its first credentials, its chain of roles, and calls with the last credentials.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::call;
use super::call::Call;
use super::certificate;
use super::certificate::Examined;
use super::create_session;
use super::models::Models;
use super::network;
use super::network::Endpoint;
use super::network::Way;
use super::roles;
use super::roles::Principal;
use crate::cli::output::check::report::Step;
use crate::cli::output::check::report::Subject;
use anchord_aws::upstream::Caller;
use anchord_aws::upstream::Sts;
use anchord_aws::upstream::caller_identity;
use anchord_config as config;
use anchord_config::CredentialSource;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::credentials::Keys;
use anchord_core::failure::Failure;
use anchord_runtime::assembly;

/// A session to check, and what the checks need.
#[derive(Clone, Copy)]
pub(super) struct Patient<'a> {
    pub(super) session: &'a config::SessionSettings,
    pub(super) way: &'a Way<'a>,
    pub(super) models: &'a Models,
}

/// Runs all steps of the session. Blocks.
pub(super) fn steps(patient: Patient<'_>, runtime: &Runtime) -> Vec<Step> {
    let caller = Caller::new(patient.way.transport.clone(), patient.way.clock.clone());
    let mut walk = Walk { patient, caller, steps: Vec::new(), obstacles: Vec::new() };
    match &patient.session.source {
        CredentialSource::RolesAnywhere(source) => {
            let calls = call::calls(patient.session, source);
            let endpoints = calls.iter().map(|call| call.endpoint.clone()).collect();
            let skew = runtime.block_on(walk.reach(endpoints));
            // Outside of `block_on`: loading blocks, and may need a runtime of its own. Uses AWS's time, as AWS does.
            let examined = certificate::examine(&source.identity, patient.way.clock.now() + skew);
            runtime.block_on(async {
                let held = walk.certified(&calls, examined).await;
                let principal =
                    Principal { arn: Some(source.first.role.as_str().into()), is_certified: true };
                walk.go_on(held, principal).await;
            });
        }
        CredentialSource::AccessKeys(source) => runtime.block_on(async {
            let held = walk.keyed(source).await;
            walk.go_on(held, Principal { arn: None, is_certified: false }).await;
        }),
    }
    walk.steps
}

/// The result of a step, or the subject of the failed step that blocks those after it.
type Held<T> = Result<T, Subject>;

struct Walk<'a> {
    patient: Patient<'a>,
    caller: Caller,
    steps: Vec<Step>,
    /// For each URL that cannot be called, the step that failed.
    obstacles: Vec<(String, Subject)>,
}

impl Walk<'_> {
    /// Gets the first credentials with a certificate.
    async fn certified(&mut self, calls: &[Call], examined: Examined) -> Held<Credentials> {
        let Examined { steps, sent } = examined;
        let unusable = steps.iter().find(|step| step.is_failed()).map(|step| step.subject.clone());
        self.steps.splice(..0, steps);
        let mut held = Err(unusable.clone().unwrap_or_else(certificate::subject));
        for call in calls {
            let obstacle = unusable.clone().or_else(|| self.obstacle(&call.endpoint.url));
            let (step, obtained) = match (&sent, obstacle) {
                (Some(sent), None) => {
                    let (step, credentials) = create_session::step(call, self.patient.way, sent).await;
                    (step, credentials.ok_or_else(|| call.subject.clone()))
                }
                (_, obstacle) => {
                    let obstacle = obstacle.unwrap_or_else(certificate::subject);
                    (call.subject.skipped_after(&obstacle), Err(obstacle))
                }
            };
            self.steps.push(step);
            held = held.or(obtained);
        }
        held
    }

    /// Gets the first credentials with access keys.
    async fn keyed(&mut self, source: &config::AccessKeySource) -> Held<Credentials> {
        let subject = Subject::new("access-keys", "access keys");
        let keys = match source.keys.load().await {
            Ok(keys) => {
                let found = format!("{} from {}", keys.access_key_id, source.keys.name());
                self.steps.push(subject.ok(found));
                Ok(keys)
            }
            Err(error) => {
                self.steps.push(subject.failed("cannot be used", &error.into()));
                Err(subject)
            }
        };
        self.reach(Vec::new()).await;
        let keys = keys?;
        if source.get_session_token && self.patient.session.chain.is_empty() {
            return self.session_token().await;
        }
        let now = self.patient.way.clock.moment();
        // An hour is longer than the checks take.
        let credentials = Credentials::new(keys, now, now.wall + time::Duration::HOUR, None);
        credentials.map_err(|_| Subject::new("access-keys", "access keys"))
    }

    async fn session_token(&mut self) -> Held<Credentials> {
        let subject = Subject::new("session-token", "GetSessionToken");
        let session = self.patient.session;
        if let Some(obstacle) = self.obstacle(&session.sts.url()) {
            self.steps.push(subject.skipped_after(&obstacle));
            return Err(obstacle);
        }
        let way = self.patient.way;
        let issued = assembly::issuer(session, None, way.transport.clone(), way.clock, None).issue().await;
        self.steps.push(match &issued {
            Ok(credentials) => found(&subject, credentials, session.duration(), "", way.clock),
            Err(failure) => subject.failed("no credentials", failure),
        });
        let alive = issued.ok().filter(|issued| create_session::is_alive(issued, way.clock).is_ok());
        alive.ok_or(subject)
    }

    /// Probes all endpoints and compares the clocks. Returns the time to add to the local clock.
    async fn reach(&mut self, own: Vec<Endpoint>) -> time::Duration {
        let Patient { session, way, models } = self.patient;
        let sts = sts_endpoints(session).into_iter().map(|endpoint| (endpoint, needs_sts(session)));
        let bedrock = models.endpoints(session).into_iter().map(|endpoint| (endpoint, models.are_needed()));
        let all: Vec<_> =
            own.into_iter().map(|endpoint| (endpoint, true)).chain(sts).chain(bedrock).collect();
        // In parallel: behind a firewall that drops packets, each takes until its time limit.
        let probed = join_all(all.iter().map(|(endpoint, _)| way.probe(endpoint))).await;
        let mut skews = Vec::new();
        for ((endpoint, is_needed), probed) in all.into_iter().zip(probed) {
            skews.extend(probed.skew);
            self.obstacles.extend(probed.obstacle().map(|obstacle| (endpoint.url.clone(), obstacle)));
            let steps = probed.steps.into_iter();
            self.steps.extend(steps.map(|step| if is_needed { step } else { step.not_needed() }));
        }
        self.steps.push(network::clock_step(skews.iter().copied()));
        network::correction(skews.into_iter())
    }

    fn obstacle(&self, url: &str) -> Option<Subject> {
        self.obstacles.iter().find(|(of, _)| of == url).map(|(_, obstacle)| obstacle.clone())
    }

    /// Goes from the first credentials through the chain of roles to Bedrock.
    async fn go_on(&mut self, first: Held<Credentials>, mut principal: Principal) {
        let session = self.patient.session;
        let mut held = first.map(|credentials| credentials.keys().clone());
        let arn =
            self.identity(Subject::new("caller-identity", "GetCallerIdentity"), &held, &session.sts).await;
        principal.arn = principal.arn.or(arn);
        for (number, step) in (1..).zip(&session.chain) {
            let subject = Subject::new(format!("assume-role.{number}"), format!("AssumeRole {number}"));
            held = match self.ready(held, &step.sts.url()) {
                Err(obstacle) => {
                    self.steps.push(subject.skipped_after(&obstacle));
                    Err(obstacle)
                }
                Ok(keys) => match step.take(&self.caller, &keys).await {
                    Ok(credentials) => {
                        let clock = self.patient.way.clock;
                        let role = format!("{}: ", step.role.as_str());
                        self.steps.push(found(&subject, &credentials, step.duration, &role, clock));
                        let alive = create_session::is_alive(&credentials, clock);
                        alive.map(|()| credentials.keys().clone()).map_err(|_| subject)
                    }
                    Err(error) => {
                        let failure = Failure::from(error);
                        self.steps.push(roles::refused(&subject, step, &principal, &failure));
                        Err(subject)
                    }
                },
            };
            principal.arn = Some(step.role.as_str().to_owned());
            let after =
                Subject::new(format!("caller-identity.{number}"), format!("GetCallerIdentity {number}"));
            self.identity(after, &held, &step.sts).await;
        }
        let obstacles = &self.obstacles;
        let obstacle_of = |url: &str| obstacles.iter().find(|(of, _)| of == url).map(|(_, it)| it.clone());
        let steps = self.patient.models.steps(session, self.patient.way, &held, obstacle_of).await;
        self.steps.extend(steps);
    }

    /// The keys, if this URL can be called.
    fn ready(&self, held: Held<Keys>, url: &str) -> Held<Keys> {
        let keys = held?;
        self.obstacle(url).map_or(Ok(keys), Err)
    }

    /// Asks AWS for the principal of the credentials.
    async fn identity(&mut self, subject: Subject, held: &Held<Keys>, sts: &Sts) -> Option<String> {
        let keys = match self.ready(held.clone(), &sts.url()) {
            Ok(keys) => keys,
            Err(obstacle) => {
                self.steps.push(subject.skipped_after(&obstacle));
                return None;
            }
        };
        match caller_identity(&self.caller, sts, &keys).await {
            Ok(identity) => {
                self.steps.push(subject.ok(&identity.arn));
                Some(identity.arn)
            }
            Err(error) => {
                let step = subject.failed("AWS does not identify these credentials", &error.into());
                self.steps.push(if needs_sts(self.patient.session) { step } else { step.not_needed() });
                None
            }
        }
    }
}

/// Whether the session itself needs STS. Otherwise only GetCallerIdentity of this check calls it.
fn needs_sts(session: &config::SessionSettings) -> bool {
    let exchanges = matches!(&session.source, CredentialSource::AccessKeys(keys) if keys.get_session_token);
    exchanges || !session.chain.is_empty()
}

/// A step for credentials, failed if clients could not use them.
fn found(
    subject: &Subject,
    credentials: &Credentials,
    duration: Duration,
    whose: &str,
    clock: &Clock,
) -> Step {
    let found = format!("{whose}{}", create_session::described(credentials, duration));
    match create_session::is_alive(credentials, clock) {
        Ok(()) => subject.ok(found),
        Err(failure) => subject.failed(found, &failure),
    }
}

/// Each STS endpoint of the session, without duplicates.
fn sts_endpoints(session: &config::SessionSettings) -> Vec<Endpoint> {
    let mut urls = vec![session.sts.url()];
    for step in &session.chain {
        let url = step.sts.url();
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    let endpoint = |(number, url): (usize, String)| match number {
        1 => Endpoint { id: "sts".into(), name: "STS".into(), url },
        _ => Endpoint { id: format!("sts-{number}"), name: format!("STS {number}"), url },
    };
    (1..).zip(urls).map(endpoint).collect()
}
