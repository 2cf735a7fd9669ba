//! What STS answers, as XML.

use crate::encode::stamp;
use crate::keyring::IssuedCredentials;
use crate::keyring::Principal;
use crate::reply::Refusal;
use crate::sts::Grant;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Credentials as they stand in an answer; a fault may leave the token out.
pub(crate) struct Credentials<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a str,
    pub(crate) session_token: Option<&'a str>,
    pub(crate) expiration: &'a str,
}

impl Credentials<'_> {
    fn xml(&self) -> String {
        let token = self.session_token.map(|token| element("SessionToken", token)).unwrap_or_default();
        let parts = [
            element("AccessKeyId", self.access_key_id),
            element("SecretAccessKey", self.secret_access_key),
            token,
            element("Expiration", self.expiration),
        ];
        format!("<Credentials>{}</Credentials>", parts.concat())
    }
}

/// The answer to `GetCallerIdentity`.
pub(crate) fn identity(caller: &Principal, request_id: &str) -> String {
    let parts = [
        element("Arn", &caller.arn),
        element("UserId", &caller.user_id),
        element("Account", &caller.account_id),
    ];
    response("GetCallerIdentity", &parts.concat(), request_id)
}

/// The answer that carries new credentials.
pub(crate) fn session(grant: &Grant, issued: &IssuedCredentials, request_id: &str) -> String {
    let credentials = Credentials {
        access_key_id: &issued.access_key_id,
        secret_access_key: &issued.secret_access_key,
        session_token: Some(&issued.session_token),
        expiration: &stamp(issued.expires_at),
    };
    let mut result = String::new();
    if grant.action == "AssumeRole" {
        let principal = &grant.principal;
        result += &role_user(&principal.arn, &principal.user_id);
        result += &principal
            .source_identity
            .as_ref()
            .map(|name| element("SourceIdentity", name))
            .unwrap_or_default();
        let size = grant.packed_policy_size;
        result += &size.map(|size| element("PackedPolicySize", &size.to_string())).unwrap_or_default();
    }
    result += &credentials.xml();
    response(grant.action, &result, request_id)
}

/// An `AssumeRole` answer for this session with these credentials, or with none.
pub(crate) fn assumed(
    assumed: &Principal,
    credentials: Option<&Credentials<'_>>,
    request_id: &str,
) -> String {
    let user = role_user(&assumed.arn, &assumed.user_id);
    let credentials = credentials.map(Credentials::xml).unwrap_or_default();
    response("AssumeRole", &format!("{user}{credentials}"), request_id)
}

/// A refusal.
pub(crate) fn refusal(refusal: &Refusal, request_id: &str) -> String {
    let kind = if refusal.status < 500 { "Sender" } else { "Receiver" };
    let parts = [element("Type", kind), element("Code", refusal.kind), element("Message", &refusal.message)];
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>{}</Error>\n  {}\n</ErrorResponse>\n",
        parts.concat(),
        element("RequestId", request_id),
    )
}

fn response(action: &str, result: &str, request_id: &str) -> String {
    let metadata = element("RequestId", request_id);
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\">\n  <{action}Result>{result}</{action}Result>\n  \
         <ResponseMetadata>{metadata}</ResponseMetadata>\n</{action}Response>\n"
    )
}

fn role_user(arn: &str, id: &str) -> String {
    format!("<AssumedRoleUser>{}{}</AssumedRoleUser>", element("AssumedRoleId", id), element("Arn", arn))
}

fn element(name: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}>{text}</{name}>")
}
