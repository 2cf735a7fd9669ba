//! What is claimed of each cell of this test's table.

use crate::channels::Channel;
use crate::sdks::Sdk;
use crate::situations::Cell;
use crate::situations::Situation;
use crate::table::Claim;
use crate::table::Reason;

const GO_V1_TOKEN_FILE: Reason = Reason {
    text: "the SDK: Debian 12's version of November 2022 does not know `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`",
    signs: &["NoCredentialProviders"],
};

const RUBY_PORT: Reason = Reason {
    text: "the SDK: Debian 12's version of November 2022 asks port 80 of the endpoint's host, whatever its port is",
    signs: &["MissingCredentials", "the proxy was asked"],
};

const RUBY_CONTAINER: Reason = Reason {
    text: "the SDK: Debian 12's version of November 2022 does not know `AWS_CONTAINER_CREDENTIALS_FULL_URI`",
    signs: &["MissingCredentials", "the proxy was asked"],
};

const OBJECT_STORE_TOKEN: Reason = Reason {
    text: "the client: it knows the token's file alone, and asks the IMDS of EC2 without one",
    signs: &["169.254.169.254", "the proxy was asked"],
};

const LOOPBACK_BY_PROXY: Reason =
    Reason { text: "the client: it sends loopback traffic to the proxy", signs: &["the proxy was asked"] };

/// In the order of their footnotes.
pub(crate) const REASONS: [&Reason; 5] =
    [&GO_V1_TOKEN_FILE, &RUBY_PORT, &RUBY_CONTAINER, &OBJECT_STORE_TOKEN, &LOOPBACK_BY_PROXY];

impl Cell {
    pub(crate) fn claim(&self) -> Claim {
        if self.situation.is_senseless_through(self.channel) {
            return Claim::Senseless;
        }
        match (self.sdk, self.channel, self.situation) {
            (Sdk::GoV1, Channel::ContainerFile, _) => Claim::Fails(&GO_V1_TOKEN_FILE),
            (Sdk::Ruby, Channel::Imds, _) => Claim::Fails(&RUBY_PORT),
            (Sdk::Ruby, Channel::ContainerVariable | Channel::ContainerFile, _) => {
                Claim::Fails(&RUBY_CONTAINER)
            }
            (Sdk::ObjectStore, Channel::ContainerVariable, _) => Claim::Fails(&OBJECT_STORE_TOKEN),
            (_, Channel::Process, _) => Claim::Works,
            (Sdk::Kotlin | Sdk::ObjectStore, _, Situation::BareProxy) => Claim::Fails(&LOOPBACK_BY_PROXY),
            _ => Claim::Works,
        }
    }
}
