//! What is claimed of each cell of this test's table.

use crate::channels::Channel;
use crate::sdks::Sdk;
use crate::situations::Cell;
use crate::situations::Situation;
use crate::table::Claim;
use crate::table::Reason;

const NO_TOKEN_FILE: Reason = Reason {
    text: "Debian 12's version of November 2022 does not know `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` and asks \
           without a token",
    signs: &["Unauthorized"],
};

const LOOPBACK_BY_PROXY: Reason =
    Reason { text: "it sends loopback traffic to the proxy", signs: &["the proxy was asked"] };

/// In the order of their footnotes.
pub(crate) const REASONS: [&Reason; 2] = [&NO_TOKEN_FILE, &LOOPBACK_BY_PROXY];

impl Cell {
    pub(crate) fn claim(&self) -> Claim {
        if self.situation.is_senseless_through(self.channel) {
            return Claim::Senseless;
        }
        match (self.sdk, self.channel, self.situation) {
            (Sdk::Go, Channel::ContainerFile, _) => Claim::Fails(&NO_TOKEN_FILE),
            (Sdk::Boto3 | Sdk::Awscli | Sdk::Rust, Channel::Imds, Situation::BareProxy)
            | (Sdk::Rust, Channel::ContainerVariable | Channel::ContainerFile, Situation::BareProxy) => {
                Claim::Fails(&LOOPBACK_BY_PROXY)
            }
            _ => Claim::Works,
        }
    }
}
