//! The ways in which an SDK is told where its credentials are.

use std::path::Path;

use crate::programs::Variables;
use anchord_testing::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Imds,
    ContainerVariable,
    ContainerFile,
    Process,
}

impl Channel {
    pub(crate) const ALL: [Self; 4] =
        [Self::Imds, Self::ContainerVariable, Self::ContainerFile, Self::Process];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Imds => "IMDSv2",
            Self::ContainerVariable => "container, token variable",
            Self::ContainerFile => "container, token file",
            Self::Process => "credential_process",
        }
    }

    /// What an SDK is told so that it asks `authority` through this channel; `tail` ends the URL.
    pub(crate) fn variables(self, stage: &Stage, authority: &str, tail: &str) -> Variables {
        let path = |name: &str| stage.path(name).to_str().unwrap().to_owned();
        let container = (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("http://{authority}/v1/credentials/bedrock{tail}"),
        );
        match self {
            Self::Imds => vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{authority}{tail}"))],
            Self::ContainerVariable => {
                vec![container, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", stage.bearer("bedrock"))]
            }
            Self::ContainerFile => {
                vec![container, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path("run/bedrock.token"))]
            }
            Self::Process => {
                stage.write("aws-config", &profile(&stage.path("anchord.toml")));
                vec![("AWS_CONFIG_FILE", path("aws-config"))]
            }
        }
    }
}

/// The helper judges by the daemon's clock, so it must not see the one that was moved for the SDK.
fn profile(configuration: &Path) -> String {
    let program = env!("CARGO_BIN_EXE_anchord");
    let configuration = configuration.display();
    format!(
        "[default]\ncredential_process = \
         env -u LD_PRELOAD {program} credential-process --config {configuration} --session bedrock\n"
    )
}
