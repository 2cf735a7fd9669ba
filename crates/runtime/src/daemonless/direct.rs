//! Credentials without a daemon: from the cache, or from a call to AWS that parallel processes share.

use std::time::Duration;

use tracing::warn;

use super::Caching;
use super::cache::Cache;
use super::cache_entry::CacheEntry;
use crate::assembly;
use crate::assembly::Seams;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::digest::sha256_hex;
use anchord_core::event;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use anchord_identity as identity;
use anchord_identity::Passphrase;
use anchord_identity::SourceStamp;
use anchord_session as session;
use anchord_session::Freshness;

/// Time limit of a call without valid credentials in the cache: a little less than the limit of the whole process.
const PATIENCE: Duration = Duration::from_secs(9);
/// Time limit of a renewal while the cache has valid credentials.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);
/// If a clock is set back by less than this, cached credentials are still trusted. A renewal's reserve is longer.
const SMALL_STEP: time::Duration = time::Duration::minutes(5);

/// Obtains credentials of `session`. Processes that ask at the same time make at most one call to AWS together. If a
/// renewal fails, hangs, or another process does not finish it, valid credentials of the cache are used. `None` if a
/// person must first type the passphrase and the cache has no valid credentials.
///
/// If the certificate has changed, cached credentials are renewed but not dropped: they are of the same role, and AWS
/// may refuse the new certificate, or its file may be half written. They are used until the new certificate has given
/// credentials or they expire, as in the daemon.
pub(super) async fn obtain(
    settings: &Settings,
    session: &SessionSettings,
    caching: Caching,
    seams: &Seams,
    environment: &Environment,
) -> Result<Option<Credentials>, Failure> {
    let cache = cache(settings, session, caching, environment).await?;
    let held = cache.as_ref().map(Cache::read).unwrap_or_default();
    let clock = &seams.clock;
    if let Some(credentials) = fresh(&held, clock)
        && held.is_of(&stamp(session).await)
    {
        return Ok(Some(credentials));
    }
    let alive = usable(&held, clock);
    if waits_for_passphrase(session) {
        return Ok(alive);
    }
    let Some(alive) = alive else {
        return renewed(settings, session, seams, cache.as_ref(), PATIENCE).await.map(Some);
    };
    let renewal = renewed(settings, session, seams, cache.as_ref(), RENEWAL_PATIENCE);
    // The process that holds the lock may take longer than this one would.
    match tokio::time::timeout(RENEWAL_PATIENCE + Duration::from_secs(1), renewal).await {
        Ok(Ok(credentials)) => Ok(Some(credentials)),
        Ok(Err(_)) | Err(_) => Ok(Some(alive)),
    }
}

/// Obtains new credentials for a keeper that has `than`, from `issuer`. Processes that renew at the same time make at
/// most one call to AWS together. Credentials that another process has obtained are used unless their renewal is due.
/// If it is due, only a keeper without credentials gets them. There is no time limit here, because the keeper has its
/// own.
///
/// # Errors
/// The issuer's error, or one that the cache shares.
pub(super) async fn renew(
    session: &SessionSettings,
    (settings, environment, caching): (&Settings, &Environment, Caching),
    clock: &Clock,
    issuer: &dyn Issuer,
    than: Option<&Credentials>,
) -> Result<Credentials, Failure> {
    let Some(cache) = cache(settings, session, caching, environment).await? else {
        return issuer.issue().await;
    };
    let _lock = cache.lock().await?;
    let held = cache.read();
    let seen = stamp(session).await;
    let now = clock.moment();
    // A keeper renews earlier than the cache's rule, because of its jitter. It must not get its own credentials back.
    let is_newer = |made: &Credentials| than.is_none_or(|than| made.expires_at() > than.expires_at());
    if let Some(credentials) = fresh(&held, clock).filter(|made| held.is_of(&seen) && is_newer(made)) {
        return Ok(credentials);
    }
    let alive = usable(&held, clock).filter(|_| than.is_none());
    let failure = match held.failure(&seen, now.wall) {
        Some(failure) => failure,
        None => match issuer.issue().await {
            Ok(credentials) => {
                // The set has expired by this host's clock. The keeper checks that itself and reports it.
                if !is_usable(&credentials, clock.moment()) {
                    return Ok(credentials);
                }
                let kept = keep(&cache, held, &credentials, &seen, clock);
                // A keeper with credentials decides itself which of two sets ends later.
                return Ok(if than.is_none() { kept } else { credentials });
            }
            Err(failure) => {
                if is_shared(&failure, session) {
                    cache.write(&held.failed(&failure, &seen, clock.now()));
                }
                failure
            }
        },
    };
    let Some(alive) = alive else { return Err(failure) };
    let (class, reason, error) = (failure.class(), failure.reason(), failure.message());
    warn!(
        event = event::CREDENTIALS_RENEWAL_FAILED,
        session = session.name, %class, %reason, error, hint = failure.hint(), "Renewal failed; using the cached credentials until they expire"
    );
    Ok(alive)
}

/// The session's cache; `None` if it has none.
///
/// # Errors
/// If the session's SPIFFE agent refuses this process. Then neither the cache nor AWS may be used.
async fn cache(
    settings: &Settings,
    session: &SessionSettings,
    caching: Caching,
    environment: &Environment,
) -> Result<Option<Cache>, Failure> {
    // A user's own keys are never cached: they do not expire, and reading them is as fast.
    match caching == Caching::On && session.has_session_token() {
        true => Ok(Cache::of(settings, session, environment, identity(session).await?)),
        false => Ok(None),
    }
}

/// The session's current identity, if its settings and files do not decide it: a digest of its access keys, or the
/// SPIFFE ID of an agent's SVID. With the same settings an agent may give processes different SVIDs, which are
/// different identities. Asking the agent is a local call of some milliseconds.
async fn identity(session: &SessionSettings) -> Result<Option<String>, Failure> {
    match &session.source {
        config::CredentialSource::AccessKeys(source) => {
            let Ok(keys) = source.keys.load().await else { return Ok(None) };
            let text = Secret::new(format!("{}:{}", keys.access_key_id, keys.secret_access_key.expose()));
            Ok(Some(sha256_hex(text.expose().as_bytes())))
        }
        config::CredentialSource::RolesAnywhere(source) => Ok(source.identity.agents_id().await?),
    }
}

/// A quick look at the identity's files, without loading them; empty if the session has no certificate.
async fn stamp(session: &SessionSettings) -> SourceStamp {
    match session.identity() {
        Some(identity) => identity.stamp().await,
        None => SourceStamp::default(),
    }
}

/// Whether a person must type the passphrase before the key can be used.
fn waits_for_passphrase(session: &SessionSettings) -> bool {
    let passphrase = session.identity().and_then(|identity| identity.passphrase.as_ref());
    matches!(passphrase, Some(Passphrase::Prompted(answer)) if answer.get().is_none())
}

/// Obtains fresh credentials here, or gets them from the process that held the lock before. Caches a failure for
/// processes that wait.
async fn renewed(
    settings: &Settings,
    session: &SessionSettings,
    seams: &Seams,
    cache: Option<&Cache>,
    patience: Duration,
) -> Result<Credentials, Failure> {
    let Some(cache) = cache else { return issued(settings, session, seams, patience).await };
    let _lock = cache.lock().await?;
    let held = cache.read();
    // Look at the files before loading them: if they are replaced in between, there is one more call, but the new files
    // never count as those that were used. Look after locking, because the lock's last holder may have seen newer
    // files.
    let seen = stamp(session).await;
    let (clock, now) = (&seams.clock, seams.clock.moment());
    if let Some(credentials) = fresh(&held, clock).filter(|_| held.is_of(&seen)) {
        return Ok(credentials);
    }
    if let Some(failure) = held.failure(&seen, now.wall) {
        return Err(failure);
    }
    match issued(settings, session, seams, patience).await {
        Ok(credentials) => {
            let kept = keep(cache, held, &credentials, &seen, clock);
            cache.sweep(clock);
            Ok(kept)
        }
        Err(failure) => {
            if is_shared(&failure, session) {
                cache.write(&held.failed(&failure, &seen, clock.now()));
            }
            Err(failure)
        }
    }
}

/// Caches `fresh`, or keeps the cached set if it ends later. Returns the cached set.
fn keep(
    cache: &Cache,
    held: CacheEntry,
    fresh: &Credentials,
    seen: &SourceStamp,
    clock: &Clock,
) -> Credentials {
    match longer_lived(&held, fresh, seen, clock) {
        Some(kept) => {
            cache.write(&held.granted(fresh.remaining(clock.moment())));
            kept
        }
        None => {
            cache.write(&CacheEntry::made(fresh, seen, clock));
            fresh.clone()
        }
    }
}

/// The cached set, if it is of the same certificate as `fresh` and ends later by AWS's clock and by this host's. If the
/// two clocks disagree, the new set is used, because its dates are newer.
fn longer_lived(
    held: &CacheEntry,
    fresh: &Credentials,
    seen: &SourceStamp,
    clock: &Clock,
) -> Option<Credentials> {
    let (alive, now) = (usable(held, clock)?, clock.moment());
    let is_replaced = fresh.outlive(&alive)
        || fresh.remaining(now) >= alive.remaining(now)
        || fresh.are_of_newer_identity(&alive)
        || !held.is_of(seen)
        || is_from_the_future(&alive, now);
    (!is_replaced).then_some(alive)
}

/// Whether other processes would fail in the same way, so that the failure is cached.
///
/// A local mistake is usually not cached: finding it again is cheap, and the next process may have another passphrase,
/// from a variable or a prompt. The cache contains no passphrase and no digest of one, because guessing would reveal a
/// short one. Tokens and TPMs count wrong passphrases and lock themselves, so there one failure is shared, unless a
/// person typed it.
fn is_shared(failure: &Failure, session: &SessionSettings) -> bool {
    let is_mistake_here = failure.is_local() && failure.class() == Class::Misconfigured;
    let one_attempt_for_all = |identity: &identity::Source| {
        !matches!(identity.passphrase, Some(Passphrase::Prompted(_))) && identity.counts_mistakes()
    };
    !is_mistake_here || session.identity().is_some_and(one_attempt_for_all)
}

async fn issued(
    settings: &Settings,
    session: &SessionSettings,
    seams: &Seams,
    patience: Duration,
) -> Result<Credentials, Failure> {
    let transport = assembly::transport(settings, seams)?;
    let issuer = assembly::issuer(session, assembly::identity(session), transport, &seams.clock, None);
    let credentials = tokio::time::timeout(patience, issuer.issue()).await.map_err(|_| {
        let hint = Some("check whether this host can reach AWS".into());
        Failure::of(Reason::NoAnswer, format!("no credentials within {} s", patience.as_secs()), hint)
    })??;
    if is_usable(&credentials, seams.clock.moment()) {
        return Ok(credentials);
    }
    let hint = Some("synchronise this host's clock".into());
    Err(Failure::of(Reason::ClockOff, "AWS's credentials have expired by this host's clock", hint))
}

/// The cached credentials, if their renewal is not due by the rules of the daemon.
fn fresh(held: &CacheEntry, clock: &Clock) -> Option<Credentials> {
    let (credentials, now) = (usable(held, clock)?, clock.moment());
    let due = session::left_when_due(credentials.life(), Freshness::Full.reserve());
    // An earlier renewal would give no set that ends later.
    let due = held.left_when_outlived().map_or(due, |outlived| outlived.min(due));
    (credentials.remaining(now) > due && !is_from_the_future(&credentials, now)).then_some(credentials)
}

/// Whether the credentials were obtained in the future, so the clock was set back. Then a renewal is worth an attempt.
fn is_from_the_future(credentials: &Credentials, now: Moment) -> bool {
    credentials.are_obtained_after(now + SMALL_STEP)
}

fn usable(entry: &CacheEntry, clock: &Clock) -> Option<Credentials> {
    let now = clock.moment();
    let credentials = entry.credentials(clock)?.as_of(now);
    is_usable(&credentials, now).then_some(credentials)
}

fn is_usable(credentials: &Credentials, now: Moment) -> bool {
    credentials.remaining(now) > Freshness::Full.reserve()
}
