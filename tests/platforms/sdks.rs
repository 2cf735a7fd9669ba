//! The SDKs of other platforms and ages: how each is started, and what is known of its habits.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::channels::Channel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    Java,
    JavaAsync,
    JavaContainer,
    JavaInstance,
    JavaProcess,
    Kotlin,
    Go,
    GoV1,
    Minio,
    Cpp,
    Ruby,
    ObjectStore,
    Boto3,
    Awscrt,
    JavaScript,
    Rust,
}

const CONTAINER: [Channel; 2] = [Channel::ContainerVariable, Channel::ContainerFile];
const NO_PROCESS: [Channel; 3] = [Channel::Imds, Channel::ContainerVariable, Channel::ContainerFile];

impl Sdk {
    /// Those of the table.
    pub(crate) const ALL: [Self; 12] = [
        Self::Java,
        Self::JavaAsync,
        Self::JavaContainer,
        Self::JavaInstance,
        Self::JavaProcess,
        Self::Kotlin,
        Self::Go,
        Self::GoV1,
        Self::Minio,
        Self::Cpp,
        Self::Ruby,
        Self::ObjectStore,
    ];

    /// README.md has their table; how soon they recover is measured here.
    pub(crate) const OF_README: [Self; 4] = [Self::Boto3, Self::Awscrt, Self::JavaScript, Self::Rust];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Java => "Java v2",
            Self::JavaAsync => "Java v2, asynchronous",
            Self::JavaContainer => "Java v2, `ContainerCredentialsProvider`",
            Self::JavaInstance => "Java v2, `InstanceProfileCredentialsProvider`",
            Self::JavaProcess => "Java v2, `ProcessCredentialsProvider`",
            Self::Kotlin => "Kotlin",
            Self::Go => "Go v2",
            Self::GoV1 => "Go v1",
            Self::Minio => "minio-go",
            Self::Cpp => "C++",
            Self::Ruby => "Ruby",
            Self::ObjectStore => "object_store",
            Self::Boto3 => "boto3",
            Self::Awscrt => "awscrt",
            Self::JavaScript => "JavaScript v3",
            Self::Rust => "Rust",
        }
    }

    /// The package whose version is told.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Java | Self::JavaAsync | Self::JavaContainer | Self::JavaInstance | Self::JavaProcess => {
                "software.amazon.awssdk:bom"
            }
            Self::Kotlin => "aws.sdk.kotlin:aws-config-jvm",
            Self::Go => "aws-sdk-go-v2",
            Self::GoV1 => "aws-sdk-go",
            Self::Minio => "minio-go",
            Self::Cpp => "pyarrow",
            Self::Ruby => "ruby-aws-sdk-core",
            Self::ObjectStore => "obstore",
            Self::Boto3 => "boto3",
            Self::Awscrt => "awscrt (Python)",
            Self::JavaScript => "@aws-sdk/client-bedrock-runtime",
            Self::Rust => "aws-config",
        }
    }

    /// The channels that it is played through.
    pub(crate) fn channels(self) -> &'static [Channel] {
        match self {
            Self::JavaContainer => &CONTAINER,
            Self::JavaInstance => &[Channel::Imds],
            Self::JavaProcess => &[Channel::Process],
            Self::ObjectStore => &NO_PROCESS,
            _ => &Channel::ALL,
        }
    }

    pub(crate) fn command(self) -> Command {
        match self {
            Self::Java => java(["sync", "default"]),
            Self::JavaAsync => java(["async", "default"]),
            Self::JavaContainer => java(["sync", "container"]),
            Self::JavaInstance => java(["sync", "instance"]),
            Self::JavaProcess => java(["sync", "process"]),
            Self::Kotlin => jvm("with_kotlin", "WithKotlin"),
            Self::Go => program("with_go", &[]),
            Self::GoV1 => program("with_old_go", &["v1"]),
            Self::Minio => program("with_old_go", &["minio"]),
            Self::Cpp => script("venv/bin/python", "platforms", &["with_s3.py", "pyarrow"]),
            Self::Ruby => script("ruby", "platforms", &["with_ruby.rb"]),
            Self::ObjectStore => script("venv/bin/python", "platforms", &["with_s3.py", "obstore"]),
            Self::Boto3 => script("venv/bin/python", "sdk", &["with_boto3.py"]),
            Self::Awscrt => script("venv/bin/python", "sdk", &["with_awscrt.py"]),
            Self::JavaScript => {
                let mut command = Command::new("node");
                command.arg(built().join("with_javascript/with_javascript.mjs"));
                command
            }
            Self::Rust => Command::new(built().join("with_rust/debug/with_rust")),
        }
    }

    /// All are programs that stay alive.
    pub(crate) fn remembers(self) -> bool {
        true
    }

    /// Go asks the kernel itself; its programs move the clock.
    pub(crate) fn asks_libc_for_time(self) -> bool {
        !matches!(self, Self::Go | Self::GoV1 | Self::Minio)
    }

    /// The others count time-outs alone by it.
    pub(crate) fn counts_life_by_the_monotonic_clock(self) -> bool {
        matches!(self, Self::Awscrt | Self::ObjectStore)
    }

    /// Whether an IMDS token is used for more than one set of credentials.
    pub(crate) fn keeps_imds_tokens(self) -> bool {
        matches!(self, Self::Go | Self::GoV1)
    }

    /// The others look at a connection when they need it again.
    pub(crate) fn lets_go_of_ended_connections(self) -> bool {
        matches!(self, Self::Go | Self::GoV1 | Self::Minio)
    }

    /// What it sends until it has its first credentials, and what is answered.
    pub(crate) fn asks_at_first(self, channel: Channel) -> &'static [&'static str] {
        match (self, channel) {
            // It looks for its Region, for which it asks for credentials once more.
            (Self::Cpp, Channel::Imds) => {
                &["PUT 200", "GET 200", "GET 200", "PUT 200", "GET 200", "GET 200", "GET 200"]
            }
            (_, Channel::Imds) => &["PUT 200", "GET 200", "GET 200"],
            _ => &["GET 200"],
        }
    }

    /// How much life is left to credentials when the SDK surely asks for newer ones.
    pub(crate) fn asks_again_with(self, channel: Channel) -> time::Duration {
        match (self, channel) {
            // When they have ended.
            (Self::Go, Channel::Imds | Channel::Process) | (Self::GoV1, Channel::Process) => {
                time::Duration::seconds(-1)
            }
            // Every five minutes, whatever is left.
            (Self::Cpp, Channel::Imds) => time::Duration::minutes(20),
            (Self::Go, _) => time::Duration::minutes(4),
            // Java from 15 seconds on.
            (_, Channel::Process) => time::Duration::seconds(8),
            // Java may long before, at a moment that it draws, and must in their last minute.
            _ => time::Duration::seconds(30),
        }
    }

    /// The same for credentials that it was given when they were already that near their end.
    pub(crate) fn asks_once_more_with(self, channel: Channel) -> time::Duration {
        match (self, channel) {
            (Self::Cpp, Channel::Imds) => time::Duration::minutes(8),
            _ => self.asks_again_with(channel),
        }
    }
}

fn program(folder: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(built().join(folder).join("program"));
    command.args(arguments);
    command
}

/// `interpreter` is one of this machine, or one that was made for this test.
fn script(interpreter: &str, test: &str, arguments: &[&str]) -> Command {
    let made = interpreter.contains('/');
    let mut command = if made { Command::new(built().join(interpreter)) } else { Command::new(interpreter) };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    command.arg(format!("{folder}/{test}/programs/{}", arguments[0])).args(&arguments[1..]);
    command
}

fn java(arguments: [&str; 2]) -> Command {
    let mut command = jvm("with_java", "With");
    command.args(arguments);
    command
}

/// A small JVM: the second compiler and more than one thread for garbage take longer than the program.
pub(crate) fn jvm(folder: &str, class: &str) -> Command {
    let folder = built().join(folder);
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.arg(format!("{0}/jars/*:{0}/classes", folder.display())).arg(class);
    command
}

/// Where `tests/platforms/run` puts what it builds: beside the folder of the daemon under test.
pub(crate) fn built() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_anchord")).ancestors().nth(2).unwrap().join("platforms")
}

/// What moves the clock of a program that loads it.
pub(crate) fn clock_library() -> PathBuf {
    built().join("clock/clock.so")
}
