//! Names of AWS resources: ARNs, Regions, partitions.
//!
//! Text is parsed once, where it enters the program. A value of these types is well formed.

use std::fmt;

/// An AWS Region's name: lower case, with at least one dash. Unknown names are accepted, because AWS adds Regions more
/// often than operators upgrade this program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region(String);

/// Why text is not the name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the name of a Region.
    #[error("`{0}` is not a Region: {form}", form = Region::FORM)]
    Region(String),
    /// Not an ARN of the expected kind.
    #[error("`{text}` is not {kind}: expected `{shape}`")]
    Arn {
        /// The text.
        text: String,
        /// The expected kind, such as `a role ARN`.
        kind: &'static str,
        /// An example of the right form.
        shape: &'static str,
    },
}

impl Region {
    /// What a Region's name looks like, for messages.
    pub const FORM: &'static str = "Regions are lower case with dashes, such as `us-east-1`";

    /// Parses a Region's name.
    ///
    /// # Errors
    /// If the text does not have the form of a Region's name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let first_is_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
        let labels_are_plain = text.split('-').all(is_region_label);
        // The Region becomes a label of a host name, and a DNS label has at most 63 bytes.
        if first_is_letter && labels_are_plain && text.contains('-') && text.len() <= 63 {
            Ok(Self(text.into()))
        } else {
            Err(Error::Region(text.into()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The Regions that exist (botocore's `partitions.json`), to suggest one for a misspelt name.
    pub const KNOWN: [&str; 45] = [
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-central-1",
        "ca-west-1",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "mx-central-1",
        "sa-east-1",
        "cn-north-1",
        "cn-northwest-1",
        "us-gov-east-1",
        "us-gov-west-1",
        "us-iso-east-1",
        "us-iso-west-1",
        "us-isob-east-1",
        "us-isob-west-1",
        "eu-isoe-west-1",
        "us-isof-south-1",
        "eusc-de-east-1",
    ];

    /// Whether the name has the form of AWS's Regions, which new ones will have too.
    pub fn is_known(&self) -> bool {
        const AREAS: [&str; 15] = [
            "us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx", "cn", "us-gov", "us-iso", "us-isob",
            "eu-isoe", "us-isof",
        ];
        const DIRECTIONS: [&str; 9] =
            ["central", "north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest"];
        let mut fields = self.0.rsplitn(3, '-');
        let (Some(number), Some(direction), Some(area)) = (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        let is_number = number.len() == 1 && number != "0" && number.bytes().all(|b| b.is_ascii_digit());
        let is_sovereign = area.strip_prefix("eusc-").is_some_and(|country| country.len() == 2);
        is_number && DIRECTIONS.contains(&direction) && (AREAS.contains(&area) || is_sovereign)
    }

    /// The partition of the name's prefix; `aws` for unknown prefixes.
    pub fn partition(&self) -> Partition {
        for partition in Partition::ALL {
            if partition.region_prefix().is_some_and(|prefix| self.0.starts_with(prefix)) {
                return partition;
            }
        }
        Partition::Aws
    }
}

fn is_region_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A group of Regions with its own accounts and DNS suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// The public Regions.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud.
    AwsUsGov,
    /// Isolated, `us-iso-`.
    AwsIso,
    /// Isolated, `us-isob-`.
    AwsIsoB,
    /// Isolated, `eu-isoe-`.
    AwsIsoE,
    /// Isolated, `us-isof-`.
    AwsIsoF,
    /// European Sovereign Cloud.
    AwsEusc,
}

impl Partition {
    const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
        Self::AwsEusc,
    ];

    /// The partition's name in ARNs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
            Self::AwsEusc => "aws-eusc",
        }
    }

    /// The DNS suffix after `service.region.` in the names of its endpoints.
    pub fn dns_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::AwsUsGov => "amazonaws.com",
            Self::AwsCn => "amazonaws.com.cn",
            Self::AwsIso => "c2s.ic.gov",
            Self::AwsIsoB => "sc2s.sgov.gov",
            Self::AwsIsoE => "cloud.adc-e.uk",
            Self::AwsIsoF => "csp.hci.ic.gov",
            Self::AwsEusc => "amazonaws.eu",
        }
    }

    fn region_prefix(self) -> Option<&'static str> {
        match self {
            Self::Aws => None,
            Self::AwsCn => Some("cn-"),
            Self::AwsUsGov => Some("us-gov-"),
            Self::AwsIso => Some("us-iso-"),
            Self::AwsIsoB => Some("us-isob-"),
            Self::AwsIsoE => Some("eu-isoe-"),
            Self::AwsIsoF => Some("us-isof-"),
            Self::AwsEusc => Some("eusc-"),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The six fields of an ARN.
struct ArnFields<'a> {
    partition: &'a str,
    service: &'a str,
    region: &'a str,
    account_id: &'a str,
    resource: &'a str,
}

impl<'a> ArnFields<'a> {
    /// Splits an ARN of at most 1011 printable characters, the limit in CreateSession's API model.
    fn split(text: &'a str) -> Option<Self> {
        let printable = text.len() <= 1011 && text.bytes().all(|b| b.is_ascii_graphic());
        let mut parts = text.splitn(6, ':');
        let arn = parts.next()?;
        let fields = Self {
            partition: parts.next()?,
            service: parts.next()?,
            region: parts.next()?,
            account_id: parts.next()?,
            resource: parts.next()?,
        };
        let partition_known = fields.partition == "aws" || fields.partition.starts_with("aws-");
        let account_plain =
            fields.account_id.len() == 12 && fields.account_id.bytes().all(|b| b.is_ascii_digit());
        (printable && arn == "arn" && partition_known && account_plain).then_some(fields)
    }
}

/// The ARN of an IAM role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleArn(String);

impl RoleArn {
    /// Parses `arn:aws:iam::123456789012:role/path/name`.
    ///
    /// # Errors
    /// If the text is not the ARN of a role.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if ArnFields::split(text).is_some_and(|arn| is_role(&arn)) {
            return Ok(Self(text.into()));
        }
        let (kind, shape) = ("a role ARN", "arn:aws:iam::123456789012:role/name");
        Err(Error::Arn { text: text.into(), kind, shape })
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The role's name without its path, 1 to 64 of `[A-Za-z0-9+=,.@_-]`. IMDS lists it.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether `arn` is this role's ARN. Names of roles are the same in upper and lower case.
    pub fn is_named(&self, arn: &str) -> bool {
        self.0.eq_ignore_ascii_case(arn)
    }

    /// Whether `arn` is the ARN of a session of this role: `arn:aws:sts::123456789012:assumed-role/name/session`. It
    /// does not include the path: names of roles are unique in an account, regardless of their paths.
    pub fn is_assumed_in(&self, arn: &str) -> bool {
        let Some(arn) = ArnFields::split(arn) else { return false };
        let is_of_sts = arn.service == "sts" && arn.region.is_empty();
        let is_same_account = arn.partition == self.partition() && arn.account_id == self.account_id();
        let name_and_session =
            arn.resource.strip_prefix("assumed-role/").and_then(|rest| rest.split_once('/'));
        let Some((name, session)) = name_and_session else { return false };
        is_of_sts && is_same_account && name.eq_ignore_ascii_case(self.name()) && !session.is_empty()
    }

    /// The account, twelve digits.
    pub fn account_id(&self) -> &str {
        field(&self.0, 4)
    }

    /// The partition's name, as written.
    pub fn partition(&self) -> &str {
        field(&self.0, 1)
    }
}

fn is_role(arn: &ArnFields<'_>) -> bool {
    let Some(path) = arn.resource.strip_prefix("role/") else { return false };
    let name = path.rsplit('/').next().unwrap_or_default();
    arn.service == "iam"
        && arn.region.is_empty()
        && (1..=64).contains(&name.len())
        && name.bytes().all(is_role_byte)
}

fn is_role_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte)
}

/// The ARN of a Roles Anywhere profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProfileArn(String);

/// The ARN of a Roles Anywhere trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustAnchorArn(String);

fn is_of_roles_anywhere(arn: &ArnFields<'_>, resource: &str) -> bool {
    let Some(id) = arn.resource.strip_prefix(resource) else { return false };
    let is_id = !id.is_empty() && !id.contains('/');
    is_id && arn.service == "rolesanywhere" && Region::parse(arn.region).is_ok()
}

macro_rules! rolesanywhere_arn {
    ($name:ident, $resource:literal, $kind:literal, $shape:literal) => {
        impl $name {
            #[doc = concat!("Parses `", $shape, "`.\n\n# Errors\nIf the text is not ", $kind, ".")]
            pub fn parse(text: &str) -> Result<Self, Error> {
                match ArnFields::split(text) {
                    Some(arn) if is_of_roles_anywhere(&arn, $resource) => Ok(Self(text.into())),
                    _ => Err(Error::Arn { text: text.into(), kind: $kind, shape: $shape }),
                }
            }

            /// The whole ARN.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The resource's Region.
            pub fn region(&self) -> Region {
                Region(field(&self.0, 3).into())
            }

            /// The account, twelve digits.
            pub fn account_id(&self) -> &str {
                field(&self.0, 4)
            }

            /// The partition's name, as written.
            pub fn partition(&self) -> &str {
                field(&self.0, 1)
            }
        }
    };
}

rolesanywhere_arn!(
    ProfileArn,
    "profile/",
    "a profile ARN",
    "arn:aws:rolesanywhere:us-east-1:123456789012:profile/id"
);
rolesanywhere_arn!(
    TrustAnchorArn,
    "trust-anchor/",
    "a trust anchor ARN",
    "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/id"
);

fn field(arn: &str, index: usize) -> &str {
    arn.split(':').nth(index).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_lower_case_region_with_dashes_is_accepted() {
        for name in ["us-east-1", "eusc-de-east-1", "mars-north-12", "us-gov-west-1"] {
            assert_eq!(Region::parse(name).map(|region| region.to_string()), Ok(name.into()));
        }
        for name in
            ["", "US-EAST-1", "useast1", "us--east", "-us-east-1", "us-east-1.evil.example", "us_east-1"]
        {
            assert_eq!(Region::parse(name), Err(Error::Region(name.into())));
        }
    }

    #[test]
    fn regions_are_known_by_their_form() {
        let is_known = |name: &str| Region::parse(name).unwrap().is_known();

        for name in Region::KNOWN {
            assert!(is_known(name), "{name}");
        }
        for name in ["ap-southeast-9", "eusc-fr-west-1", "us-isof-east-1"] {
            assert!(is_known(name), "one that may come: {name}");
        }
        for name in [
            "us-esat-1",
            "eu-cental-1",
            "us-east1",
            "us-east-1a",
            "us-east-11",
            "us-east-0",
            "mars-north-1",
            "east-1",
            "frankfurt-de",
            "us-gov-1",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn a_region_tells_its_partition() {
        let partition = |name: &str| Region::parse(name).unwrap().partition();

        assert_eq!(partition("eu-west-1"), Partition::Aws);
        assert_eq!(partition("cn-north-1"), Partition::AwsCn);
        assert_eq!(partition("us-gov-east-1"), Partition::AwsUsGov);
        assert_eq!(partition("us-iso-east-1"), Partition::AwsIso);
        assert_eq!(partition("us-isob-east-1"), Partition::AwsIsoB);
        assert_eq!(partition("eusc-de-east-1"), Partition::AwsEusc);
    }

    #[test]
    fn a_role_is_named_without_its_path() {
        let role = RoleArn::parse("arn:aws:iam::000000000000:role/path/Example+S3,Write.Role@x_y-z").unwrap();

        assert_eq!(role.name(), "Example+S3,Write.Role@x_y-z");
        assert_eq!(role.account_id(), "000000000000");
    }

    #[test]
    fn a_session_of_a_role_is_told_by_partition_account_and_name_without_the_path() {
        let role = RoleArn::parse("arn:aws-cn:iam::111122223333:role/team/a/Reader+x,y.z@w_v-u").unwrap();

        for arn in [
            "arn:aws-cn:sts::111122223333:assumed-role/Reader+x,y.z@w_v-u/0abc",
            "arn:aws-cn:sts::111122223333:assumed-role/Reader+x,y.z@w_v-u/a+b=c,d.e@f-g_h",
            "arn:aws-cn:sts::111122223333:assumed-role/reader+x,y.z@w_v-u/0abc",
        ] {
            assert!(role.is_assumed_in(arn), "{arn}");
        }
        for arn in [
            "",
            "arn",
            "arn:aws:sts::111122223333:assumed-role/Reader+x,y.z@w_v-u/0abc",
            "arn:aws-cn:sts::111122223334:assumed-role/Reader+x,y.z@w_v-u/0abc",
            "arn:aws-cn:sts::111122223333:assumed-role/Reader/0abc",
            "arn:aws-cn:sts::111122223333:assumed-role/Reader+x,y.z@w_v-uu/0abc",
            "arn:aws-cn:sts::111122223333:assumed-role/team/a/Reader+x,y.z@w_v-u/0abc",
            "arn:aws-cn:sts::111122223333:assumed-role/Reader+x,y.z@w_v-u",
            "arn:aws-cn:sts::111122223333:assumed-role/Reader+x,y.z@w_v-u/",
            "arn:aws-cn:sts::111122223333:federated-user/Reader+x,y.z@w_v-u/0abc",
            "arn:aws-cn:iam::111122223333:role/team/a/Reader+x,y.z@w_v-u",
        ] {
            assert!(!role.is_assumed_in(arn), "{arn}");
        }
    }

    #[test]
    fn a_role_is_told_by_its_whole_arn_in_any_case() {
        let role = RoleArn::parse("arn:aws:iam::111122223333:role/team/Reader").unwrap();

        assert!(role.is_named("arn:aws:iam::111122223333:role/team/Reader"));
        assert!(role.is_named("arn:aws:iam::111122223333:role/team/reader"));
        for other in [
            "",
            "arn:aws:iam::111122223333:role/Reader",
            "arn:aws:iam::111122223333:role/team/Readers",
            "arn:aws:iam::111122223334:role/team/Reader",
            "arn:aws-cn:iam::111122223333:role/team/Reader",
        ] {
            assert!(!role.is_named(other), "{other}");
        }
    }

    #[test]
    fn roles_anywhere_arns_tell_their_region() {
        let anchor =
            TrustAnchorArn::parse("arn:aws-cn:rolesanywhere:cn-north-1:000000000000:trust-anchor/41c10bae")
                .unwrap();

        assert_eq!(anchor.region(), Region("cn-north-1".into()));
        assert_eq!((anchor.partition(), anchor.account_id()), ("aws-cn", "000000000000"));
    }

    #[test]
    fn arns_of_the_wrong_kind_are_refused_with_the_right_form() {
        let profile = "arn:aws:rolesanywhere:us-east-1:000000000000:profile/41c10bae";

        let refusal = RoleArn::parse(profile).unwrap_err().to_string();
        assert!(
            refusal.contains("not a role ARN: expected `arn:aws:iam::123456789012:role/name`"),
            "{refusal}"
        );
        assert!(TrustAnchorArn::parse(profile).is_err());
        assert!(ProfileArn::parse("arn:aws:rolesanywhere:us-east-1:0000:profile/41c10bae").is_err());
        assert!(ProfileArn::parse("arn:aws:rolesanywhere:us-east-1:000000000000:profile/").is_err());
        assert!(RoleArn::parse("arn:aws:iam::000000000000:role/a b").is_err());
    }
}
