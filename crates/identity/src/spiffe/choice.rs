//! Which of an agent's SVIDs to use.

use std::fmt;

/// Which SVID to use: the one with this ID, this hint, or both. Without either it is the first one, the default
/// identity (SPIFFE Workload API, section 5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// A SPIFFE ID, exactly.
    pub id: Option<String>,
    /// The hint of the registration entry, such as `internal`.
    pub hint: Option<String>,
}

impl Choice {
    /// Parses `spiffe:` (any SVID) or `spiffe://trust.domain/path`.
    pub fn of_uri(uri: &str) -> Result<Self, MalformedId> {
        match uri {
            "spiffe:" => Ok(Self::default()),
            uri => check(uri).map(|()| Self { id: Some(uri.into()), hint: None }),
        }
    }
}

/// Completes "the agent gives no SVID …".
impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.hint) {
            (None, None) => formatter.write_str("at all"),
            (Some(id), None) => write!(formatter, "`{id}`"),
            (None, Some(hint)) => write!(formatter, "with the hint `{hint}`"),
            (Some(id), Some(hint)) => write!(formatter, "`{id}` with the hint `{hint}`"),
        }
    }
}

/// SPIFFE-ID, section 2: at most 2048 bytes; a trust domain of `a-z 0-9 . - _` and at most 255 bytes; segments of
/// letters, digits and `. - _`. X.509-SVID, section 3.1: a workload's ID has a path.
fn check(uri: &str) -> Result<(), MalformedId> {
    let rest = uri.strip_prefix("spiffe://").ok_or(MalformedId::NotSpiffe)?;
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let punctuation = |byte: u8| matches!(byte, b'.' | b'-' | b'_');
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || punctuation(byte);
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(of_domain) {
        return Err(MalformedId::TrustDomain);
    }
    if path.is_empty() {
        return Err(MalformedId::NoPath);
    }
    let of_segment = |byte: u8| byte.is_ascii_alphanumeric() || punctuation(byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(of_segment);
    if uri.len() > 2048 || !path.split('/').all(is_segment) {
        return Err(MalformedId::Path);
    }
    Ok(())
}

/// A text that is not the SPIFFE ID of a workload, completing "`certificate` …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedId {
    /// It does not begin with `spiffe://`.
    #[error("is not a SPIFFE ID: use `spiffe:` for the agent's first SVID, or spiffe://trust.domain/path")]
    NotSpiffe,
    /// The trust domain is missing or has invalid characters.
    #[error("has no valid trust domain: lower-case letters, digits, dots, dashes and underscores")]
    TrustDomain,
    /// A trust domain alone.
    #[error("names a trust domain, not a workload: spiffe://trust.domain/path has a path")]
    NoPath,
    /// The path has empty segments, `.` or `..`, or invalid characters.
    #[error(
        "has no valid path: segments of letters, digits, dots, dashes and underscores, and no slash at the end"
    )]
    Path,
}
