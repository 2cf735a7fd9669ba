//! `anchord bedrock invoke`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::Value;

use super::Ended;
use super::body;
use super::destination::Destination;
use super::selection::Selection;
use crate::cli::Exit;
use crate::cli::Surroundings;
use crate::cli::output;
use crate::cli::output::Pipe;
use crate::cli::threads;
use anchord_aws::bedrock;
use anchord_aws::bedrock::Client;
use anchord_aws::bedrock::EventStream;
use anchord_aws::bedrock::MediaTypes;
use anchord_aws::bedrock::ModelId;
use anchord_aws::bedrock::ModelReply;
use anchord_aws::bedrock::Request;
use anchord_aws::bedrock::StreamEvent;
use anchord_config as config;
use anchord_core::credentials::Keys;
use anchord_core::entropy::Entropy;
use anchord_core::entropy::Jitter;
use anchord_core::failure::Class;
use anchord_core::failure::Classify as _;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

const JSON: &str = "application/json";

/// A call that has been checked, and what becomes of its answer.
struct Invocation {
    request: Request,
    is_stream: bool,
    is_converse: bool,
    retries: u32,
    shown: OutputMode,
    destination: Option<Destination>,
}

/// The part of an answer to print.
enum OutputMode {
    /// The whole answer or, of a stream, its text.
    Whole,
    /// Each event of a stream.
    EventStream,
    Selected(Selection),
}

pub(super) fn run(matches: &ArgMatches, surroundings: &mut Surroundings<'_>) -> Result<Exit, Ended> {
    let model = matches.get_one::<String>("model-id").map_or("", String::as_str);
    let model = super::model(model).map_err(Ended::Misused)?;
    let shown = shown(matches)?;
    let patience = matches.get_one::<String>("timeout").map_or("", String::as_str);
    let patience = config::arguments::limit("timeout", patience).map_err(Ended::Misused)?;
    let settings = super::settings(matches, surroundings)?;
    let region = super::region(matches, &settings, surroundings)?;
    if let Some(of_arn) = model.region().filter(|of_arn| *of_arn != region) {
        super::warn_of(&of_arn, surroundings);
    }
    model.check_region(&region).map_err(Ended::misused)?;
    let target = super::target(matches, &settings, region, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", surroundings)?;
    let request = request(matches, &model, surroundings)?;
    let folder = surroundings.environment.current_dir();
    let destination =
        matches.get_one::<String>("output-file").map(|path| Destination::open(&folder.join(path)));
    let plan = Invocation {
        request,
        is_stream: matches.get_flag("stream"),
        is_converse: is_converse(matches),
        retries: matches.get_one("retries").copied().unwrap_or(0),
        shown,
        destination: destination.transpose()?,
    };
    let client = super::client(&settings, target, patience)?;
    let credentials = super::credentials(&settings, surroundings)?;

    let runtime = threads::runtime()?;
    let ended = runtime.block_on(plan.carry_out(&client, credentials.keys(), surroundings));
    // A name lookup may still block a thread.
    runtime.shutdown_background();
    ended
}

fn shown(matches: &ArgMatches) -> Result<OutputMode, Ended> {
    if matches.get_flag("json") {
        return Ok(OutputMode::EventStream);
    }
    match matches.get_many::<String>("output") {
        Some(paths) => {
            Ok(OutputMode::Selected(Selection::parse(paths.map(String::as_str)).map_err(Ended::Misused)?))
        }
        None => Ok(OutputMode::Whole),
    }
}

/// `--message` implies Converse, because the bodies of other calls differ from model to model.
fn is_converse(matches: &ArgMatches) -> bool {
    matches.get_flag("converse") || matches.contains_id("message")
}

fn request(matches: &ArgMatches, model: &ModelId, surroundings: &Surroundings<'_>) -> Result<Request, Ended> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let content = MediaTypes { content_type: text("content-type").unwrap_or(JSON), accept: text("accept") };
    for (flag, value) in [("content-type", Some(content.content_type)), ("accept", content.accept)] {
        if value.is_some_and(|value| !is_header_value(value)) {
            let what = format!("--{flag}: the value is not a media type, such as `{JSON}`");
            return Err(Ended::Misused(Failure::of(Reason::InvalidSetting, what, None)));
        }
    }
    // Checks headers before it reads the body, because reading from stdin may take long.
    let headers = matches.get_many::<String>("header").into_iter().flatten();
    let mut request = match (is_converse(matches), matches.get_flag("stream")) {
        (false, false) => Request::invoke_model(model, content),
        (false, true) => Request::invoke_model_with_response_stream(model, content),
        (true, false) => Request::converse(model),
        (true, true) => Request::converse_stream(model),
    };
    for header in headers {
        request = request.with_header(header).map_err(Ended::misused)?;
    }
    Ok(request.with_body(body::read(matches, content.content_type, surroundings)?))
}

fn is_header_value(text: &str) -> bool {
    !text.trim().is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

impl Invocation {
    async fn carry_out(
        self,
        client: &Client,
        keys: &Keys,
        surroundings: &mut Surroundings<'_>,
    ) -> Result<Exit, Ended> {
        let jitter = Jitter::uniform(Entropy::system());
        if self.is_stream {
            let events =
                repeated(self.retries, &jitter, async || client.stream(keys, &self.request).await).await?;
            return Ok(StreamPrinter::new(self.shown).print_all(events, surroundings).await);
        }
        let reply = repeated(self.retries, &jitter, async || client.call(keys, &self.request).await).await?;
        Ok(self.show(&reply, surroundings))
    }

    /// Writes the answer to its destination, or to stderr if that fails.
    fn show(mut self, reply: &ModelReply, surroundings: &mut Surroundings<'_>) -> Exit {
        let destination = self.destination.take();
        let is_written = destination.is_some();
        let checked = if self.is_converse { check_converse_answer(reply) } else { Ok(()) };
        let written = checked.and_then(|()| destination.map_or(Ok(()), |it| it.write(&reply.body)));
        if let Err(failure) = written {
            return left_over(&failure, &reply.body, surroundings);
        }
        let (printed, missed) = match self.shown {
            OutputMode::Selected(mut selection) => match reply.json::<Value>() {
                Ok(answer) => {
                    let lines = selection.lines(&answer);
                    (hand_over(lines.as_bytes(), is_written, surroundings), selection.missed())
                }
                Err(error) => (Ok(()), Some(error.into())),
            },
            _ if is_written => return Exit::Done,
            _ => {
                // The answer of InvokeModel may be an image; that of Converse is a line of JSON.
                let end = if self.is_converse { "\n" } else { "" };
                (hand_over(&[&reply.body, end.as_bytes()].concat(), false, surroundings), None)
            }
        };
        match (printed, missed) {
            (Ok(()), None) => Exit::Done,
            (_, Some(failure)) if is_written => output::report(&failure, surroundings),
            (_, Some(failure)) => left_over(&failure, &reply.body, surroundings),
            // The reason has been printed.
            (Err(exit), None) => {
                if !is_written {
                    leave(&reply.body, surroundings);
                }
                exit
            }
        }
    }
}

/// Prints an answer, or a part of one that `is_kept` in a file. A reader that closes the pipe after the first byte has what
/// it wanted. If the pipe was closed before, the answer would be lost although it is billed, so that is an error.
fn hand_over(answer: &[u8], is_kept: bool, surroundings: &mut Surroundings<'_>) -> Result<(), Exit> {
    let (first, rest) = answer.split_at(answer.len().min(1));
    if output::print_bytes(surroundings, first)? == Pipe::Closed && !is_kept {
        // If stderr is closed too, there is no other place.
        let _ = writeln!(surroundings.stderr, "anchord: cannot write to stdout: its reader has closed it");
        return Err(Exit::Failed);
    }
    output::print_bytes(surroundings, rest).map(drop)
}

/// Reports why an answer is not at its destination, and prints it on stderr, because it is billed.
fn left_over(failure: &Failure, answer: &[u8], surroundings: &mut Surroundings<'_>) -> Exit {
    let exit = output::report(failure, surroundings);
    leave(answer, surroundings);
    exit
}

/// Prints an answer on stderr, unchanged.
fn leave(answer: &[u8], surroundings: &mut Surroundings<'_>) {
    let end: &[u8] = if answer.ends_with(b"\n") { b"" } else { b"\n" };
    // If stderr is closed too, there is no other place.
    let _ = surroundings.stderr.write_all(answer).and_then(|()| surroundings.stderr.write_all(end));
}

/// Refuses an answer that is not from Converse, which must not be printed, or replace a file, as a success.
fn check_converse_answer(reply: &ModelReply) -> Result<(), Failure> {
    if reply.json::<Value>()?.get("output").is_some() {
        return Ok(());
    }
    let hint = Some("check whether a proxy or portal answered instead of AWS".into());
    Err(Failure::of(Reason::AnswerUnusable, "the answer is not from Converse: it has no `output`", hint))
}

/// Prints a stream.
struct StreamPrinter {
    shown: OutputMode,
    /// The printed text does not end with a line break yet.
    open_line: bool,
    any: bool,
    /// The events, a line of JSON each, kept for the case that nothing of the answer is printed.
    unshown: String,
}

impl StreamPrinter {
    fn new(shown: OutputMode) -> Self {
        Self { shown, open_line: false, any: false, unshown: String::new() }
    }

    async fn print_all(mut self, mut events: EventStream, surroundings: &mut Surroundings<'_>) -> Exit {
        let broken_off = loop {
            match events.next().await {
                Ok(Some(event)) => match self.print(&event, surroundings) {
                    Ok(Pipe::Open) => {}
                    Ok(Pipe::Closed) => return Exit::Done,
                    Err(exit) => {
                        leave(event.value.to_string().as_bytes(), surroundings);
                        while let Ok(Some(event)) = events.next().await {
                            leave(event.value.to_string().as_bytes(), surroundings);
                        }
                        return exit;
                    }
                },
                Ok(None) => break None,
                Err(error) => break Some(error.into()),
            }
        };
        let printed = self.end_line(surroundings);
        self.verdict(printed, broken_off, surroundings)
    }

    fn print(&mut self, event: &StreamEvent, surroundings: &mut Surroundings<'_>) -> Result<Pipe, Exit> {
        let text = match &mut self.shown {
            OutputMode::Whole => bedrock::text_of(event).unwrap_or_default().to_owned(),
            OutputMode::EventStream => format!("{}\n", event.value),
            OutputMode::Selected(selection) => selection.lines(&event.value),
        };
        self.any |= !text.is_empty();
        if self.lacks_something() {
            // Writing into a String cannot fail.
            let _ = writeln!(self.unshown, "{}", event.value);
        }
        if text.is_empty() {
            return Ok(Pipe::Open);
        }
        self.open_line = !text.ends_with('\n');
        output::print_bytes(surroundings, text.as_bytes())
    }

    /// Whether the requested parts may still be missing.
    fn lacks_something(&self) -> bool {
        match &self.shown {
            OutputMode::Selected(_) => true,
            OutputMode::Whole => !self.any,
            OutputMode::EventStream => false,
        }
    }

    fn end_line(&self, surroundings: &mut Surroundings<'_>) -> Exit {
        if self.open_line { output::print(surroundings, "\n") } else { Exit::Done }
    }

    /// The exit code of the whole stream; `broken_off` is the error that ended it early.
    fn verdict(
        &self,
        printed: Exit,
        broken_off: Option<Failure>,
        surroundings: &mut Surroundings<'_>,
    ) -> Exit {
        let missed = match &self.shown {
            OutputMode::Selected(selection) => selection.missed(),
            _ => None,
        };
        let is_lost = missed.is_some() || matches!(self.shown, OutputMode::Whole) && !self.any;
        let exit = match broken_off.or(missed) {
            Some(failure) => output::report(&failure, surroundings),
            None if is_lost => {
                // Not a failure: a model may call a tool and write no text. If stderr is closed, there is no other place.
                let _ = writeln!(
                    surroundings.stderr,
                    "anchord: the answer has no text; these are its events, as `--json` prints them"
                );
                printed
            }
            None => printed,
        };
        if is_lost && !self.unshown.is_empty() {
            leave(self.unshown.as_bytes(), surroundings);
        }
        exit
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// If AWS asks for a longer wait, the call fails instead: the program would seem to hang.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Calls once, and up to `times` again if the failure may pass by itself.
async fn repeated<T>(
    times: u32,
    jitter: &Jitter,
    call: impl AsyncFn() -> Result<T, bedrock::Error>,
) -> Result<T, bedrock::Error> {
    let mut ceiling = FIRST_PAUSE;
    for _ in 0..times {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) if matches!(error.class(), Class::Transient | Class::Throttled) => error,
            Err(error) => return Err(error),
        };
        let asked = error.retry_after().unwrap_or_default();
        if asked > LONGEST_WAIT {
            return Err(error);
        }
        // Between a quarter and the whole of the ceiling, even if the server asks for less.
        let grown = ceiling.mul_f64(jitter.draw().mul_add(0.75, 0.25));
        tokio::time::sleep(grown.max(asked)).await;
        ceiling = (ceiling * 2).min(LONGEST_PAUSE);
    }
    call().await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use http::StatusCode;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use anchord_config::Environment;

    fn refused(status: u16, retry_after: Option<u64>) -> bedrock::Error {
        bedrock::Error::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            kind: "-".into(),
            message: "-".into(),
            request_id: "-".into(),
            retry_after: retry_after.map(Duration::from_secs),
            clock_off_by: 0,
        }
    }

    /// What is printed of these events on stdout and stderr.
    fn printed(shown: OutputMode, values: &[Value]) -> (String, String) {
        let environment = Environment::from_iter(std::iter::empty::<(String, String)>());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut surroundings = Surroundings::new(&environment, &mut stdout, &mut stderr);
        let mut printer = StreamPrinter::new(shown);
        for value in values {
            let event = StreamEvent { kind: "chunk".into(), value: value.clone() };
            assert_eq!(printer.print(&event, &mut surroundings), Ok(Pipe::Open));
        }
        let ended = printer.end_line(&mut surroundings);
        assert_eq!(printer.verdict(ended, None, &mut surroundings), Exit::Done);
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn text_ends_its_line_once_and_an_answer_without_text_is_told() {
        let says = |text: &str| json!({"delta": {"text": text}});

        assert_eq!(
            printed(OutputMode::Whole, &[says("a"), json!({}), says("b")]),
            ("ab\n".into(), String::new())
        );
        assert_eq!(printed(OutputMode::Whole, &[says("a\n")]), ("a\n".into(), String::new()));
        let (stdout, stderr) = printed(OutputMode::Whole, &[json!({"unheard": "of"})]);
        assert_eq!((stdout.as_str(), stderr.contains("`--json`")), ("", true), "{stderr}");
        assert!(stderr.ends_with("\n{\"unheard\":\"of\"}\n"), "{stderr}");
        assert_eq!(
            printed(OutputMode::EventStream, &[json!({}), json!("x")]),
            ("{}\n\"x\"\n".into(), String::new())
        );
    }

    /// How often the call is made when it goes like this, how it ends, and how long that takes.
    async fn calls(
        times: u32,
        answers: impl IntoIterator<Item = Result<(), bedrock::Error>>,
    ) -> (usize, bool, Duration) {
        let started = Instant::now();
        let answers: RefCell<Vec<_>> = RefCell::new(answers.into_iter().collect());
        let made = RefCell::new(0);
        let call = async || {
            *made.borrow_mut() += 1;
            answers.borrow_mut().remove(0)
        };
        let ended = repeated(times, &Jitter::fixed(1.0), call).await;
        (made.into_inner(), ended.is_ok(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_is_repeated_unasked() {
        assert_eq!(calls(0, [Err(refused(503, None))]).await, (1, false, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_after_a_pause_that_grows_or_that_aws_names() {
        let answers = [Err(refused(503, None)), Err(refused(429, None)), Err(refused(429, Some(7))), Ok(())];

        assert_eq!(calls(3, answers).await, (4, true, Duration::from_secs(1 + 2 + 7)));
        assert_eq!(calls(1, [Err(refused(503, None)), Err(refused(503, None))]).await.0, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_grows_where_aws_asks_for_less() {
        let answers = [0, 1, 0, 3].map(|seconds| Err(refused(503, Some(seconds))));

        assert_eq!(calls(3, answers).await, (4, false, Duration::from_secs(1 + 2 + 4)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_or_a_long_wait_ends_it() {
        assert_eq!(calls(3, [Err(refused(400, None))]).await, (1, false, Duration::ZERO));
        assert_eq!(calls(3, [Err(refused(429, Some(61)))]).await, (1, false, Duration::ZERO));
    }
}
