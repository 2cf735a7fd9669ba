//! The command line's grammar. Options come from `config`, where each is declared once.

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;
use clap::Command;
use clap::error::ErrorKind;

use super::Exit;
use super::Surroundings;
use super::command_line::CommandLine;
use super::credential_process;
use super::exit;
use super::helper;
use super::helper::Name;
use super::misuse;
use anchord_config as config;
use anchord_config::Arguments;
use anchord_config::Environment;
use anchord_config::arguments::Use;
use anchord_core::failure::Failure;
use anchord_runtime::client::running;

/// The whole grammar.
pub(super) fn command() -> Command {
    let command = for_people();
    #[cfg(feature = "pkcs11")]
    let command = command.subcommand(super::pkcs11_host::command());
    command
}

fn for_people() -> Command {
    Command::new("anchord")
        .about("Turns an X.509 certificate into AWS credentials every SDK can use (IAM Roles Anywhere)")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .subcommand(
            Command::new("run")
                .about("Keep sessions renewed and serve their credentials until told to stop")
                .args(config::arguments::all()),
        )
        .subcommand(credential_process())
        .subcommand(helper::subcommand("serve", Name::Anchord))
        .subcommand(helper::subcommand("update", Name::Anchord))
        .subcommand(helper::subcommand("read-certificate-data", Name::Anchord))
        .subcommand(helper::subcommand("sign-string", Name::Anchord))
        .subcommand(
            Command::new("status")
                .about("Show what a running daemon holds and what ails it")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print the daemon's answer as it is"),
                )
                .args(config::arguments::of(Use::Daemon)),
        )
        .subcommand(super::check::command())
        .subcommand(super::exec::command())
        .subcommand(
            Command::new("config").about("Look at the configuration").subcommand_required(true).subcommand(
                Command::new("check")
                    .about("Report every mistake in the configuration, or each setting and its origin")
                    .args(config::arguments::all()),
            ),
        )
        .subcommand(
            Command::new("certificate").about("Look at certificates").subcommand_required(true).subcommand(
                Command::new("show")
                    .about(
                        "Show what a file, token or agent holds, and whether Roles Anywhere would accept it",
                    )
                    .arg(
                        Arg::new("place")
                            .value_name("PATH|URI")
                            .conflicts_with_all(["certificate", "session"])
                            .help("Where the certificate is [default: where each session has its own]"),
                    )
                    .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print it as JSON"))
                    .args(config::arguments::of(Use::Certificates)),
            ),
        )
        .subcommand(super::bedrock::command())
        .subcommand(Command::new("version").about("Print the version"))
}

fn credential_process() -> Command {
    helper::subcommand("credential-process", Name::Anchord).long_about(
        "Print credentials as `credential_process` of an AWS profile expects them: from the daemon's socket, or with a \
         CreateSession of its own when no daemon runs, or when its session is another than flags, ANCHORD_ variables and a \
         settings file other than /etc/anchord's describe. The daemon's is taken as it is where only its name is given.",
    )
}

/// Why there is nothing to run.
pub(super) enum Unparsed {
    /// Help or a version was asked for, or is the best answer: this text.
    Shown { text: String, is_asked_for: bool },
    /// The line is wrong.
    Misused(Failure, Exit),
}

/// What a line asks for, read with the grammar of a name.
pub(super) fn parse(line: &CommandLine, sessions: misuse::Sessions<'_>) -> Result<ArgMatches, Unparsed> {
    if let Some(failure) = misuse::pem_in(line) {
        // As a mistake in a setting ends, which it is in a file.
        return Err(Unparsed::Misused(failure, Exit::Failed));
    }
    line.parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Unparsed::Shown { text: error.render().to_string(), is_asked_for: !error.use_stderr() }
        }
        _ => Unparsed::Misused(misuse::answer(&error, line, sessions), Exit::Usage),
    })
}

/// Prints it where it belongs: help and version are data, the rest is a mistake.
pub(super) fn explain(unparsed: Unparsed, line: &CommandLine, surroundings: &mut Surroundings<'_>) -> Exit {
    let is_process = line.verbs == ["credential-process"];
    match unparsed {
        Unparsed::Shown { text, is_asked_for: true } => exit::print(surroundings, &text),
        Unparsed::Shown { text, is_asked_for: false } => {
            // Nobody is left to tell if stderr is closed.
            let _ = surroundings.stderr.write_all(text.as_bytes());
            Exit::Usage
        }
        Unparsed::Misused(failure, exit) if is_process => {
            credential_process::refuse(&failure, surroundings);
            exit
        }
        Unparsed::Misused(failure, exit) => {
            exit::report(&failure, surroundings);
            exit
        }
    }
}

/// The names of the sessions that a line may mean: those of its settings and those of the daemon.
pub(super) fn sessions(line: &CommandLine, environment: &Environment) -> Vec<String> {
    let places = ["config", "socket-path", "runtime-directory"];
    let given = places.into_iter().filter_map(|flag| Some((flag, line.value_of(flag)?)));
    let Ok(arguments) = Arguments::given(given) else { return Vec::new() };
    let Ok(settings) = config::load_for_client(arguments, environment) else { return Vec::new() };
    let own = settings.sessions.iter().map(|session| session.name.clone());
    let running = exit::runtime().and_then(|runtime| runtime.block_on(running::find(&settings, None)));
    let held = running.ok().flatten().into_iter().flat_map(|running| running.sessions);
    own.chain(held.map(|held| held.name)).collect()
}
