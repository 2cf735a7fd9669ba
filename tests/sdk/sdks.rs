//! The SDKs: how each is started, and what is known of its habits.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::channels::Channel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    Boto3,
    Awscli,
    Awscrt,
    JavaScript,
    Rust,
    Go,
}

impl Sdk {
    pub(crate) const ALL: [Self; 6] =
        [Self::Boto3, Self::Awscli, Self::Awscrt, Self::JavaScript, Self::Rust, Self::Go];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Boto3 => "boto3",
            Self::Awscli => "AWS CLI",
            Self::Awscrt => "awscrt",
            Self::JavaScript => "JavaScript v3",
            Self::Rust => "Rust",
            Self::Go => "Go v2",
        }
    }

    /// The package whose version is told.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Boto3 => "boto3",
            Self::Awscli => "awscli",
            Self::Awscrt => "awscrt (Python)",
            Self::JavaScript => "@aws-sdk/client-bedrock-runtime",
            Self::Rust => "aws-config",
            Self::Go => "aws-sdk-go-v2",
        }
    }

    /// The channels that it is played through.
    pub(crate) fn channels(self) -> &'static [Channel] {
        &Channel::ALL
    }

    pub(crate) fn command(self) -> Command {
        match self {
            Self::Boto3 => python("with_boto3.py"),
            Self::Awscli => Command::new(format!("{HERE}/.venv/bin/aws")),
            Self::Awscrt => python("with_awscrt.py"),
            Self::JavaScript => node("with_javascript.mjs"),
            Self::Rust => Command::new(built().join("debug/with_rust")),
            Self::Go => Command::new(built().join("with_go")),
        }
    }

    /// A command of the AWS CLI knows nothing of the one before: no cache, and no clock that could be moved for it.
    pub(crate) fn remembers(self) -> bool {
        self != Self::Awscli
    }

    pub(crate) fn asks_libc_for_time(self) -> bool {
        self != Self::Go
    }

    /// The others count time-outs alone by it.
    pub(crate) fn counts_life_by_the_monotonic_clock(self) -> bool {
        self == Self::Awscrt
    }

    /// Whether an IMDS token is used for more than one set of credentials.
    pub(crate) fn keeps_imds_tokens(self) -> bool {
        matches!(self, Self::Awscrt | Self::Rust | Self::Go)
    }

    /// The others look at a connection when they need it again.
    pub(crate) fn lets_go_of_ended_connections(self) -> bool {
        self != Self::Boto3
    }

    /// What it sends until it has its first credentials, and what is answered.
    pub(crate) fn asks_at_first(self, channel: Channel) -> &'static [&'static str] {
        if channel == Channel::Imds { &["PUT 200", "GET 200", "GET 200"] } else { &["GET 200"] }
    }

    /// How much life is left to credentials when the SDK surely asks for newer ones.
    pub(crate) fn asks_again_with(self, channel: Channel) -> time::Duration {
        match (self, channel) {
            // It may from 15 minutes on and must from 10.
            (Self::Boto3 | Self::Awscli, _) => time::Duration::minutes(12),
            // From 5 minutes on.
            (Self::Awscrt | Self::JavaScript, _) => time::Duration::minutes(4),
            // From 10 seconds on, or up to 5 s later at random.
            (Self::Rust, _) => time::Duration::seconds(4),
            (Self::Go, Channel::ContainerVariable | Channel::ContainerFile) => time::Duration::minutes(4),
            // This version has no window here: it asks when they have ended.
            (Self::Go, Channel::Imds | Channel::Process) => time::Duration::seconds(-1),
        }
    }

    /// The same for credentials that it was given when they were already that near their end.
    pub(crate) fn asks_once_more_with(self, channel: Channel) -> time::Duration {
        match (self, channel) {
            // It gives them 17 to 25 minutes from then, and asks 15 minutes before that.
            (Self::Boto3, Channel::Imds) => time::Duration::minutes(1),
            _ => self.asks_again_with(channel),
        }
    }
}

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk");

/// A script with the packages that it needs.
pub(crate) fn python(script: &str) -> Command {
    run(&format!("{HERE}/.venv/bin/python"), script)
}

/// A script with the packages that it needs.
pub(crate) fn node(script: &str) -> Command {
    run("node", script)
}

fn run(program: &str, script: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("{HERE}/programs/{script}"));
    command
}

/// Where `tests/run` puts what it builds: beside the folder of the daemon under test.
pub(crate) fn built() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_anchord")).ancestors().nth(2).unwrap().join("sdk")
}

/// What moves the clock of a program that loads it: libfaketime, by which Python cannot sleep.
pub(crate) fn clock_library() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let places = fs_err::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
        let mut files = places.map(|place| place.join("faketime/libfaketimeMT.so.1"));
        files.find(|file| file.exists()).expect("libfaketime is there: tests/run installs it")
    })
}
