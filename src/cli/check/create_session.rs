//! The step that asks Roles Anywhere for credentials, as the daemon does.

use std::sync::Arc;
use std::time::Duration;

use super::certificate::Sent;
use super::explain;
use super::network::Endpoint;
use super::network::Way;
use super::report::Step;
use super::report::Subject;
use anchord_config as config;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::host;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_runtime::daemon;
use anchord_session::Freshness;

/// For an attempt with all its calls, where settings have no limits or large ones.
const PATIENCE: Duration = Duration::from_secs(90);

/// A Roles Anywhere that a session may ask.
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    /// The step that asks it.
    pub(super) subject: Subject,
    /// What is asked of it.
    pub(super) source: config::RolesAnywhere,
    /// The session as if it ended there, and knew no other.
    session: config::Session,
}

/// Those of `session`, which begins with `source`.
pub(super) fn calls(session: &config::Session, source: &config::RolesAnywhere) -> Vec<Call> {
    let call = |endpoint: (&str, &str), subject: (&str, &str), source: config::RolesAnywhere| {
        let own = || format!("https://{}", host(Service::RolesAnywhere, &source.region, session.variant));
        let url = source.endpoint.clone().unwrap_or_else(own);
        let endpoint = Endpoint { id: endpoint.0.into(), name: endpoint.1.into(), url };
        let origin = config::Source::RolesAnywhere(Box::new(source.clone()));
        let session = config::Session { source: origin, chain: Vec::new(), ..session.clone() };
        Call { endpoint, subject: Subject::new(subject.0, subject.1), source, session }
    };
    let first = config::RolesAnywhere { fallback: None, ..source.clone() };
    let second = source.fallback.as_ref().map(|second| {
        let there = config::RolesAnywhere {
            trust_anchor: second.trust_anchor.clone(),
            profile: second.profile.clone(),
            region: second.trust_anchor.region(),
            endpoint: second.endpoint.clone(),
            ..first.clone()
        };
        call(("fallback", "fallback"), ("fallback.create-session", "fallback: CreateSession"), there)
    });
    let first = call(("roles-anywhere", "Roles Anywhere"), ("create-session", "CreateSession"), first);
    std::iter::once(first).chain(second).collect()
}

impl Call {
    /// Asks once, and explains a refusal.
    pub(super) async fn step(&self, way: &Way<'_>, sent: &Sent) -> (Step, Option<Credentials>) {
        let (identity, transport) = (daemon::identity(&self.session), Arc::clone(&way.transport));
        let issuer = daemon::issuer(&self.session, identity, transport, way.clock, None);
        let issued = match tokio::time::timeout(PATIENCE, issuer.issue()).await {
            Ok(issued) => issued,
            Err(_) => {
                let hint = Some("see whether AWS can be reached from here".to_owned());
                let message = format!("no answer within {} s", PATIENCE.as_secs());
                Err(Failure::of(Reason::NoAnswer, message, hint))
            }
        };
        match issued {
            Ok(credentials) => {
                let found = described(&credentials, self.session.duration);
                match is_alive(&credentials, way.clock) {
                    Ok(()) => (self.subject.ok(found), Some(credentials)),
                    Err(failure) => (self.subject.failed(found, &failure), None),
                }
            }
            Err(failure) => (explain::create_session(self, sent, &failure), None),
        }
    }

    /// The session's name.
    pub(super) fn session(&self) -> &str {
        &self.session.name
    }

    /// How long the credentials are to last.
    pub(super) fn duration(&self) -> Duration {
        self.session.duration
    }
}

/// Whether any client could use them, as the daemon judges it.
pub(super) fn is_alive(credentials: &Credentials, clock: &Clock) -> Result<(), Failure> {
    if credentials.remaining(clock.moment()) > Freshness::Full.reserve() {
        return Ok(());
    }
    let message = "AWS's credentials have ended, or end within a minute, by this host's clock";
    Err(Failure::of(Reason::ClockOff, message, Some("synchronise this host's clock".into())))
}

/// What was obtained; `duration` was asked for.
pub(super) fn described(credentials: &Credentials, duration: Duration) -> String {
    let end = clock::rfc3339(credentials.expires_at());
    if !credentials.life().is_positive() {
        return format!("{} until {end}, which this host's clock has passed", credentials.access_key_id());
    }
    let minutes = (credentials.life() + time::Duration::seconds(30)).whole_minutes();
    let asked = i64::try_from(duration.as_secs() / 60).unwrap_or(i64::MAX);
    let shortened = match asked > minutes {
        true => format!("; {asked} min were asked for, and AWS grants no more"),
        false => String::new(),
    };
    format!("{} until {end} ({minutes} min{shortened})", credentials.access_key_id())
}
