//! The credential scope: the day, Region and service that a signature is valid for.

use std::fmt;

use time::OffsetDateTime;

use super::CanonicalRequest;
use anchord_core::arn::Region;
use anchord_core::clock;

/// `20260311/us-east-1/rolesanywhere/aws4_request`, with the time of the request.
#[derive(Clone, Debug)]
pub struct CredentialScope {
    at: OffsetDateTime,
    region: Region,
    service: &'static str,
}

impl CredentialScope {
    /// The scope of a request to `service` (its signing name) in `region` at `at`.
    pub fn new(at: OffsetDateTime, region: Region, service: &'static str) -> Self {
        Self { at, region, service }
    }

    /// The time of the request.
    pub(super) fn at(&self) -> OffsetDateTime {
        self.at
    }

    /// The Region's name.
    pub(super) fn region(&self) -> &str {
        self.region.as_str()
    }

    /// The service's signing name.
    pub(super) fn service(&self) -> &'static str {
        self.service
    }

    /// The time of the request in the form of `X-Amz-Date`.
    pub fn amz_date(&self) -> String {
        clock::amz_date(self.at)
    }

    /// The string to sign: algorithm, time, scope and the canonical request's hash.
    pub fn string_to_sign(&self, algorithm: &str, request: &CanonicalRequest) -> String {
        format!("{algorithm}\n{}\n{self}\n{}", self.amz_date(), request.sha256())
    }
}

impl fmt::Display for CredentialScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: usize = "20260311".len();
        let date = self.amz_date();
        write!(formatter, "{}/{}/{}/aws4_request", &date[..DAY], self.region, self.service)
    }
}
