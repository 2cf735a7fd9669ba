//! Credentials without a daemon: from the cache, or from a CreateSession that parallel processes share.

use time::OffsetDateTime;

use super::cache::Cache;
use super::cache::Entry;
use crate::config::Environment;
use crate::config::Session;
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::daemon;
use crate::daemon::Seams;
use crate::failure::Class;
use crate::failure::Failure;
use crate::frontend::process;
use crate::secret::Secret;
use crate::session;
use crate::session::Freshness;

/// The line for `session`, made with at most one call to AWS among all processes that ask at once.
pub(super) async fn obtain(
    settings: &Settings,
    session: &Session,
    seams: &Seams,
    environment: &Environment,
) -> Result<Secret<String>, Failure> {
    let cache = Cache::of(session, environment);
    if let Some(credentials) = cache.as_ref().and_then(|cache| fresh(cache, seams.clock.now())) {
        return line(&credentials);
    }
    // Whoever gets the lock second finds what the first has made.
    let _lock = match &cache {
        Some(cache) => cache.lock().await,
        None => None,
    };
    let entry = cache.as_ref().map(Cache::read).unwrap_or_default();
    let now = seams.clock.now();
    if let Some(credentials) = cache.as_ref().and_then(|cache| fresh(cache, now)) {
        return line(&credentials);
    }
    if let Some(failure) = entry.failure(now) {
        return usable(&entry, now).map_or(Err(failure), |credentials| line(&credentials));
    }
    let transport = daemon::transport(settings, &seams.clock)?;
    let issued = daemon::issuer(session, transport, &seams.clock).issue().await;
    let now = seams.clock.now();
    match issued {
        Ok(credentials) if is_usable(&credentials, now) => {
            if let Some(cache) = &cache {
                cache.write(&Entry::made(credentials.clone()));
            }
            line(&credentials)
        }
        Ok(_) => Err(Failure::of(
            Class::Misconfigured,
            "AWS's credentials have ended by this host's clock",
            Some("synchronise this host's clock".into()),
        )),
        Err(failure) => {
            if let Some(cache) = &cache {
                cache.write(&entry.clone().failed(&failure, now));
            }
            usable(&entry, now).map_or(Err(failure), |credentials| line(&credentials))
        }
    }
}

/// Not yet due for renewal, by the daemon's own rule.
fn fresh(cache: &Cache, now: OffsetDateTime) -> Option<Credentials> {
    let credentials = cache.read().credentials()?;
    let due = session::left_when_due(credentials.life(), Freshness::Full.reserve());
    (is_usable(&credentials, now) && credentials.remaining(now) > due).then_some(credentials)
}

fn usable(entry: &Entry, now: OffsetDateTime) -> Option<Credentials> {
    entry.credentials().filter(|credentials| is_usable(credentials, now))
}

fn is_usable(credentials: &Credentials, now: OffsetDateTime) -> bool {
    credentials.remaining(now) > Freshness::Full.reserve()
}

fn line(credentials: &Credentials) -> Result<Secret<String>, Failure> {
    let line = process::render(credentials);
    Ok(Secret::new(format!("{}\n", line.expose().trim_end())))
}
