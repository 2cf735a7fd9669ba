//! Whose secret keys the service knows: those of users, from the account, and those that it gave out itself.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest;
use time::OffsetDateTime;

use crate::Error;
use crate::encode;
use crate::setup::AccessKey;
use crate::setup::Setup;

/// What kind of caller it is; some calls are for some kinds alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerKind {
    /// A user with its long-term key.
    User,
    /// A user with what `GetSessionToken` gave it.
    UserSession,
    /// Whoever has assumed a role.
    RoleSession,
}

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) kind: CallerKind,
    pub(crate) arn: String,
    pub(crate) user_id: String,
    pub(crate) account_id: String,
    /// It stays with every role that is assumed from here on.
    pub(crate) source_identity: Option<String>,
    /// The tags that stay with every role that is assumed from here on.
    pub(crate) transitive_tags: Vec<(String, String)>,
}

impl Principal {
    /// Whoever has assumed `role_arn` under this session name.
    pub(crate) fn role_session(role_arn: &str, session_name: &str) -> Self {
        let mut parts = role_arn.splitn(6, ':').skip(1);
        let mut part = || parts.next().unwrap_or_default();
        let (partition, _, _, account_id, resource) = (part(), part(), part(), part(), part());
        let role_name = resource.rsplit('/').next().unwrap_or_default();
        Self {
            kind: CallerKind::RoleSession,
            arn: format!("arn:{partition}:sts::{account_id}:assumed-role/{role_name}/{session_name}"),
            user_id: format!("{}:{session_name}", stable_id("AROA", role_arn)),
            account_id: account_id.to_owned(),
            source_identity: None,
            transitive_tags: Vec::new(),
        }
    }

    /// The same session of another role.
    pub(crate) fn become_session_of(&mut self, role_arn: &str, session_name: &str) {
        let Self { arn, user_id, account_id, .. } = Self::role_session(role_arn, session_name);
        (self.arn, self.user_id, self.account_id) = (arn, user_id, account_id);
    }

    fn user(setup: &Setup, key: &AccessKey) -> Self {
        let arn = format!("arn:{}:iam::{}:user/{}", setup.partition(), setup.account_id, key.user_name);
        Self {
            kind: CallerKind::User,
            user_id: stable_id("AIDA", &arn),
            arn,
            account_id: setup.account_id.clone(),
            source_identity: None,
            transitive_tags: Vec::new(),
        }
    }
}

/// A key that signs, and its owner.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    /// Without one it is a long-term key.
    pub(crate) session_token: Option<String>,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) principal: Principal,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Key").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// The keys that were given out.
#[derive(Default)]
pub(crate) struct Keyring(HashMap<String, Key>);

impl Keyring {
    pub(crate) fn add(&mut self, issued: &IssuedCredentials, principal: Principal) {
        let key = Key {
            access_key_id: issued.access_key_id.clone(),
            secret_access_key: issued.secret_access_key.clone(),
            session_token: Some(issued.session_token.clone()),
            expires_at: Some(issued.expires_at),
            principal,
        };
        self.0.insert(key.access_key_id.clone(), key);
    }

    /// Forgets all keys, as if they were another account's.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The key of this id, if the account or the ring has it.
    pub(crate) fn find(&self, setup: &Setup, access_key_id: &str) -> Option<Key> {
        let of_user = setup.access_keys.iter().find(|key| key.access_key_id == access_key_id);
        let of_user = of_user.map(|key| Key {
            access_key_id: key.access_key_id.clone(),
            secret_access_key: key.secret_access_key.clone(),
            session_token: None,
            expires_at: None,
            principal: Principal::user(setup, key),
        });
        of_user.or_else(|| self.0.get(access_key_id).cloned())
    }
}

/// Credentials that were given out, for comparison with what a client hands on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuedCredentials {
    /// Which call they answered: `CreateSession`, `AssumeRole` or `GetSessionToken`.
    pub action: &'static str,
    /// `ASIA…`
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
    /// About eight hundred characters.
    pub session_token: String,
    /// When they end.
    pub expires_at: OffsetDateTime,
    /// The role they are for; empty for a user's session.
    pub role_arn: String,
    /// The session's name; empty for a user's session.
    pub role_session_name: String,
}

impl fmt::Debug for IssuedCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("IssuedCredentials")
            .field("action", &self.action)
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .field("role_arn", &self.role_arn)
            .field("role_session_name", &self.role_session_name)
            .finish_non_exhaustive()
    }
}

/// New credentials that end at this instant.
pub(crate) fn issue(
    action: &'static str,
    role_arn: &str,
    role_session_name: &str,
    expires_at: OffsetDateTime,
) -> Result<IssuedCredentials, Error> {
    Ok(IssuedCredentials {
        action,
        access_key_id: encode::random_id("ASIA", 16)?,
        secret_access_key: encode::random_base64(40)?,
        session_token: encode::random_base64(800)?,
        expires_at,
        role_arn: role_arn.to_owned(),
        role_session_name: role_session_name.to_owned(),
    })
}

/// An id that is the same each time: IAM's, of users and roles.
fn stable_id(prefix: &str, arn: &str) -> String {
    let hash = digest::digest(&digest::SHA256, arn.as_bytes());
    encode::id(prefix, hash.as_ref().get(..17).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_session_is_named_after_role_and_session_and_keeps_the_roles_id() {
        let one = Principal::role_session("arn:aws-cn:iam::111122223333:role/path/Reader", "s-1");
        let two = Principal::role_session("arn:aws-cn:iam::111122223333:role/path/Reader", "s-2");

        assert_eq!(one.arn, "arn:aws-cn:sts::111122223333:assumed-role/Reader/s-1");
        assert_eq!(one.account_id, "111122223333");
        let (role_id, session) = one.user_id.split_once(':').unwrap();
        assert_eq!((role_id.len(), session), (21, "s-1"));
        assert!(role_id.starts_with("AROA") && two.user_id.starts_with(role_id), "{role_id}");
    }
}
