//! What the played account contains.
//!
//! All of it may be changed while the emulator runs ([`crate::Emulator::change`]): profiles get disabled, trust
//! policies edited and trust anchors renewed under a daemon's feet, and that is what it is tested for.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use crate::ca::Authority;
use crate::clock::Clock;
use crate::readings::Readings;

/// The account, its Regions, and where it is played.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setup {
    /// The Region in which Roles Anywhere is played; every scope and ARN there must name it.
    pub region: String,
    /// The Region in which STS is played; the same unless it is set.
    pub sts_region: String,
    /// The Region in which Bedrock is played; the same unless it is set.
    pub bedrock_region: String,
    /// The account in which everything lies.
    pub account_id: String,
    /// The trust anchors.
    pub trust_anchors: Vec<TrustAnchor>,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// Roles whose trust policy refuses everybody: "Unable to assume role" by Roles Anywhere, `AccessDenied` by STS.
    pub trust_policy_refusals: HashSet<String>,
    /// Long-term keys of users.
    pub access_keys: Vec<AccessKey>,
    /// What is particular about roles, by their ARN; STS lets any other role of the partition be assumed.
    pub roles: HashMap<String, Role>,
    /// The models that Bedrock has.
    pub models: Vec<Model>,
    /// What IAM denies everybody: `sts:AssumeRole`, `bedrock:InvokeModel`, ...
    pub denied_actions: HashSet<String>,
    /// Whether STS is switched off in its Region.
    pub sts_region_disabled: bool,
    /// Leaf serials (decimal) that an imported CRL revokes.
    pub revoked_serials: HashSet<String>,
    /// `MaxSessionDuration` of every role; a longer session is refused.
    pub max_session_seconds: u32,
    /// How many requests a second each service lets through; the quota of Roles Anywhere is 10, and none by default here.
    pub requests_per_second: Option<usize>,
    /// What time the service believes it is.
    pub clock: Clock,
    /// How the service behaves where its documentation leaves it open.
    pub readings: Readings,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
}

impl Setup {
    /// An account without anything in it.
    pub fn empty(region: &str, account_id: &str) -> Self {
        Self {
            region: region.to_owned(),
            sts_region: region.to_owned(),
            bedrock_region: region.to_owned(),
            account_id: account_id.to_owned(),
            trust_anchors: Vec::new(),
            profiles: Vec::new(),
            trust_policy_refusals: HashSet::new(),
            access_keys: Vec::new(),
            roles: HashMap::new(),
            models: Vec::new(),
            denied_actions: HashSet::new(),
            sts_region_disabled: false,
            revoked_serials: HashSet::new(),
            max_session_seconds: 43_200,
            requests_per_second: None,
            clock: Clock::system(),
            readings: Readings::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }

    /// One enabled trust anchor with `root`'s certificate and one enabled profile for any role, of one hour, that
    /// accepts role session names; their ARNs are [`Setup::trust_anchor_arn`], [`Setup::profile_arn`] and
    /// [`Setup::role_arn`]. Besides these a user with [`AccessKey::sample`] and the models of [`Model::samples`].
    pub fn sample(region: &str, root: &Authority) -> Self {
        let mut setup = Self::empty(region, "123456789012");
        setup.trust_anchors = vec![TrustAnchor {
            arn: setup.trust_anchor_arn(),
            certificate_pem: root.certificate_pem().to_owned(),
            enabled: true,
        }];
        setup.profiles = vec![Profile {
            arn: setup.profile_arn(),
            duration_seconds: 3600,
            accept_role_session_name: true,
            enabled: true,
            roles: Vec::new(),
            require_instance_properties: false,
        }];
        setup.access_keys = vec![AccessKey::sample()];
        setup.models = Model::samples();
        setup
    }

    /// The sample's trust anchor: `…:trust-anchor/a1b2c3d4-5678-90ab-cdef-EXAMPLE11111`.
    pub fn trust_anchor_arn(&self) -> String {
        self.arn("trust-anchor/a1b2c3d4-5678-90ab-cdef-EXAMPLE11111")
    }

    /// The sample's profile: `…:profile/a1b2c3d4-5678-90ab-cdef-EXAMPLE22222`.
    pub fn profile_arn(&self) -> String {
        self.arn("profile/a1b2c3d4-5678-90ab-cdef-EXAMPLE22222")
    }

    /// A role of the account: `…:role/ExampleRole`.
    pub fn role_arn(&self) -> String {
        format!("arn:{}:iam::{}:role/ExampleRole", self.partition(), self.account_id)
    }

    /// The partition of the Region.
    pub(crate) fn partition(&self) -> &'static str {
        let prefixes = [
            ("cn-", "aws-cn"),
            ("us-gov-", "aws-us-gov"),
            ("us-isob-", "aws-iso-b"),
            ("eu-isoe-", "aws-iso-e"),
            ("us-isof-", "aws-iso-f"),
            ("us-iso-", "aws-iso"),
            ("eusc-", "aws-eusc"),
        ];
        let found = prefixes.iter().find(|(prefix, _)| self.region.starts_with(prefix));
        found.map_or("aws", |(_, partition)| partition)
    }

    /// A Roles Anywhere ARN of this account and Region.
    pub(crate) fn arn(&self, resource: &str) -> String {
        format!("arn:{}:rolesanywhere:{}:{}:{resource}", self.partition(), self.region, self.account_id)
    }
}

/// A trust anchor.
#[derive(Clone, Debug)]
pub struct TrustAnchor {
    /// Its ARN.
    pub arn: String,
    /// The CA certificates it trusts, one or more.
    pub certificate_pem: String,
    /// Whether it is enabled.
    pub enabled: bool,
}

/// A profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its ARN.
    pub arn: String,
    /// The longest session, any value from 1: tests may live through the end of three-second sessions, which the
    /// service would not grant.
    pub duration_seconds: u32,
    /// Whether a caller may name its session.
    pub accept_role_session_name: bool,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The roles it is for; empty for any.
    pub roles: Vec<String>,
    /// Whether a request must carry `instanceProperties`.
    pub require_instance_properties: bool,
}

/// A user's long-term key.
#[derive(Clone)]
pub struct AccessKey {
    /// `AKIA…`
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
    /// The user's name.
    pub user_name: String,
}

impl AccessKey {
    /// The pair of AWS's documentation, of `ExampleUser`.
    pub fn sample() -> Self {
        Self {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            user_name: "ExampleUser".to_owned(),
        }
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// What is particular about a role that `AssumeRole` is asked for.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// The external id that its trust policy demands.
    pub external_id: Option<String>,
    /// The keys of session tags that its trust policy demands.
    pub required_tags: Vec<String>,
    /// The length of its sessions, whatever is asked for, any value from 1: tests may live through the end of sessions
    /// that the service would not grant.
    pub grant_seconds: Option<u32>,
}

/// A model of Bedrock, or another thing that stands for one.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is, which decides by what names it goes.
    pub kind: ModelKind,
    /// Its id; what follows the kind in its ARN.
    pub id: String,
    /// Who made it.
    pub provider: String,
    /// Whether the account may use it.
    pub enabled: bool,
}

/// What stands for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelKind {
    /// `anthropic.claude-…`, or its ARN.
    Foundation,
    /// `us.anthropic.claude-…`, or its ARN.
    InferenceProfile,
    /// An ARN only.
    ApplicationInferenceProfile,
    /// An ARN only.
    ProvisionedThroughput,
    /// An ARN only.
    Custom,
    /// An ARN only.
    CustomDeployment,
    /// An ARN only.
    Imported,
    /// An ARN only, of SageMaker.
    MarketplaceEndpoint,
}

impl Model {
    /// An enabled model.
    pub fn new(kind: ModelKind, id: &str, provider: &str) -> Self {
        Self { kind, id: id.to_owned(), provider: provider.to_owned(), enabled: true }
    }

    /// One of each kind, all enabled, and a second foundation model that is not.
    pub fn samples() -> Vec<Self> {
        let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
        let mut opus = Self::new(ModelKind::Foundation, "anthropic.claude-3-opus-20240229-v1:0", "Anthropic");
        opus.enabled = false;
        let more = [
            (ModelKind::Foundation, "amazon.titan-text-express-v1", "Amazon"),
            (ModelKind::ApplicationInferenceProfile, "a1b2c3d4e5f6", "Anthropic"),
            (ModelKind::ProvisionedThroughput, "b1c2d3e4f5a6", "Anthropic"),
            (ModelKind::Custom, "amazon.titan-text-express-v1:0:8k/c1d2e3f4a5b6", "Amazon"),
            (ModelKind::CustomDeployment, "d1e2f3a4b5c6", "Amazon"),
            (ModelKind::Imported, "e1f2a3b4c5d6", "Imported"),
            (ModelKind::MarketplaceEndpoint, "example-endpoint", "Marketplace"),
        ];
        let mut all = vec![
            Self::new(ModelKind::Foundation, haiku, "Anthropic"),
            opus,
            Self::new(ModelKind::InferenceProfile, &format!("us.{haiku}"), "Anthropic"),
        ];
        all.extend(more.map(|(kind, id, provider)| Self::new(kind, id, provider)));
        all
    }
}
