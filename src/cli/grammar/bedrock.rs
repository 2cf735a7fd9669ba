//! The grammar of `anchord bedrock`.

use clap::Arg;
use clap::ArgAction;
use clap::Command;

use anchord_config as config;
use anchord_config::arguments::FlagSet;

pub(super) fn command() -> Command {
    Command::new("bedrock")
        .about("Call models of Amazon Bedrock with a session's credentials")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(invoke())
        .subcommand(models())
        .subcommand(api_key())
}

fn invoke() -> Command {
    Command::new("invoke")
        .about("Call a model and print its answer")
        .long_about(
            "Call a model and print its answer.\n\n\
             The body is JSON (unless --content-type names another type) and may contain placeholders: {{name}} is replaced \
             with the value from --var or --var-file. Inside a JSON string the value is escaped and stays text; elsewhere \
             it must be JSON, such as 12 or [\"a\"]. A placeholder without a value is an error, and so is a value without \
             a placeholder. Write {{{{ for two braces.\n\n\
             Every user who can list this host's processes can read the arguments: pass private text on stdin or in a file.\n\n\
             Without --output, the whole answer is printed; with --stream, its text as it arrives. AWS bills each answer, so \
             one that cannot be written to its destination, or has no match for --output, is printed on stderr. \
             All arguments are checked before anything is sent. No call is repeated without --retries.\n\n\
             Exit codes: 0 done, 1 the network, a file or the answer failed, 2 invalid arguments or body, 3 AWS refused.",
        )
        .args([
            Arg::new("model-id")
                .long("model-id")
                .value_name("ID|ARN")
                .required(true)
                .help("Id of a foundation model or inference profile, or the ARN of anything that Bedrock can invoke"),
            switch("converse", "Call Converse (one JSON format for all models) instead of InvokeModel"),
            switch("stream", "Print the answer as it arrives"),
        ])
        .args(body_arguments())
        .args(answer_arguments())
        .args([
            Arg::new("header")
                .long("header")
                .value_name("NAME:VALUE")
                .action(ArgAction::Append)
                .help("Additional signed header, such as X-Amzn-Bedrock-Trace:ENABLED; may be repeated"),
            Arg::new("retries")
                .long("retries")
                .value_name("N")
                .value_parser(retries)
                .default_value("0")
                .help("Maximum number of retries after throttling or no answer; each may be billed"),
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .default_value("5m")
                .allow_negative_numbers(true)
                .help("Read time-out, with its unit (3000ms, 90s, 5m); none or -1 for no limit"),
        ])
        .args([region(SESSION_FIRST), endpoint_url("AWS_ENDPOINT_URL_BEDROCK_RUNTIME")])
        .args(settings_of_a_call())
}

/// clap's own parser would repeat the value in its error.
fn retries(text: &str) -> Result<u32, &'static str> {
    let number = text.parse().ok().filter(|number| *number <= 10);
    number.ok_or("expected a whole number from 0 to 10")
}

fn body_arguments() -> [Arg; 8] {
    [
        Arg::new("body")
            .long("body")
            .value_name("TEXT|-")
            .conflicts_with_all(["body-file", "message"])
            .help("Body; `-` reads it from stdin [default: stdin, unless stdin is a terminal]"),
        Arg::new("body-file")
            .long("body-file")
            .value_name("PATH")
            .conflicts_with("message")
            .help("File with the body; `-` reads it from stdin"),
        Arg::new("message")
            .long("message")
            .value_name("TEXT")
            .help("User message, instead of a body; implies --converse; may contain placeholders"),
        Arg::new("var")
            .long("var")
            .value_name("NAME=VALUE")
            .action(ArgAction::Append)
            .help("Value of the placeholder {{NAME}}; may be repeated"),
        Arg::new("var-file")
            .long("var-file")
            .value_name("NAME=PATH")
            .action(ArgAction::Append)
            .help("File with the value of the placeholder {{NAME}}; may be repeated"),
        switch("literal", "Send the body unchanged; do not replace placeholders")
            .conflicts_with_all(["var", "var-file"]),
        Arg::new("content-type")
            .long("content-type")
            .value_name("TYPE")
            .conflicts_with_all(["converse", "message"])
            .help("Media type of the body [default: application/json]"),
        Arg::new("accept")
            .long("accept")
            .value_name("TYPE")
            .conflicts_with_all(["converse", "message"])
            .help("Media type of the answer [default: the model's own, usually application/json]"),
    ]
}

fn answer_arguments() -> [Arg; 3] {
    [
        Arg::new("output")
            .long("output")
            .value_name("JSONPATH")
            .action(ArgAction::Append)
            .help(
                "Print only the matches of this JSONPath (RFC 9535), one on each line, strings without quotes; may be \
                 repeated. With --stream, applies to each event, such as '$.metadata.usage.outputTokens'",
            ),
        switch("json", "Print each event of the stream as one line of JSON").requires("stream").conflicts_with("output"),
        Arg::new("output-file")
            .long("output-file")
            .value_name("PATH")
            .conflicts_with("stream")
            .help("File for the whole answer, replaced in one step; the matches of --output are still printed"),
    ]
}

fn models() -> Command {
    Command::new("models")
        .about("List the foundation models and inference profiles of a Region")
        .long_about(
            "List the foundation models and inference profiles of a Region. The first column has the values for --model-id. \
             The list does not say whether the account may call a model.",
        )
        .arg(switch("json", "Print JSON"))
        .args([region(SESSION_FIRST), endpoint_url("AWS_ENDPOINT_URL_BEDROCK")])
        .args(settings_of_a_call())
}

fn api_key() -> Command {
    Command::new("api-key")
        .about("Print a short-term Bedrock API key made from a session's credentials")
        .long_about(
            "Print a short-term Bedrock API key and nothing else, as `apiKeyHelper` commands must. anchord makes the key \
             locally, without a call to AWS. The key is valid for Bedrock in one Region and expires with the session's \
             credentials at the latest. The role's policy must allow bedrock:CallWithBearerToken.",
        )
        .args([
            Arg::new("ttl")
                .long("ttl")
                .value_name("DURATION")
                .help("Lifetime of the key, 1s to 12h [default: 12h, limited by the credentials]"),
            switch("json", "Print JSON with the key, its expiry and its Region"),
        ])
        .arg(region(ENVIRONMENT_FIRST))
        .args(settings())
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// The id of this `--region`: unlike the option of the same flag, it names the Region to call and changes no session.
pub(in crate::cli) const REGION: &str = "called-region";

fn region(default: &str) -> Arg {
    let help = format!("Region to call [default: {default}]");
    Arg::new(REGION).long("region").value_name("REGION").help(help)
}

const SESSION_FIRST: &str = "the session's, else AWS_REGION, else AWS_DEFAULT_REGION";
const ENVIRONMENT_FIRST: &str = "AWS_REGION, else AWS_DEFAULT_REGION, else the session's";

fn endpoint_url(variable: &str) -> Arg {
    Arg::new("endpoint-url").long("endpoint-url").visible_alias("endpoint").value_name("URL").help(format!(
        "https:// URL of the Bedrock endpoint; ANCHORD_ENDPOINT is for Roles Anywhere [default: {variable}, else \
         AWS_ENDPOINT_URL, else AWS's own]"
    ))
}

/// The options that lead to a session's credentials, without `--region`, which has another meaning here.
fn settings() -> impl Iterator<Item = Arg> {
    config::arguments::of(FlagSet::Credentials)
        .into_iter()
        .filter(|argument| argument.get_long() != Some("region"))
}

/// The same without `--endpoint`, which for verbs that call Bedrock means Bedrock's endpoint.
fn settings_of_a_call() -> impl Iterator<Item = Arg> {
    settings().filter(|argument| argument.get_long() != Some("endpoint"))
}
