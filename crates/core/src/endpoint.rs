//! The host names of AWS's endpoints.
//!
//! The rules are those of the SDKs (botocore's `partitions.json` and the services' `endpoint-rule-set-1`);
//! `tests/sdk` compares each host with botocore's.

use crate::arn::Partition;
use crate::arn::Region;

/// A service that this program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// IAM Roles Anywhere.
    RolesAnywhere,
    /// The Security Token Service, always at its regional endpoint.
    Sts,
    /// Bedrock's control plane, which lists models.
    Bedrock,
    /// Bedrock's runtime, which calls models.
    BedrockRuntime,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RolesAnywhere, Self::Sts, Self::Bedrock, Self::BedrockRuntime];

    /// The first label of its host names.
    pub fn label(self) -> &'static str {
        match self {
            Self::RolesAnywhere => "rolesanywhere",
            Self::Sts => "sts",
            Self::Bedrock => "bedrock",
            Self::BedrockRuntime => "bedrock-runtime",
        }
    }

    /// The service's name in credential scopes. Both services of Bedrock use the same.
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::BedrockRuntime => Self::Bedrock.label(),
            other => other.label(),
        }
    }
}

/// Which of a service's endpoints to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// The FIPS endpoint, with cryptography validated under FIPS 140.
    pub fips: bool,
    /// The dual-stack endpoint, which has IPv6 and IPv4 addresses.
    pub dual_stack: bool,
}

/// The host name, without a port. AWS may not offer the service at it.
pub fn host(service: Service, region: &Region, variant: Variant) -> String {
    let partition = region.partition();
    let suffix = if variant.dual_stack { dual_stack_suffix(partition) } else { partition.dns_suffix() };
    // The usual endpoints of STS in GovCloud are its FIPS endpoints.
    let is_fips_anyway = service == Service::Sts && partition == Partition::AwsUsGov && !variant.dual_stack;
    let fips = if variant.fips && !is_fips_anyway { "-fips" } else { "" };
    format!("{}{fips}.{region}.{suffix}", service.label())
}

fn dual_stack_suffix(partition: Partition) -> &'static str {
    match partition {
        Partition::Aws | Partition::AwsUsGov => "api.aws",
        Partition::AwsCn => "api.amazonwebservices.com.cn",
        Partition::AwsIso => "api.aws.ic.gov",
        Partition::AwsIsoB => "api.aws.scloud",
        Partition::AwsIsoE => "api.cloud-aws.adc-e.uk",
        Partition::AwsIsoF => "api.aws.hci.ic.gov",
        Partition::AwsEusc => "api.amazonwebservices.eu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Variant = Variant { fips: false, dual_stack: false };
    const FIPS: Variant = Variant { fips: true, dual_stack: false };
    const DUAL_STACK: Variant = Variant { fips: false, dual_stack: true };
    const BOTH: Variant = Variant { fips: true, dual_stack: true };

    fn hosts(service: Service, region: &str) -> [String; 4] {
        let region = Region::parse(region).unwrap();
        [PLAIN, FIPS, DUAL_STACK, BOTH].map(|variant| host(service, &region, variant))
    }

    #[test]
    fn each_partition_has_suffixes_of_its_own() {
        for (region, plain, dual_stack) in [
            ("us-east-1", "amazonaws.com", "api.aws"),
            ("mars-north-1", "amazonaws.com", "api.aws"),
            ("cn-north-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
            ("us-gov-west-1", "amazonaws.com", "api.aws"),
            ("us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
            ("eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu"),
        ] {
            for service in [Service::RolesAnywhere, Service::Bedrock, Service::BedrockRuntime] {
                let label = service.label();
                let expected = [
                    format!("{label}.{region}.{plain}"),
                    format!("{label}-fips.{region}.{plain}"),
                    format!("{label}.{region}.{dual_stack}"),
                    format!("{label}-fips.{region}.{dual_stack}"),
                ];
                assert_eq!(hosts(service, region), expected);
            }
        }
    }

    #[test]
    fn sts_in_govcloud_has_no_fips_name_but_its_own() {
        let [_, fips, _, both] = hosts(Service::Sts, "us-gov-east-1");

        assert_eq!(fips, "sts.us-gov-east-1.amazonaws.com");
        assert_eq!(both, "sts-fips.us-gov-east-1.api.aws");
        assert_eq!(hosts(Service::Sts, "us-east-1")[1], "sts-fips.us-east-1.amazonaws.com");
    }

    #[test]
    fn both_services_of_bedrock_sign_as_bedrock() {
        let names = Service::ALL.map(Service::signing_name);

        assert_eq!(names, ["rolesanywhere", "sts", "bedrock", "bedrock"]);
    }
}
