//! The reasons of failures. Each has a stable word and a class; docs/reference/reasons.md is made from them
//! (`tests/reasons.rs`).

use std::fmt;

use super::Class;

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $reason:ident = $word:literal, $class:ident;)+) => {
        /// What went wrong, as one stable word. Programs match on it, and the class follows from it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $reason,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason),+];

            /// The word used in logs and in JSON. It never changes.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $word,)+
                }
            }

            /// What it means, in words for people who write such programs.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$reason => concat!($($meaning),+).trim_ascii(),)+
                }
            }

            /// Who or what has to change before a retry can succeed.
            pub fn class(self) -> Class {
                match self {
                    $(Self::$reason => Class::$class,)+
                }
            }
        }
    };
}

reasons! {
    /// No whole answer arrived.
    NoAnswer = "no_answer", Transient;
    /// Something other than AWS answered.
    ForeignAnswer = "foreign_answer", Transient;
    /// An answer cannot be understood.
    AnswerUnusable = "answer_unusable", Transient;
    /// AWS has an error of its own.
    AwsUnavailable = "aws_unavailable", Transient;
    /// No daemon listens.
    NoDaemon = "no_daemon", Transient;
    /// The daemon gave no answer that can be used.
    DaemonUnavailable = "daemon_unavailable", Transient;
    /// The daemon has no credentials yet, or none that are newer.
    NoCredentialsYet = "no_credentials_yet", Transient;
    /// The daemon is stopping.
    Stopping = "stopping", Transient;
    /// Another process or thread is using what is needed.
    Busy = "busy", Transient;
    /// The token, TPM, agent or file system that holds the key or the certificate does not answer.
    KeySourceUnavailable = "key_source_unavailable", Transient;
    /// The general reason of its class.
    Unavailable = "unavailable", Transient;

    /// AWS asked for fewer calls.
    Throttled = "throttled", Throttled;
    /// Something other than AWS answered, and asked for fewer calls.
    ForeignThrottled = "foreign_throttled", Throttled;

    /// The role's trust policy, or a policy of the caller, does not allow assuming the role.
    RoleRefused = "role_refused", Denied;
    /// The certificate does not lead to the trust anchor.
    UntrustedCertificate = "untrusted_certificate", Denied;
    /// The profile does not accept a role session name.
    SessionNameRefused = "session_name_refused", Denied;
    /// The signature is not accepted.
    SignatureRefused = "signature_refused", Denied;
    /// The signature is too old or too new for AWS.
    SignatureExpired = "signature_expired", Denied;
    /// A resource that the request names does not exist at AWS, or is disabled.
    ResourceNotFound = "resource_not_found", Denied;
    /// The trust anchor does not exist, or is disabled.
    TrustAnchorNotFound = "trust_anchor_not_found", Denied;
    /// The Roles Anywhere profile does not exist, or is disabled.
    ProfileNotFound = "profile_not_found", Denied;
    /// AWS does not accept a value of the request.
    RequestInvalid = "request_invalid", Denied;
    /// Denied, and AWS gives none of the causes below.
    AccessDenied = "access_denied", Denied;
    /// The policies do not allow the call.
    NotAuthorized = "not_authorized", Denied;
    /// A policy denies the call explicitly: no other policy can allow it.
    ExplicitDeny = "explicit_deny", Denied;
    /// The account may not use the model yet.
    ModelNotEnabled = "model_not_enabled", Denied;
    /// AWS does not know the access keys.
    KeysUnknown = "keys_unknown", Denied;
    /// The credentials that made the call have expired.
    CredentialsExpired = "credentials_expired", Denied;
    /// The general reason of its class.
    Refused = "refused", Denied;

    /// A setting or an argument cannot be used.
    InvalidSetting = "invalid_setting", Misconfigured;
    /// No session, or none of this name, is configured.
    UnknownSession = "unknown_session", Misconfigured;
    /// A file is absent or cannot be read.
    FileUnreadable = "file_unreadable", Misconfigured;
    /// This user may not read a file.
    FileForbidden = "file_forbidden", Misconfigured;
    /// A file or a folder cannot be written.
    FileUnwritable = "file_unwritable", Misconfigured;
    /// A file's content is not what is needed.
    FileUnusable = "file_unusable", Misconfigured;
    /// A file or a directory of its path belongs to another user, or is open to other users.
    FileInsecure = "file_insecure", Misconfigured;
    /// The private key does not belong to the certificate.
    KeyMismatch = "key_mismatch", Misconfigured;
    /// The certificate, or one of its chain, cannot be used.
    CertificateUnusable = "certificate_unusable", Misconfigured;
    /// A passphrase or a PIN is missing or wrong.
    SecretRefused = "secret_refused", Misconfigured;
    /// The token, TPM or agent has no such key, or cannot be used.
    KeySourceUnusable = "key_source_unusable", Misconfigured;
    /// The TLS certificate of a server was not accepted.
    ServerUntrusted = "server_untrusted", Misconfigured;
    /// The request is too large for the server that answered.
    RequestTooLarge = "request_too_large", Misconfigured;
    /// The local clock is wrong.
    ClockOff = "clock_off", Misconfigured;
    /// An address or a socket is in use, or cannot be listened on.
    AddressUnusable = "address_unusable", Misconfigured;
    /// This user may not connect to the daemon.
    DaemonForbidden = "daemon_forbidden", Misconfigured;
    /// The general reason of its class.
    Misconfigured = "misconfigured", Misconfigured;

    /// AWS's answer is for another role than the requested one.
    WrongRole = "wrong_role", Broken;
    /// An invariant of this program does not hold.
    Bug = "bug", Broken;
}

impl Reason {
    /// The reason for the words of another process. An older or newer version may send no reason, or one that is
    /// unknown here; then this is the general reason of the class.
    pub fn of_words(reason: Option<&str>, class: Option<&str>) -> Self {
        let known = reason.and_then(|word| Self::ALL.iter().find(|reason| reason.as_str() == word));
        match (known, class.and_then(Class::of_word)) {
            (Some(reason), _) => *reason,
            (None, Some(class)) => class.into(),
            (None, None) => Self::Unavailable,
        }
    }
}

/// The general reason of the class.
impl From<Class> for Reason {
    fn from(class: Class) -> Self {
        match class {
            Class::Transient => Self::Unavailable,
            Class::Throttled => Self::Throttled,
            Class::Denied => Self::Refused,
            Class::Misconfigured => Self::Misconfigured,
            Class::Broken => Self::Bug,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_word_is_of_one_reason_and_leads_back_to_it() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();

        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::of_words(Some(reason.as_str()), None), *reason);
            let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            assert!(reason.as_str().chars().all(is_plain), "{reason}");
        }
    }

    #[test]
    fn a_word_of_another_version_leaves_the_class() {
        assert_eq!(Reason::of_words(Some("of_tomorrow"), Some("denied")), Reason::Refused);
        assert_eq!(Reason::of_words(None, Some("broken")), Reason::Bug);
        assert_eq!(Reason::of_words(None, Some("of_tomorrow")), Reason::Unavailable);
        for class in [Class::Transient, Class::Throttled, Class::Denied, Class::Misconfigured, Class::Broken]
        {
            assert_eq!(Reason::from(class).class(), class);
        }
    }
}
