//! The HTTPS connection to AWS according to the settings: CA bundle, time-outs, proxy.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::Seams;
use anchord_aws::upstream;
use anchord_aws::upstream::Https;
use anchord_aws::upstream::Proxy;
use anchord_aws::upstream::Timeouts;
use anchord_aws::upstream::Transport;
use anchord_config::Settings;
use anchord_core::clock::Clock;

/// The transport of `seams`, or else HTTPS according to the settings.
///
/// # Errors
/// If the CA bundle or the proxy of the settings cannot be used.
pub fn transport(settings: &Settings, seams: &Seams) -> Result<Arc<dyn Transport>, Error> {
    match &seams.transport {
        Some(transport) => Ok(Arc::clone(transport)),
        None => Ok(Arc::new(https(settings, settings.upstream.read_timeout, &seams.clock)?)),
    }
}

/// HTTPS according to the settings, but with the time limit `read` without data, because some calls take AWS longer.
///
/// # Errors
/// As [`transport`].
pub fn https(settings: &Settings, read: Option<Duration>, clock: &Clock) -> Result<Https, Error> {
    let upstream = &settings.upstream;
    // Check the proxy first: the HTTP client would ignore an unknown scheme and connect directly.
    if let Some(fault) = upstream.proxy_fault() {
        return Err(Error::Proxy(fault));
    }
    let tls = if upstream.verifies_servers {
        upstream::client_config(upstream.ca_file.as_deref(), clock)?
    } else {
        upstream::unverified_client_config(clock)?
    };
    let timeouts = Timeouts { connect: upstream.connect_timeout, read };
    let proxy = upstream.proxy.clone().map(|url| Proxy { url, exceptions: upstream.no_proxy.clone() });
    Ok(Https::new(tls, timeouts, proxy.as_ref())?)
}
