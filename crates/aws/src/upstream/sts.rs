//! The Security Token Service: signed calls in the Query protocol, and its answers in XML.

mod answer;
mod form;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use zeroize::Zeroizing;

use super::Caller;
use super::Error;
use super::Operation;
use super::answer::Answer;
use super::caller::Signed;
use super::caller::Target;
use super::caller::url_of;
use crate::signing;
use crate::signing::Call;
use crate::signing::Scope;
use anchord_core::arn::Region;
use anchord_core::credentials::Keys;
use anchord_core::endpoint::Service;
use anchord_core::endpoint::Variant;

pub(super) use answer::Found;
pub(super) use form::Form;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Where STS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sts {
    /// The Region that is called and signed for.
    pub region: Region,
    /// Another endpoint than the Region's own, `https://host[:port]`.
    pub endpoint: Option<String>,
    /// Which of the Region's own endpoints is called.
    pub variant: Variant,
}

/// Whose keys they are, as AWS says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// Of the user or the assumed role.
    pub arn: String,
    /// Twelve digits.
    pub account_id: String,
    /// The unique ID.
    pub user_id: String,
}

/// Asks AWS whose keys these are. Nobody can be forbidden to know.
pub async fn caller_identity(caller: &Caller, sts: &Sts, keys: &Keys) -> Result<CallerIdentity, Error> {
    let form = Form::new(Operation::GetCallerIdentity);
    sts.ask(caller, keys, &form, |found, _| {
        let text = |name| found.text(name).map(str::to_owned);
        Ok(CallerIdentity { arn: text("Arn")?, account_id: text("Account")?, user_id: text("UserId")? })
    })
    .await
}

impl Sts {
    /// The endpoint that is called.
    pub fn url(&self) -> String {
        url_of(self.endpoint.as_deref(), (Service::Sts, &self.region, self.variant))
    }

    /// One call as the owner of `keys`; `read` makes of its result what it is asked for.
    pub(super) async fn ask<T>(
        &self,
        caller: &Caller,
        keys: &Keys,
        form: &Form,
        read: impl Fn(&Found<'_>, &Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        caller
            .ask(
                || std::future::ready(self.signed_request(caller, keys, form)),
                |answer| {
                    if answer.is_success() {
                        answer::read(answer, form.operation(), |found| read(found, answer))
                    } else {
                        Err(answer::refusal(answer, form.operation(), keys))
                    }
                },
            )
            .await
    }

    fn signed_request(&self, caller: &Caller, keys: &Keys, form: &Form) -> Result<Signed, Error> {
        let service = (Service::Sts, &self.region, self.variant);
        let Target { uri, host } = Target::new(self.endpoint.as_deref(), service, "/")?;
        let url = uri.to_string();
        let headers = [("content-type", CONTENT_TYPE), ("host", host.as_str())];
        let call = Call { method: "POST", url: &url, headers: &headers, body: form.encoded().as_bytes() };
        let scope = Scope::new(caller.now_at_aws(), self.region.clone(), Service::Sts.signing_name());
        let signature = signing::sign_v4(&call, keys, &scope)?;

        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signature {
            let value = Zeroizing::new(value);
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| Error::Broken("a signed header is not a header"))?;
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
