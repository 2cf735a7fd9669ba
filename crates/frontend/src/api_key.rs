//! Short-term API keys for Amazon Bedrock, made from a session's present credentials.

use http::StatusCode;
use serde::Serialize;

use super::Reply;
use super::document::write_json;
use anchord_aws::signing;
use anchord_core::arn::Region;
use anchord_core::clock;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;

/// Makes the API keys of one session.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    region: Region,
    clock: Clock,
}

#[derive(Serialize)]
struct ApiKeyDocument<'a> {
    api_key: &'a str,
    expires_at: String,
    region: &'a str,
}

impl ApiKeys {
    /// Makes keys for Bedrock in `region`.
    pub fn new(region: Region, clock: Clock) -> Self {
        Self { region, clock }
    }

    /// 200 with a key and its expiry: that of the credentials, but at most twelve hours from now.
    pub(super) fn reply(&self, credentials: &Credentials) -> Reply {
        let now = self.clock.now();
        let lifetime = signing::api_key_lifetime(credentials, now, signing::LONGEST_API_KEY);
        let key = signing::bedrock_api_key(credentials.keys(), &self.region, now, lifetime);
        let Ok(key) = key else {
            let message = "cannot make an API key from these credentials";
            return Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Broken", message);
        };
        let expires_at = credentials.expires_at().min(now + lifetime);
        let document = ApiKeyDocument {
            api_key: key.expose(),
            expires_at: clock::rfc3339(expires_at),
            region: self.region.as_str(),
        };
        Reply::json(StatusCode::OK, write_json(&document))
    }
}
