//! The name of a model in a call.

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use anchord_core::arn::Region;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Text;

/// The id of a foundation model or an inference profile, or the ARN of anything that Bedrock can call: an inference
/// profile, provisioned throughput, a custom or imported model, a deployment, a prompt, a prompt router, a marketplace
/// endpoint. It is one segment of the URL's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelId(String);

/// Why the text is not the name of a model that the call can reach.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAModel {
    /// Empty, `.` or `..`, which a URL's path would drop.
    #[error("the model id is empty or only dots")]
    Empty,
    /// Longer than Bedrock accepts.
    #[error("the model id is {0} bytes long; Bedrock accepts at most {LONGEST}")]
    TooLong(usize),
    /// A space, a line break, a letter beyond ASCII.
    #[error("the model id contains {0:?}, which is not allowed")]
    Character(char),
    /// A part of an ARN, or an id after the name of a provider.
    #[error("the text is neither a model id nor a whole ARN")]
    Part(String),
    /// An ARN, but not one that Bedrock can call.
    #[error("the ARN is not that of a model")]
    Arn(String),
    /// The model is in another Region than the called one.
    #[error("the model is in {of_arn}, and the call would go to {called}")]
    Region {
        /// The ARN's Region.
        of_arn: String,
        /// The Region that is called.
        called: Region,
    },
    /// The model is in another partition than the called Region.
    #[error("the model is in partition `{of_arn}`, and {called} is in `{}`", called.partition())]
    Partition {
        /// The ARN's partition.
        of_arn: String,
        /// The Region that is called.
        called: Region,
    },
}

impl Classify for NotAModel {
    fn reason(&self) -> Reason {
        Reason::InvalidSetting
    }

    fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Empty | Self::TooLong(_) | Self::Character(_) => {
                LISTED.into()
            }
            Self::Part(text) => of_the_whole(text),
            Self::Arn(_) => {
                "the form is `arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/id`".into()
            }
            Self::Region { of_arn, .. } if Region::parse(of_arn).is_ok_and(|region| region.is_known()) => {
                format!("call the model's own Region: `--region {of_arn}`")
            }
            Self::Region { of_arn, .. } => {
                format!("correct the Region in the ARN, or call it: `--region {of_arn}`")
            }
            Self::Partition { .. } => {
                "credentials are valid in one partition only: choose a model and a `--region` of the session's partition".into()
            }
        };
        Some(hint.into())
    }
}

const LISTED: &str = "give an id as `anchord bedrock models` lists it, or an ARN";
/// The limit of Bedrock's API, in bytes.
const LONGEST: usize = 2048;
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl ModelId {
    /// Parses the name of a model. AWS may have no such model.
    ///
    /// # Errors
    /// If the text cannot be the name of a model.
    pub fn parse(text: &str) -> Result<Self, NotAModel> {
        if matches!(text, "" | "." | "..") {
            return Err(NotAModel::Empty);
        }
        if text.len() > LONGEST {
            return Err(NotAModel::TooLong(text.len()));
        }
        if let Some(stray) = text.chars().find(|character| !character.is_ascii_graphic()) {
            return Err(NotAModel::Character(stray));
        }
        let id = Self(text.into());
        // No id contains a slash or begins with the name of a service.
        if !text.starts_with("arn:") && (text.contains('/') || text.starts_with("bedrock:")) {
            return Err(NotAModel::Part(text.into()));
        }
        if text.starts_with("arn:") && !id.arn().is_some_and(|arn| arn.is_of_a_model()) {
            return Err(NotAModel::Arn(text.into()));
        }
        Ok(id)
    }

    /// The name, as in the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one segment of a URL's path: all characters except unreserved ones are percent-encoded.
    pub fn label(&self) -> String {
        utf8_percent_encode(&self.0, UNRESERVED).to_string()
    }

    /// Checks that a call to `region` can reach the model. An id may exist in any Region; an ARN names its Region.
    ///
    /// # Errors
    /// If the ARN is of another Region or partition.
    pub fn check_region(&self, region: &Region) -> Result<(), NotAModel> {
        let Some(arn) = self.arn() else { return Ok(()) };
        if arn.partition != region.partition().as_str() {
            return Err(NotAModel::Partition { of_arn: arn.partition.into(), called: region.clone() });
        }
        if arn.region.is_empty() || arn.region == region.as_str() {
            return Ok(());
        }
        Err(NotAModel::Region { of_arn: arn.region.into(), called: region.clone() })
    }

    /// The Region in the ARN; `None` for an id.
    pub fn region(&self) -> Option<Region> {
        Region::parse(self.arn()?.region).ok()
    }

    fn arn(&self) -> Option<ModelArn<'_>> {
        let mut fields = self.0.strip_prefix("arn:")?.splitn(5, ':');
        Some(ModelArn {
            partition: fields.next()?,
            service: fields.next()?,
            region: fields.next()?,
            account_id: fields.next()?,
            resource: fields.next()?,
        })
    }
}

/// What to write instead of a part of an ARN, or of an id in the form of other programs (`bedrock/ID`).
fn of_the_whole(text: &str) -> String {
    const FORM: &str = "arn:aws:bedrock:REGION:ACCOUNT";
    let (before, of_kind) = text.split_once('/').unwrap_or_default();
    let kind = before.rsplit(':').next().unwrap_or_default();
    match kind {
        // Some guides use this form.
        "provisioned-model-inference" | "provisioned-model" => {
            format!("call provisioned throughput by its ARN: `{FORM}:provisioned-model/{of_kind}`")
        }
        "application-inference-profile"
        | "custom-model"
        | "custom-model-deployment"
        | "default-prompt-router"
        | "imported-model"
        | "prompt"
        | "prompt-router" => format!("this is a part of an ARN; give all of it: `{FORM}:{kind}/{of_kind}`"),
        _ => {
            let id = text.rsplit('/').next().unwrap_or_default();
            let id = id.strip_prefix("bedrock:").unwrap_or(id);
            // The hint repeats no part of other texts: they may be secrets in the wrong place.
            let is_id =
                text.starts_with("bedrock") || matches!(kind, "foundation-model" | "inference-profile");
            match is_id && !id.is_empty() {
                true => format!("give the id alone: `{id}`"),
                false => LISTED.into(),
            }
        }
    }
}

struct ModelArn<'a> {
    partition: &'a str,
    service: &'a str,
    region: &'a str,
    account_id: &'a str,
    resource: &'a str,
}

impl ModelArn<'_> {
    /// Whether it can be the ARN of a model. The kind of resource is not checked, because AWS adds kinds every year.
    /// The ARNs of foundation models have no account.
    fn is_of_a_model(&self) -> bool {
        let Some((kind, id)) = self.resource.split_once('/') else { return false };
        let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let is_partition = self.partition == "aws" || self.partition.starts_with("aws-");
        let is_account = self.account_id.is_empty()
            || self.account_id.len() == 12 && self.account_id.bytes().all(|byte| byte.is_ascii_digit());
        let is_region = self.region.is_empty() || Region::parse(self.region).is_ok();
        let is_service = matches!(self.service, "bedrock" | "sagemaker");
        is_partition && is_service && is_region && is_account && is_kind && !id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(name: &str) -> Region {
        Region::parse(name).unwrap()
    }

    #[test]
    fn every_way_to_name_a_model_is_one_label_of_the_path() {
        for (id, label) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1%3A0"),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-sonnet-4-20250514-v1%3A0"),
            ("a-b_c.d~e", "a-b_c.d~e"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc",
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-v1%3A0",
            ),
            (
                "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine",
                "arn%3Aaws%3Asagemaker%3Aus-east-1%3A123456789012%3Aendpoint%2Fmine",
            ),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Famazon.nova-lite-v1%3A0",
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:prompt/PROMPT12345:1",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprompt%2FPROMPT12345%3A1",
            ),
        ] {
            let id = ModelId::parse(id).unwrap();
            assert_eq!(id.label(), label);
            assert_eq!(id.check_region(&region("us-east-1")), Ok(()));
        }
        for kind in ["provisioned-model", "custom-model", "custom-model-deployment", "imported-model"] {
            let arn = format!("arn:aws:bedrock:us-east-1:123456789012:{kind}/a1b2c3");
            assert!(ModelId::parse(&arn).is_ok(), "{arn}");
        }
    }

    #[test]
    fn what_a_path_would_swallow_or_no_model_is_called_is_refused() {
        for text in ["", ".", ".."] {
            assert_eq!(ModelId::parse(text), Err(NotAModel::Empty));
        }
        assert_eq!(ModelId::parse("a b"), Err(NotAModel::Character(' ')));
        assert_eq!(ModelId::parse("a\n"), Err(NotAModel::Character('\n')));
        assert_eq!(ModelId::parse("modèle"), Err(NotAModel::Character('è')));
        assert_eq!(ModelId::parse(&"a".repeat(2049)), Err(NotAModel::TooLong(2049)));
        assert!(ModelId::parse(&"a".repeat(2048)).is_ok());
        for arn in [
            "arn:aws:bedrock",
            "arn:aws:iam::123456789012:role/bedrock",
            "arn:aws:bedrock:us-east-1:1234:inference-profile/a",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile",
            "arn:aws:bedrock:US:123456789012:inference-profile/a",
            "arn:gcp:bedrock:us-east-1:123456789012:inference-profile/a",
        ] {
            assert_eq!(ModelId::parse(arn), Err(NotAModel::Arn(arn.into())));
        }
    }

    #[test]
    fn a_part_of_an_arn_or_a_providers_name_before_the_id_is_told_with_what_to_write() {
        let hint = |text: &str| match ModelId::parse(text) {
            Err(refusal @ NotAModel::Part(_)) => refusal.hint().unwrap(),
            parsed => panic!("{text}: {parsed:?}"),
        };

        for text in [
            "foundation-model/amazon.nova-lite-v1:0",
            "bedrock:foundation-model/amazon.nova-lite-v1:0",
            "bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
            "bedrock/amazon.nova-lite-v1:0",
            "bedrock/converse/amazon.nova-lite-v1:0",
            "bedrock:amazon.nova-lite-v1:0",
        ] {
            assert_eq!(hint(text), "give the id alone: `amazon.nova-lite-v1:0`", "{text}");
        }
        assert_eq!(hint("inference-profile/us.amazon.nova"), "give the id alone: `us.amazon.nova`");
        assert_eq!(
            hint("bedrock:provisioned-model-inference/x"),
            "call provisioned throughput by its ARN: `arn:aws:bedrock:REGION:ACCOUNT:provisioned-model/x`"
        );
        assert_eq!(
            hint("custom-model/amazon.titan-v1:0:8k/a1"),
            "this is a part of an ARN; give all of it: \
             `arn:aws:bedrock:REGION:ACCOUNT:custom-model/amazon.titan-v1:0:8k/a1`"
        );
        assert!(hint("bedrock:").contains("`anchord bedrock models`"));
        assert_eq!(hint("foundation-model/x"), "give the id alone: `x`");
        assert!(hint("openai/gpt-oss-20b").contains("`anchord bedrock models`"));
        assert!(!hint("pass/hunter2").contains("hunter2"));
        assert!(hint("foundation-model/").contains("`anchord bedrock models`"));
    }

    #[test]
    fn an_arn_of_another_region_or_partition_is_told_before_aws_is_asked() {
        let profile = ModelId::parse("arn:aws:bedrock:us-west-2:123456789012:inference-profile/a").unwrap();

        let refusal = profile.check_region(&region("us-east-1")).unwrap_err();
        assert_eq!(refusal.to_string(), "the model is in us-west-2, and the call would go to us-east-1");
        assert_eq!(refusal.hint().unwrap(), "call the model's own Region: `--region us-west-2`");
        let refusal = profile.check_region(&region("cn-north-1")).unwrap_err();
        assert_eq!(refusal.to_string(), "the model is in partition `aws`, and cn-north-1 is in `aws-cn`");
        let slip = ModelId::parse("arn:aws:bedrock:us-east1::foundation-model/a.b").unwrap();
        let refusal = slip.check_region(&region("us-east-1")).unwrap_err();
        assert_eq!(refusal.hint().unwrap(), "correct the Region in the ARN, or call it: `--region us-east1`");
        let id = ModelId::parse("us.anthropic.claude").unwrap();
        assert_eq!(id.check_region(&region("eu-west-1")), Ok(()));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_one_label(text in "\\PC{0,40}") {
            if let Ok(id) = ModelId::parse(&text) {
                let label = id.label();
                prop_assert!(label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte)));
                prop_assert!(!matches!(label.as_str(), "" | "." | ".."));
            }
        }
    }
}
