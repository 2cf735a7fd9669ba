//! Signs and sends calls, and checks the replies.

use bytes::Bytes;
use http::HeaderMap;
use http::Response;
use http::StatusCode;
use serde::de::DeserializeOwned;
use time::Duration;
use time::OffsetDateTime;

use super::EndpointUrl;
use super::Error;
use super::EventStream;
use super::FoundationModel;
use super::InferenceProfile;
use super::Request;
use super::error::header;
use super::error::request_id;
use super::listing::FoundationModels;
use super::listing::ProfilePage;
use crate::signing;
use crate::signing::CredentialScope;
use crate::signing::V4Request;
use crate::upstream;
use crate::upstream::Chunks;
use crate::upstream::Https;
use anchord_core::arn::Region;
use anchord_core::clock::Clock;
use anchord_core::credentials::Keys;
use anchord_core::endpoint;
use anchord_core::endpoint::Variant;

/// Far larger than the answers of today's models, images included.
const LARGEST_REPLY: usize = 64 << 20;
/// Refusals have a few hundred bytes.
const LARGEST_REFUSAL: usize = 256 << 10;
/// Each page has up to a thousand profiles.
const MAX_PAGES: usize = 100;
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// The Region and the endpoint of calls.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// The Region to call and to sign for.
    pub region: Region,
    /// Which of AWS's own endpoints to use.
    pub variant: Variant,
    /// An endpoint instead of AWS's own.
    pub endpoint: Option<EndpointUrl>,
}

/// Calls Bedrock in one Region.
#[derive(Clone, Debug)]
pub struct Client {
    https: Https,
    clock: Clock,
    endpoint_options: EndpointOptions,
}

/// A complete reply.
#[derive(Clone)]
pub struct ModelReply {
    /// The body.
    pub body: Vec<u8>,
    request_id: String,
}

impl ModelReply {
    /// The body, parsed as JSON.
    ///
    /// # Errors
    /// If it is not the expected JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let not_understood = |_| Error::NotUnderstood {
            why: "it is not the expected JSON",
            request_id: self.request_id.clone(),
        };
        serde_json::from_slice(&self.body).map_err(not_understood)
    }
}

impl Client {
    /// A client. It sends nothing before the first call.
    pub fn new(https: Https, clock: Clock, endpoint_options: EndpointOptions) -> Self {
        Self { https, clock, endpoint_options }
    }

    /// Sends a request and waits for the complete reply.
    ///
    /// # Errors
    /// If the request cannot be sent, AWS refuses it, or the reply is incomplete.
    pub async fn call(&self, keys: &Keys, request: &Request) -> Result<ModelReply, Error> {
        let (host, response) = self.open(keys, request).await?;
        let (head, chunks) = response.into_parts();
        let body = chunks
            .collect(LARGEST_REPLY)
            .await
            .map_err(|source| Error::no_answer(request.service, &host, source))?;
        Ok(ModelReply { body, request_id: request_id(&head.headers) })
    }

    /// Sends a request and returns the stream of its answer.
    ///
    /// # Errors
    /// If the request cannot be sent, AWS refuses it, or the reply is not a stream.
    pub async fn stream(&self, keys: &Keys, request: &Request) -> Result<EventStream, Error> {
        let (host, response) = self.open(keys, request).await?;
        let (head, chunks) = response.into_parts();
        let request_id = request_id(&head.headers);
        if !is_event_stream(&head.headers) {
            return Err(Error::NotUnderstood { why: "it is not a stream of events", request_id });
        }
        let is_converse = request.path.ends_with("/converse-stream");
        Ok(EventStream::new(chunks, host, request_id, is_converse))
    }

    /// All foundation models of the Region, including those that the account may not call.
    ///
    /// # Errors
    /// Those of [`Client::call`], or if the list is malformed.
    pub async fn foundation_models(&self, keys: &Keys) -> Result<Vec<FoundationModel>, Error> {
        let reply = self.call(keys, &Request::list_foundation_models()).await?;
        Ok(reply.json::<FoundationModels>()?.model_summaries)
    }

    /// All inference profiles of the Region and account.
    ///
    /// # Errors
    /// Those of [`Client::call`], or if the list is malformed.
    pub async fn inference_profiles(&self, keys: &Keys) -> Result<Vec<InferenceProfile>, Error> {
        let mut profiles: Vec<InferenceProfile> = Vec::new();
        // Without a kind, AWS lists only its own profiles.
        for kind in ["SYSTEM_DEFINED", "APPLICATION"] {
            for profile in self.inference_profiles_of(kind, keys).await? {
                let arn = &profile.inference_profile_arn;
                if !profiles.iter().any(|known| known.inference_profile_arn == *arn) {
                    profiles.push(profile);
                }
            }
        }
        Ok(profiles)
    }

    async fn inference_profiles_of(&self, kind: &str, keys: &Keys) -> Result<Vec<InferenceProfile>, Error> {
        let mut profiles = Vec::new();
        let mut next_token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = Request::list_inference_profiles(kind, next_token.as_deref());
            let page: ProfilePage = self.call(keys, &request).await?.json()?;
            profiles.extend(page.inference_profile_summaries);
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                break;
            }
        }
        Ok(profiles)
    }

    /// Sends `request`. If it was refused because the local clock is wrong, sends it again with AWS's time: AWS does
    /// not bill for refusals.
    async fn open(&self, keys: &Keys, request: &Request) -> Result<(String, Response<Chunks>), Error> {
        match self.send(keys, request, self.clock.now()).await {
            Err(Error::Refused { status: StatusCode::FORBIDDEN, clock_off_by, .. })
                if clock_off_by.unsigned_abs() > upstream::CLOCK_TOLERANCE.as_secs() =>
            {
                self.send(keys, request, self.clock.now() - Duration::seconds(clock_off_by)).await
            }
            sent => sent,
        }
    }

    /// Sends `request`, signed at `at`. Returns the host and AWS's reply, whose body has not been read yet.
    async fn send(
        &self,
        keys: &Keys,
        request: &Request,
        at: OffsetDateTime,
    ) -> Result<(String, Response<Chunks>), Error> {
        let (host, signed) = self.signed(keys, request, at)?;
        let response = self
            .https
            .open(signed)
            .await
            .map_err(|source| Error::no_answer(request.service, &host, source))?;
        if response.status().is_success() {
            return Ok((host, response));
        }
        let now = self.clock.now();
        let (head, chunks) = response.into_parts();
        let body = chunks
            .collect(LARGEST_REFUSAL)
            .await
            .map_err(|source| Error::no_answer(request.service, &host, source))?;
        Err(Error::refused(head.status, &head.headers, &body, now))
    }

    fn signed(
        &self,
        keys: &Keys,
        request: &Request,
        at: OffsetDateTime,
    ) -> Result<(String, http::Request<Bytes>), Error> {
        let EndpointOptions { region, variant, endpoint } = &self.endpoint_options;
        let endpoint = match endpoint {
            Some(endpoint) => endpoint.clone(),
            None => EndpointUrl::of_host(endpoint::host(request.service, region, *variant)),
        };
        let url = endpoint.join(&request.path);
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let scope = CredentialScope::new(at, region.clone(), request.service.signing_name());
        let call = V4Request { method: request.method, url: &url, headers: &headers, body: &request.body };
        let signature = signing::sign_v4(&call, keys, &scope)?;

        let mut signed = http::Request::builder().method(request.method).uri(&url);
        for (name, value) in headers {
            signed = signed.header(name, value);
        }
        for (name, value) in &signature {
            signed = signed.header(*name, value);
        }
        let signed = signed.body(request.body.clone()).map_err(|_| Error::Unsendable)?;
        Ok((endpoint.host().to_owned(), signed))
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    header(headers, "content-type").is_some_and(|kind| kind.split(';').next() == Some(EVENT_STREAM))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::bedrock::ModelId;
    use crate::upstream;
    use crate::upstream::Timeouts;
    use anchord_core::secret::Secret;

    const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    fn client(variant: Variant, endpoint: Option<&str>) -> Client {
        let clock = Clock::system();
        let tls = upstream::client_config(None, &clock).unwrap();
        let https = Https::new(tls, Timeouts { connect: None, read: None }, None).unwrap();
        let region = Region::parse("us-east-1").unwrap();
        let endpoint = endpoint.map(|endpoint| endpoint.parse().unwrap());
        Client::new(https, clock, EndpointOptions { region, variant, endpoint })
    }

    fn keys() -> Keys {
        Keys {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("secret/key+with=signs".into()),
            session_token: Some(Secret::new("token//with+and=signs".into())),
        }
    }

    fn converse() -> Request {
        let model =
            ModelId::parse("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc")
                .unwrap();
        Request::converse(&model).with_body(Bytes::from_static(b"{}"))
    }

    /// Signed by botocore 1.44.5 with the same keys at the same instant.
    #[test]
    fn a_call_is_signed_as_botocore_signs_it() {
        let (host, signed) = client(Variant::default(), None).signed(&keys(), &converse(), NOON).unwrap();

        assert_eq!(host, "bedrock-runtime.us-east-1.amazonaws.com");
        assert_eq!(
            signed.uri().path(),
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse"
        );
        assert_eq!(
            signed.headers()["authorization"],
            "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20260311/us-east-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=b03ea180fff5a35d63823b8f46c77bd2a13d641cea03d4f185c78c50086f63f3"
        );
    }

    #[test]
    fn headers_that_are_added_are_signed_too() {
        let request = converse().with_header("X-Amzn-Bedrock-Trace:ENABLED").unwrap();

        let (_, signed) = client(Variant::default(), None).signed(&keys(), &request, NOON).unwrap();

        let authorization = signed.headers()["authorization"].to_str().unwrap();
        assert!(authorization.contains("x-amz-security-token;x-amzn-bedrock-trace,"), "{authorization}");
        assert_eq!(signed.headers()["x-amzn-bedrock-trace"], "ENABLED");
    }

    #[test]
    fn the_host_follows_variant_service_and_endpoint() {
        let both = Variant { fips: true, dual_stack: true };
        let url = |client: Client, request: &Request| {
            client.signed(&keys(), request, NOON).unwrap().1.uri().to_string()
        };
        let models = Request::list_foundation_models();

        assert_eq!(
            url(client(Variant::default(), None), &models),
            "https://bedrock.us-east-1.amazonaws.com/foundation-models"
        );
        assert_eq!(
            url(client(both, None), &models),
            "https://bedrock-fips.us-east-1.api.aws/foundation-models"
        );
        assert_eq!(
            url(client(both, Some("https://vpce.example:8443/b/")), &models),
            "https://vpce.example:8443/b/foundation-models"
        );
    }
}
