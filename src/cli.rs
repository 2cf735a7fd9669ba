//! The command line: `grammar` parses it, `verbs` runs it, `output` prints the results.

mod grammar;
mod output;
mod threads;
mod verbs;

use std::ffi::OsString;
use std::io::Write;

use grammar::CommandLine;
use grammar::Unparsed;
use grammar::helper::Name;
pub(crate) use output::Exit;

use anchord_config as config;
use anchord_config::Arguments;
use anchord_config::Environment;
use anchord_runtime::client::running;

/// What a verb may use besides its arguments.
pub(crate) struct Surroundings<'a> {
    /// Variables, current folder and user.
    pub(crate) environment: &'a Environment,
    /// Data.
    pub(crate) stdout: &'a mut dyn Write,
    /// Everything else.
    pub(crate) stderr: &'a mut dyn Write,
    name: Name,
}

impl<'a> Surroundings<'a> {
    /// For a process. [`main`] takes the program's name from the arguments.
    pub(crate) fn new(
        environment: &'a Environment,
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
    ) -> Self {
        Self { environment, stdout, stderr, name: Name::Anchord }
    }

    /// The same with another stderr.
    fn with_stderr<'b>(&'b mut self, stderr: &'b mut dyn Write) -> Surroundings<'b> {
        Surroundings { environment: self.environment, stdout: &mut *self.stdout, stderr, name: self.name }
    }
}

/// Runs the verb that `arguments` name. The first argument is the program's name.
pub(crate) fn main(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &mut Surroundings<'_>,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = Name::of(&arguments);
    surroundings.name = name;
    let line = CommandLine::of(grammar::of(name), arguments);
    let environment = surroundings.environment;
    match grammar::parse(&line, &|| sessions(&line, environment)) {
        Ok(matches) => verbs::dispatch(&matches, surroundings),
        Err(unparsed) => explain(unparsed, &line, surroundings),
    }
}

/// Prints help and version on stdout, and errors on stderr.
fn explain(unparsed: Unparsed, line: &CommandLine, surroundings: &mut Surroundings<'_>) -> Exit {
    let (failure, exit) = match unparsed {
        Unparsed::Shown { text, is_asked_for: true } => return output::print(surroundings, &text),
        Unparsed::Shown { text, is_asked_for: false } => {
            // If stderr is closed, there is no other place for the text.
            let _ = surroundings.stderr.write_all(text.as_bytes());
            return Exit::Usage;
        }
        // The same exit code as for this mistake in a file.
        Unparsed::HoldsPem(failure) => (failure, Exit::Failed),
        Unparsed::Misused(failure) => (failure, Exit::Usage),
    };
    match line.verbs == ["credential-process"] {
        true => output::report_on_one_line(&failure, surroundings),
        false => output::report(&failure, surroundings),
    };
    exit
}

/// The names of the sessions in the settings that a line names, and in the daemon.
fn sessions(line: &CommandLine, environment: &Environment) -> Vec<String> {
    let places = ["config", "socket-path", "runtime-directory"];
    let given = places.into_iter().filter_map(|flag| Some((flag, line.value_of(flag)?)));
    let Ok(arguments) = Arguments::given(given) else { return Vec::new() };
    let Ok(settings) = config::load_for_client(arguments, environment) else { return Vec::new() };
    let own = settings.sessions.iter().map(|session| session.name.clone());
    let running = threads::runtime().and_then(|runtime| runtime.block_on(running::find(&settings, None)));
    let held = running.ok().flatten().into_iter().flat_map(|running| running.status.sessions);
    own.chain(held.map(|held| held.name)).collect()
}
