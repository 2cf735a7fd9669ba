//! Credentials without a daemon: from the cache, or from a CreateSession that parallel processes share.

use std::time::Duration;

use tracing::warn;

use super::Caching;
use super::cache::Cache;
use super::entry::Entry;
use crate::assembly;
use crate::assembly::Seams;
use anchord_config as config;
use anchord_config::Environment;
use anchord_config::Session;
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

/// How long a call may take with nothing alive in the cache: a little less than the whole process may.
const PATIENCE: Duration = Duration::from_secs(9);
/// How long a renewal may take while the cache holds something that is still alive.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(3);
/// As far as a clock may be set back before what is cached is doubted; the reserve that a renewal leaves is longer.
const SMALL_STEP: time::Duration = time::Duration::minutes(5);

/// Credentials of `session`, made with at most one call to AWS among all processes that ask at once. What is cached
/// and alive is used whenever no renewal is to be had: refused, hanging, or another process's business. `None` when a
/// passphrase has to be typed in first, for which nobody waits who holds something alive.
///
/// Another certificate than the cached credentials were made with is a reason to renew them, and none to drop them: they
/// are of the same role, and one that AWS refuses, or a file that is half written, must not cost what works. So they
/// go on until the new certificate gives some, or they end, as in the daemon.
pub(super) async fn obtain(
    settings: &Settings,
    session: &Session,
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
    // The lock's holder may take longer than this process would.
    match tokio::time::timeout(RENEWAL_PATIENCE + Duration::from_secs(1), renewal).await {
        Ok(Ok(credentials)) => Ok(Some(credentials)),
        Ok(Err(_)) | Err(_) => Ok(Some(alive)),
    }
}

/// Credentials other than `than`, which a keeper holds and is to replace: from `issuer`, at no more than one call to
/// AWS among all processes that renew at once. What another process has made is taken where it is not due itself;
/// what is, is given only to a keeper that has nothing yet. The keeper's own limit ends it.
pub(super) async fn renew(
    session: &Session,
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
    // A keeper comes earlier than the cache's rule has it by what its jitter is, and must not get its own back.
    let is_newer = |made: &Credentials| than.is_none_or(|than| made.expires_at() > than.expires_at());
    if let Some(credentials) = fresh(&held, clock).filter(|made| held.is_of(&seen) && is_newer(made)) {
        return Ok(credentials);
    }
    let alive = usable(&held, clock).filter(|_| than.is_none());
    let failure = match held.failure(&seen, now.wall) {
        Some(failure) => failure,
        None => match issuer.issue().await {
            Ok(credentials) => {
                // The keeper judges what is dead by this host's clock, and says what is wrong with that.
                if !is_usable(&credentials, clock.moment()) {
                    return Ok(credentials);
                }
                let kept = keep(&cache, held, &credentials, &seen, clock);
                // A keeper that holds something decides itself which of two sets lives longer.
                return Ok(if than.is_none() { kept } else { credentials });
            }
            Err(failure) => {
                if is_everybodys(&failure, session) {
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
        session = session.name, %class, %reason, error, hint = failure.hint(), "Going on with credentials that are due"
    );
    Ok(alive)
}

/// Where the session's credentials are kept, if they are.
///
/// # Errors
/// When the session's agent refuses this process: what is kept is not used then, and AWS would not be asked either.
async fn cache(
    settings: &Settings,
    session: &Session,
    caching: Caching,
    environment: &Environment,
) -> Result<Option<Cache>, Failure> {
    // A user's own keys are never written: they do not end, and are read as fast as the cache.
    match caching == Caching::On && session.has_session_token() {
        true => Ok(Cache::of(settings, session, environment, identity(session).await?)),
        false => Ok(None),
    }
}

/// What the session's identity is now, where its settings and files do not tell: its access keys, or an agent's SVID. An
/// agent may give another workload's SVID for the same settings, and that is another identity. It is a call on this host, of
/// milliseconds.
async fn identity(session: &Session) -> Result<Option<String>, Failure> {
    match &session.source {
        config::Source::AccessKeys(source) => {
            let Ok(keys) = source.keys.load().await else { return Ok(None) };
            let text = Secret::new(format!("{}:{}", keys.access_key_id, keys.secret_access_key.expose()));
            Ok(Some(sha256_hex(text.expose().as_bytes())))
        }
        config::Source::RolesAnywhere(source) => Ok(source.identity.agents_id().await?),
    }
}

/// What the identity's files tell at once; nothing where a session has none.
async fn stamp(session: &Session) -> SourceStamp {
    match session.identity() {
        Some(identity) => identity.stamp().await,
        None => SourceStamp::default(),
    }
}

/// Whether a passphrase is to be typed in before the key can be used.
fn waits_for_passphrase(session: &Session) -> bool {
    let passphrase = session.identity().and_then(|identity| identity.passphrase.as_ref());
    matches!(passphrase, Some(Passphrase::Prompted(answer)) if answer.get().is_none())
}

/// Fresh credentials, made here or by whoever held the lock before; remembers a failure for those behind.
async fn renewed(
    settings: &Settings,
    session: &Session,
    seams: &Seams,
    cache: Option<&Cache>,
    patience: Duration,
) -> Result<Credentials, Failure> {
    let Some(cache) = cache else { return issued(settings, session, seams, patience).await };
    let _lock = cache.lock().await?;
    let held = cache.read();
    // Before anything is loaded: files that are replaced meanwhile cost a call more, and are never taken for those that
    // were used. And behind the lock: whoever held it may have seen newer ones.
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
            if is_everybodys(&failure, session) {
                cache.write(&held.failed(&failure, &seen, clock.now()));
            }
            Err(failure)
        }
    }
}

/// Keeps `fresh`, or what is held where that lives longer, and gives what is kept.
fn keep(cache: &Cache, held: Entry, fresh: &Credentials, seen: &SourceStamp, clock: &Clock) -> Credentials {
    match longer_lived(&held, fresh, seen, clock) {
        Some(kept) => {
            cache.write(&held.granted(fresh.remaining(clock.moment())));
            kept
        }
        None => {
            cache.write(&Entry::made(fresh, seen, clock));
            fresh.clone()
        }
    }
}

/// What is held, if it is of the same certificate as `fresh` and lives longer by AWS's clock and by this host's. Where the
/// two clocks differ the new set is kept, for it was dated last.
fn longer_lived(held: &Entry, fresh: &Credentials, seen: &SourceStamp, clock: &Clock) -> Option<Credentials> {
    let (alive, now) = (usable(held, clock)?, clock.moment());
    let is_replaced = fresh.outlive(&alive)
        || fresh.remaining(now) >= alive.remaining(now)
        || fresh.are_of_newer_identity(&alive)
        || !held.is_of(seen)
        || is_from_the_future(&alive, now);
    (!is_replaced).then_some(alive)
}

/// Whether those behind would fail alike, and had better not try.
///
/// A mistake in files costs nothing to find again, and the next process may have another passphrase, in a variable or
/// typed in; neither is in the cache in any form, for what is short could be found out from its digest. Tokens and TPMs
/// count mistakes and lock themselves: there one try must do for all, unless each was typed in by a person.
fn is_everybodys(failure: &Failure, session: &Session) -> bool {
    let is_mistake_here = failure.is_local() && failure.class() == Class::Misconfigured;
    let one_try_must_do = |identity: &identity::Source| {
        !matches!(identity.passphrase, Some(Passphrase::Prompted(_))) && identity.counts_mistakes()
    };
    !is_mistake_here || session.identity().is_some_and(one_try_must_do)
}

async fn issued(
    settings: &Settings,
    session: &Session,
    seams: &Seams,
    patience: Duration,
) -> Result<Credentials, Failure> {
    let transport = assembly::transport(settings, seams)?;
    let issuer = assembly::issuer(session, assembly::identity(session), transport, &seams.clock, None);
    let credentials = tokio::time::timeout(patience, issuer.issue()).await.map_err(|_| {
        let hint = Some("check whether AWS can be reached from here".into());
        Failure::of(Reason::NoAnswer, format!("no credentials within {} s", patience.as_secs()), hint)
    })??;
    if is_usable(&credentials, seams.clock.moment()) {
        return Ok(credentials);
    }
    let hint = Some("synchronise this host's clock".into());
    Err(Failure::of(Reason::ClockOff, "AWS's credentials have ended by this host's clock", hint))
}

/// Not yet due for renewal, by the daemon's own rules, and shown as clients have to see them now.
fn fresh(held: &Entry, clock: &Clock) -> Option<Credentials> {
    let (credentials, now) = (usable(held, clock)?, clock.moment());
    let due = session::left_when_due(credentials.life(), Freshness::Full.reserve());
    // A renewal before that would bring nothing that lives longer.
    let due = held.left_when_outlived().map_or(due, |outlived| outlived.min(due));
    (credentials.remaining(now) > due && !is_from_the_future(&credentials, now)).then_some(credentials)
}

/// What was obtained in the future tells that the clock was set back: a renewal is worth a try.
fn is_from_the_future(credentials: &Credentials, now: Moment) -> bool {
    credentials.are_obtained_after(now + SMALL_STEP)
}

fn usable(entry: &Entry, clock: &Clock) -> Option<Credentials> {
    let now = clock.moment();
    let credentials = entry.credentials(clock)?.as_of(now);
    is_usable(&credentials, now).then_some(credentials)
}

fn is_usable(credentials: &Credentials, now: Moment) -> bool {
    credentials.remaining(now) > Freshness::Full.reserve()
}
