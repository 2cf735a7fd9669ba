//! The Security Token Service: signed requests in the AWS Query protocol, and answers in XML.

mod answer;
mod form;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use zeroize::Zeroizing;

use super::Caller;
use super::Error;
use super::Operation;
use super::answer::AwsAnswer;
use super::caller::ServiceUrl;
use super::caller::Signed;
use super::caller::url_of;
use crate::signing;
use crate::signing::CredentialScope;
use crate::signing::V4Request;
use anchord_core::arn::Region;
use anchord_core::credentials::Keys;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::Variant;

pub(super) use answer::StsResult;
pub(super) use form::QueryRequest;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The endpoint of STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sts {
    /// The Region to call and to sign for.
    pub region: Region,
    /// An endpoint instead of the Region's own, `https://host[:port]`.
    pub endpoint: Option<String>,
    /// Which of the Region's own endpoints to use.
    pub variant: Variant,
}

/// The owner of keys, as AWS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The ARN of the user or the assumed role.
    pub arn: String,
    /// The account, twelve digits.
    pub account_id: String,
    /// The unique ID of the user or the role's session.
    pub user_id: String,
}

/// Asks AWS for the owner of `keys`. No policy can forbid this call.
///
/// # Errors
/// If AWS does not know the keys, or does not answer.
pub async fn caller_identity(caller: &Caller, sts: &Sts, keys: &Keys) -> Result<CallerIdentity, Error> {
    let form = QueryRequest::new(Operation::GetCallerIdentity);
    sts.ask(caller, keys, &form, |result, _| {
        Ok(CallerIdentity {
            arn: result.text("Arn")?.to_owned(),
            account_id: result.text("Account")?.to_owned(),
            user_id: result.text("UserId")?.to_owned(),
        })
    })
    .await
}

impl Sts {
    /// The endpoint that is called.
    pub fn url(&self) -> String {
        url_of(self.endpoint.as_deref(), (Service::Sts, &self.region, self.variant))
    }

    /// Makes one call with `keys`. `read` takes the needed parts from its result.
    pub(super) async fn ask<T>(
        &self,
        caller: &Caller,
        keys: &Keys,
        form: &QueryRequest,
        read: impl Fn(&StsResult<'_>, &AwsAnswer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        caller
            .ask(
                || std::future::ready(self.signed_request(caller, keys, form)),
                |answer| {
                    if answer.is_success() {
                        answer::read(answer, form.operation(), |result| read(result, answer))
                    } else {
                        Err(answer::refusal(answer, form.operation(), keys))
                    }
                },
            )
            .await
    }

    fn signed_request(&self, caller: &Caller, keys: &Keys, form: &QueryRequest) -> Result<Signed, Error> {
        let service = (Service::Sts, &self.region, self.variant);
        let ServiceUrl { uri, host } = ServiceUrl::new(self.endpoint.as_deref(), service, "/")?;
        let url = uri.to_string();
        let headers = [("content-type", CONTENT_TYPE), ("host", host.as_str())];
        let call =
            V4Request { method: "POST", url: &url, headers: &headers, body: form.encoded().as_bytes() };
        let scope =
            CredentialScope::new(caller.now_at_aws(), self.region.clone(), Service::Sts.signing_name());
        let signature = signing::sign_v4(&call, keys, &scope)?;

        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signature {
            let value = Zeroizing::new(value);
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| Error::Broken("a signed header is malformed"))?;
            value.set_sensitive(name == "x-amz-security-token");
            request = request.header(name, value);
        }
        let body = Bytes::from(form.encoded().to_owned());
        let request = request.body(body).map_err(|_| Error::Broken("the request cannot be made"))?;
        Ok(Signed { request, host })
    }
}

#[cfg(test)]
mod tests;
