//! Errors of asking this host's SPIFFE agent.

use std::fmt;
use std::io;
use std::time::Duration;

use super::Choice;
use super::WorkloadEndpoint;
use super::endpoint::SocketAddress;
use anchord_core::failure::Classify;
use anchord_core::failure::Reason;
use anchord_core::text::Part::Key;
use anchord_core::text::Part::Say;
use anchord_core::text::Text;

/// Why an agent gave no SVID.
#[derive(Debug, thiserror::Error)]
#[error("the SPIFFE agent at `{endpoint}` {fault}")]
pub struct Error {
    /// Where the agent is.
    pub endpoint: WorkloadEndpoint,
    /// What is wrong, completing "the SPIFFE agent at … ".
    pub fault: AgentFault,
}

/// What is wrong with an agent or its answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentFault {
    /// The socket's path does not exist.
    #[error("is not there: its socket does not exist")]
    NoSocket,
    /// No process listens on the socket.
    #[error("is not running: no process listens")]
    NotListening,
    /// This user may not connect.
    #[error("may not be reached by this user")]
    Forbidden,
    /// Another error of the system.
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Another service.
    #[error("answers with {with} instead of gRPC")]
    NotGrpc {
        /// What came instead.
        with: String,
    },
    /// `PERMISSION_DENIED`.
    #[error("has no identity for this process{message}")]
    NoIdentity {
        /// Its message.
        message: AgentMessage,
    },
    /// `INVALID_ARGUMENT`, the answer to calls without the security header.
    #[error("refuses the call as malformed{message}")]
    Malformed {
        /// Its own words.
        message: AgentMessage,
    },
    /// `UNAVAILABLE`.
    #[error("is not ready{message}")]
    Unavailable {
        /// Its own words.
        message: AgentMessage,
    },
    /// Any other status.
    #[error("answers with the gRPC status {}{message}", code_name(*code))]
    Status {
        /// Its number.
        code: u16,
        /// Its own words.
        message: AgentMessage,
    },
    /// No answer came.
    #[error("did not answer within {} s", patience.as_secs())]
    Silent {
        /// How long anchord waited.
        patience: Duration,
    },
    /// The stream ended without an error.
    #[error("ended the stream")]
    Ended,
    /// The connection broke, or the peer does not speak HTTP/2.
    #[error("broke the connection")]
    Broken(#[source] hyper::Error),
    /// A message that is too large.
    #[error("sends a message of more than {limit} bytes")]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// A message that cannot be read.
    #[error("sends a message that cannot be read: {why}")]
    Garbled {
        /// What is wrong with it.
        why: String,
    },
    /// An SVID without a mandatory field.
    #[error("gives the SVID `{id}` without its {missing}")]
    Incomplete {
        /// The ID of the SVID.
        id: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// The wanted SVID is not among those offered.
    #[error("gives no SVID {wanted}{}", offered_text(offered))]
    NotOffered {
        /// Which one is wanted.
        wanted: Box<Choice>,
        /// ID and hint of those offered.
        offered: Vec<(String, String)>,
    },
    /// This build has no SPIFFE support.
    #[error("is not supported by this build")]
    NotBuilt,
    /// The system gives no event queue.
    #[error("cannot be asked: the system has no event queue left")]
    NoQueue(#[source] io::Error),
}

/// The agent's message beside its status; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentMessage(pub(super) String);

impl fmt::Display for AgentMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => Ok(()),
            words => write!(formatter, ", saying \"{words}\""),
        }
    }
}

fn offered_text(offered: &[(String, String)]) -> String {
    /// A workload usually has one or two; a list of hundreds does not help.
    const SHOWN: usize = 20;
    if offered.is_empty() {
        return String::new();
    }
    let name = |(id, hint): &(String, String)| match hint.as_str() {
        "" => format!("`{id}`"),
        hint => format!("`{id}` (hint `{hint}`)"),
    };
    let names: Vec<_> = offered.iter().take(SHOWN).map(name).collect();
    let more = match offered.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(", only {}{more}", names.join(", "))
}

/// gRPC, "Status codes and their use in gRPC".
fn code_name(code: u16) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(code)).map_or_else(|| code.to_string(), |name| (*name).into())
}

const UNIMPLEMENTED: u16 = 12;
const UNAUTHENTICATED: u16 = 16;

impl Classify for Error {
    fn reason(&self) -> Reason {
        match &self.fault {
            AgentFault::NoSocket
            | AgentFault::NotListening
            | AgentFault::Forbidden
            | AgentFault::Unreachable(_)
            | AgentFault::NotGrpc { .. }
            | AgentFault::NoIdentity { .. }
            | AgentFault::Status { code: UNIMPLEMENTED, .. }
            | AgentFault::TooLarge { .. }
            | AgentFault::Garbled { .. }
            | AgentFault::Incomplete { .. }
            | AgentFault::NotOffered { .. }
            | AgentFault::NotBuilt => Reason::KeySourceUnusable,
            AgentFault::Malformed { .. } => Reason::Bug,
            AgentFault::Unavailable { .. }
            | AgentFault::Status { .. }
            | AgentFault::Silent { .. }
            | AgentFault::Ended
            | AgentFault::Broken(_)
            | AgentFault::NoQueue(_) => Reason::KeySourceUnavailable,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match &self.fault {
            AgentFault::NoSocket => return Some(self.no_socket_hint()),
            AgentFault::NotListening => "start the agent; anchord retries",
            AgentFault::Forbidden => {
                "let the daemon's user write to the socket and enter its directories, such as by the unit's SupplementaryGroups="
            }
            AgentFault::Unreachable(_) => {
                let or = " or SPIFFE_ENDPOINT_SOCKET";
                return Some(Text::of(&[Say("check "), Key("spiffe_socket"), Say(or)]));
            }
            AgentFault::NotGrpc { .. }
            | AgentFault::Status { code: UNIMPLEMENTED, .. }
            | AgentFault::Garbled { .. } => {
                return Some(Text::of(&[
                    Say("name the socket of the Workload API in "),
                    Key("spiffe_socket"),
                    Say(" or SPIFFE_ENDPOINT_SOCKET; another service listens there"),
                ]));
            }
            AgentFault::NoIdentity { .. } => {
                "register an entry whose selectors match this process: its user, its binary, its unit or its pod"
            }
            AgentFault::NotOffered { wanted, .. } if **wanted == Choice::default() => {
                "register an entry whose selectors match this process: its user, its binary, its unit or its pod"
            }
            AgentFault::NotOffered { .. } => {
                "name one of those that are there (`spiffe:` alone takes the first), or register the entry for this process"
            }
            AgentFault::NotBuilt => "use a build that has the feature `spiffe`",
            AgentFault::Broken(_) => {
                "if this continues, another service may be listening there: the socket must be the Workload API's"
            }
            AgentFault::Silent { .. }
            | AgentFault::Unavailable { .. }
            | AgentFault::Status { .. }
            | AgentFault::Incomplete { .. } => "check the agent's own log",
            AgentFault::Malformed { .. }
            | AgentFault::Ended
            | AgentFault::TooLarge { .. }
            | AgentFault::NoQueue(_) => {
                return None;
            }
        };
        Some(hint.into())
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl Error {
    /// Whether the agent has answered that it has no usable identity for this process. An agent with problems, or
    /// another service, says nothing about that.
    pub(crate) fn is_refusal(&self) -> bool {
        match &self.fault {
            AgentFault::NoIdentity { .. }
            | AgentFault::Malformed { .. }
            | AgentFault::Status { code: UNAUTHENTICATED, .. }
            | AgentFault::TooLarge { .. }
            | AgentFault::Garbled { .. }
            | AgentFault::Incomplete { .. }
            | AgentFault::NotOffered { .. } => true,
            AgentFault::NoSocket
            | AgentFault::NotListening
            | AgentFault::Forbidden
            | AgentFault::Unreachable(_)
            | AgentFault::NotGrpc { .. }
            | AgentFault::Unavailable { .. }
            | AgentFault::Status { .. }
            | AgentFault::Silent { .. }
            | AgentFault::Ended
            | AgentFault::Broken(_)
            | AgentFault::NotBuilt
            | AgentFault::NoQueue(_) => false,
        }
    }

    fn no_socket_hint(&self) -> Text {
        let is_private =
            matches!(&self.endpoint.place, SocketAddress::Unix(path) if path.starts_with("/tmp"));
        let more =
            if is_private { "; a unit with PrivateTmp= does not see the host's /tmp, but /run" } else { "" };
        Text::of(&[
            Say("start the agent, or name its socket in "),
            Key("spiffe_socket"),
            Say(" or SPIFFE_ENDPOINT_SOCKET"),
            Say(more),
        ])
    }
}
