//! The step that calls CreateSession, as the daemon does.

use std::sync::Arc;
use std::time::Duration;

use super::call::CreateSessionCall;
use super::certificate::Sent;
use super::explain;
use super::network::AwsNetwork;
use crate::cli::output::check::report::Step;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_runtime::assembly;
use anchord_session::Freshness;

/// The time limit for the call, even if the settings have a larger one or none.
const PATIENCE: Duration = Duration::from_secs(90);

/// Calls once, and explains a refusal.
pub(super) async fn step(
    call: &CreateSessionCall,
    way: &AwsNetwork<'_>,
    sent: &Sent,
) -> (Step, Option<Credentials>) {
    let (identity, transport) = (assembly::identity(&call.session), Arc::clone(&way.transport));
    let issuer = assembly::issuer(&call.session, identity, transport, way.clock, None);
    let issued = match tokio::time::timeout(PATIENCE, issuer.issue()).await {
        Ok(issued) => issued,
        Err(_) => {
            let hint = Some("check the network from this host to AWS".to_owned());
            let message = format!("no answer within {} s", PATIENCE.as_secs());
            Err(Failure::of(Reason::NoAnswer, message, hint.map(Into::into)))
        }
    };
    match issued {
        Ok(credentials) => {
            let found = described(&credentials, call.asked.duration);
            match is_alive(&credentials, way.clock) {
                Ok(()) => (call.subject.ok(found), Some(credentials)),
                Err(failure) => (call.subject.failed(found, &failure), None),
            }
        }
        Err(failure) => (explain::create_session(call, sent, &failure), None),
    }
}

/// Checks that clients could use the credentials, by the daemon's rule.
pub(super) fn is_alive(credentials: &Credentials, clock: &Clock) -> Result<(), Failure> {
    if credentials.remaining(clock.moment()) > Freshness::Full.reserve() {
        return Ok(());
    }
    let message = "AWS's credentials have expired, or expire within a minute, by this host's clock";
    Err(Failure::of(Reason::ClockOff, message, Some("synchronise this host's clock".into())))
}

/// Describes the credentials; `duration` was requested.
pub(super) fn described(credentials: &Credentials, duration: Duration) -> String {
    let end = clock::rfc3339(credentials.expires_at());
    if !credentials.life().is_positive() {
        return format!("{} until {end}, already past by this host's clock", credentials.access_key_id());
    }
    let minutes = (credentials.life() + time::Duration::seconds(30)).whole_minutes();
    let asked = i64::try_from(duration.as_secs() / 60).unwrap_or(i64::MAX);
    let shortened = match asked > minutes {
        true => format!("; {asked} min were requested, but AWS grants no more"),
        false => String::new(),
    };
    format!("{} until {end} ({minutes} min{shortened})", credentials.access_key_id())
}
