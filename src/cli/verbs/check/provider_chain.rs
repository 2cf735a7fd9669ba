//! The default chains of credential providers in AWS's SDKs.

/// The default chain of credential providers that some SDKs share.
pub(super) struct ProviderChain {
    pub(super) sdks: &'static [&'static str],
    pub(super) providers: &'static [CredentialProvider],
    /// Whether a profile that a variable names takes precedence over keys in variables.
    pub(super) minds_named_profile: bool,
    /// Whether the full URI takes precedence over the relative URI.
    pub(super) takes_full_uri: bool,
}

/// A provider of credentials in an SDK's chain.
#[derive(Clone, Copy)]
pub(super) enum CredentialProvider {
    Keys,
    /// A profile with a role.
    Role,
    Profile,
    WebIdentity,
    Container,
    Metadata,
}

const ROLE_FIRST: &[CredentialProvider] = &[
    CredentialProvider::Keys,
    CredentialProvider::Role,
    CredentialProvider::WebIdentity,
    CredentialProvider::Profile,
    CredentialProvider::Container,
    CredentialProvider::Metadata,
];
const PROFILE_FIRST: &[CredentialProvider] = &[
    CredentialProvider::Keys,
    CredentialProvider::Profile,
    CredentialProvider::WebIdentity,
    CredentialProvider::Container,
    CredentialProvider::Metadata,
];
const IDENTITY_FIRST: &[CredentialProvider] = &[
    CredentialProvider::Keys,
    CredentialProvider::WebIdentity,
    CredentialProvider::Profile,
    CredentialProvider::Container,
    CredentialProvider::Metadata,
];

/// The chains of all SDKs.
pub(super) const CHAINS: [ProviderChain; 5] = [
    ProviderChain {
        sdks: &["the CLI", "Python"],
        providers: ROLE_FIRST,
        minds_named_profile: true,
        takes_full_uri: false,
    },
    ProviderChain {
        sdks: &["JavaScript"],
        providers: PROFILE_FIRST,
        minds_named_profile: true,
        takes_full_uri: false,
    },
    ProviderChain {
        sdks: &["Rust", "CRT", "C++"],
        providers: PROFILE_FIRST,
        minds_named_profile: false,
        takes_full_uri: false,
    },
    ProviderChain {
        sdks: &["Java", ".NET"],
        providers: IDENTITY_FIRST,
        minds_named_profile: false,
        takes_full_uri: false,
    },
    ProviderChain {
        sdks: &["Go"],
        providers: IDENTITY_FIRST,
        minds_named_profile: false,
        takes_full_uri: true,
    },
];
