//! What can go wrong between this host's SPIFFE agent and us.

use std::fmt;
use std::io;
use std::time::Duration;

use super::Choice;
use super::Endpoint;
use super::endpoint::Place;
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
    pub endpoint: Endpoint,
    /// What is wrong, completing "the SPIFFE agent at … ".
    pub fault: Fault,
}

/// What is wrong with an agent or its answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing is at the socket's path.
    #[error("is not there: its socket does not exist")]
    NoSocket,
    /// A socket that nobody accepts connections on.
    #[error("is not running: no process listens")]
    NotListening,
    /// The system does not let this user connect.
    #[error("may not be reached by this user")]
    Forbidden,
    /// Another reason of the system.
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Another service.
    #[error("does not answer in gRPC but with {with}")]
    NotGrpc {
        /// What came instead.
        with: String,
    },
    /// `PERMISSION_DENIED`.
    #[error("has no identity for this process{said}")]
    NoIdentity {
        /// Its own words.
        said: Said,
    },
    /// `INVALID_ARGUMENT`, which an agent says to calls without the security header.
    #[error("refuses the call as malformed{said}")]
    Malformed {
        /// Its own words.
        said: Said,
    },
    /// `UNAVAILABLE`.
    #[error("is not ready{said}")]
    Unavailable {
        /// Its own words.
        said: Said,
    },
    /// Any other status.
    #[error("answers with the gRPC status {}{said}", code_name(*code))]
    Status {
        /// Its number.
        code: u16,
        /// Its own words.
        said: Said,
    },
    /// Nothing came.
    #[error("did not answer within {} s", patience.as_secs())]
    Silent {
        /// How long it was waited for.
        patience: Duration,
    },
    /// An end without an error.
    #[error("ended the stream")]
    Ended,
    /// The connection ended in the middle, or what came over it is not HTTP/2.
    #[error("broke the connection off")]
    Broken(#[source] hyper::Error),
    /// A message that nobody needs.
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
    /// An SVID without something that it must have.
    #[error("gives the SVID `{id}` without its {missing}")]
    Incomplete {
        /// Whose.
        id: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// Not the SVID that is wanted.
    #[error("gives no SVID {wanted}{}", offered_text(offered))]
    NotOffered {
        /// Which one is wanted.
        wanted: Box<Choice>,
        /// ID and hint of those that are there.
        offered: Vec<(String, String)>,
    },
    /// gRPC is left out of this build.
    #[error("cannot be asked by this build")]
    NotBuilt,
    /// The system gives no event queue.
    #[error("cannot be asked: the system gives no queue of events")]
    NoQueue(#[source] io::Error),
}

/// What the agent said beside its status; possibly nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(pub(super) String);

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => Ok(()),
            words => write!(formatter, ", saying \"{words}\""),
        }
    }
}

fn offered_text(offered: &[(String, String)]) -> String {
    /// A workload has one or two; a list of hundreds helps nobody.
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
            Fault::NoSocket
            | Fault::NotListening
            | Fault::Forbidden
            | Fault::Unreachable(_)
            | Fault::NotGrpc { .. }
            | Fault::NoIdentity { .. }
            | Fault::Status { code: UNIMPLEMENTED, .. }
            | Fault::TooLarge { .. }
            | Fault::Garbled { .. }
            | Fault::Incomplete { .. }
            | Fault::NotOffered { .. }
            | Fault::NotBuilt => Reason::KeySourceUnusable,
            Fault::Malformed { .. } => Reason::Bug,
            Fault::Unavailable { .. }
            | Fault::Status { .. }
            | Fault::Silent { .. }
            | Fault::Ended
            | Fault::Broken(_)
            | Fault::NoQueue(_) => Reason::KeySourceUnavailable,
        }
    }

    fn hint(&self) -> Option<Text> {
        let hint = match &self.fault {
            Fault::NoSocket => return Some(self.no_socket_hint()),
            Fault::NotListening => "start the agent; it is asked again by itself",
            Fault::Forbidden => {
                "let the daemon's user write to the socket and enter its folders, such as by the unit's SupplementaryGroups="
            }
            Fault::Unreachable(_) => {
                let or = " or SPIFFE_ENDPOINT_SOCKET";
                return Some(Text::of(&[Say("check "), Key("spiffe_socket"), Say(or)]));
            }
            Fault::NotGrpc { .. } | Fault::Status { code: UNIMPLEMENTED, .. } | Fault::Garbled { .. } => {
                return Some(Text::of(&[
                    Say("name the socket of the Workload API in "),
                    Key("spiffe_socket"),
                    Say(" or SPIFFE_ENDPOINT_SOCKET; another service listens there"),
                ]));
            }
            Fault::NoIdentity { .. } => {
                "register an entry whose selectors match this process: its user, its binary, its unit or its pod"
            }
            Fault::NotOffered { wanted, .. } if **wanted == Choice::default() => {
                "register an entry whose selectors match this process: its user, its binary, its unit or its pod"
            }
            Fault::NotOffered { .. } => {
                "name one of those that are there (`spiffe:` alone takes the first), or register the entry for this process"
            }
            Fault::NotBuilt => "use a build that has the feature `spiffe`",
            Fault::Broken(_) => {
                "where it stays so, another service may be listening there: the socket must be the Workload API's"
            }
            Fault::Silent { .. }
            | Fault::Unavailable { .. }
            | Fault::Status { .. }
            | Fault::Incomplete { .. } => "see the agent's own log",
            Fault::Malformed { .. } | Fault::Ended | Fault::TooLarge { .. } | Fault::NoQueue(_) => {
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
    /// Whether the agent has answered, and gives this process no identity. What is in trouble, or is no agent, says nothing
    /// about that.
    pub(crate) fn is_refusal(&self) -> bool {
        match &self.fault {
            Fault::NoIdentity { .. }
            | Fault::Malformed { .. }
            | Fault::Status { code: UNAUTHENTICATED, .. }
            | Fault::TooLarge { .. }
            | Fault::Garbled { .. }
            | Fault::Incomplete { .. }
            | Fault::NotOffered { .. } => true,
            Fault::NoSocket
            | Fault::NotListening
            | Fault::Forbidden
            | Fault::Unreachable(_)
            | Fault::NotGrpc { .. }
            | Fault::Unavailable { .. }
            | Fault::Status { .. }
            | Fault::Silent { .. }
            | Fault::Ended
            | Fault::Broken(_)
            | Fault::NotBuilt
            | Fault::NoQueue(_) => false,
        }
    }

    fn no_socket_hint(&self) -> Text {
        let is_private = matches!(&self.endpoint.place, Place::Unix(path) if path.starts_with("/tmp"));
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
