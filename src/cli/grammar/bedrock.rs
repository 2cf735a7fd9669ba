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
             The body is JSON (unless --content-type says otherwise) and may hold placeholders: {{name}} is replaced by \
             what --var or --var-file gives. Inside of a string the value is escaped, so that it stays text; outside \
             of one it must be JSON itself, such as 12 or [\"a\"]. A placeholder without a value and a value without \
             a placeholder are mistakes. {{{{ is two braces.\n\n\
             Arguments can be seen by whoever may list this host's processes: what is private comes by stdin or from a file.\n\n\
             Without --output the answer is printed as it is; with --stream, its text as it comes. An answer that is \
             billed and cannot go where it should, or holds nothing at --output, is printed on stderr. Nothing is sent before everything that is given has been checked, and no call is repeated unless --retries says so.\n\n\
             Exit codes: 0 done, 1 the network, a file or the answer failed, 2 the arguments or the body are wrong, 3 AWS \
             refused.",
        )
        .args([
            Arg::new("model-id")
                .long("model-id")
                .value_name("ID|ARN")
                .required(true)
                .help("A foundation model's or inference profile's id, or the ARN of anything that can be called"),
            switch("converse", "Call Converse, which takes the same JSON for all models, instead of InvokeModel"),
            switch("stream", "Print the answer as it comes"),
        ])
        .args(body_arguments())
        .args(answer_arguments())
        .args([
            Arg::new("header")
                .long("header")
                .value_name("NAME:VALUE")
                .action(ArgAction::Append)
                .help("One more header, which is signed too, such as X-Amzn-Bedrock-Trace:ENABLED; may be repeated"),
            Arg::new("retries")
                .long("retries")
                .value_name("N")
                .value_parser(retries)
                .default_value("0")
                .help("How often to repeat a call that was throttled or got no answer; each may be billed"),
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .default_value("5m")
                .allow_negative_numbers(true)
                .help("How long the model may be silent, with its unit (3000ms, 90s, 5m); none or -1 for no limit"),
        ])
        .args([region(SESSION_FIRST), endpoint_url("AWS_ENDPOINT_URL_BEDROCK_RUNTIME")])
        .args(settings_of_a_call())
}

/// clap's own parser would repeat the value.
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
            .help("The body; `-` reads it from stdin [default: stdin, unless that is a terminal]"),
        Arg::new("body-file")
            .long("body-file")
            .value_name("PATH")
            .conflicts_with("message")
            .help("The file that holds the body; `-` is stdin"),
        Arg::new("message")
            .long("message")
            .value_name("TEXT")
            .help("What the user says, instead of a body; implies --converse; may hold placeholders"),
        Arg::new("var")
            .long("var")
            .value_name("NAME=VALUE")
            .action(ArgAction::Append)
            .help("What stands for {{NAME}}; may be repeated"),
        Arg::new("var-file")
            .long("var-file")
            .value_name("NAME=PATH")
            .action(ArgAction::Append)
            .help("The file with the text for {{NAME}}; may be repeated"),
        switch("literal", "Send the body as it is, braces and all: look for no placeholders")
            .conflicts_with_all(["var", "var-file"]),
        Arg::new("content-type")
            .long("content-type")
            .value_name("TYPE")
            .conflicts_with_all(["converse", "message"])
            .help("What the body is [default: application/json]"),
        Arg::new("accept")
            .long("accept")
            .value_name("TYPE")
            .conflicts_with_all(["converse", "message"])
            .help("Type of the answer [default: the model's own, usually application/json]"),
    ]
}

fn answer_arguments() -> [Arg; 3] {
    [
        Arg::new("output")
            .long("output")
            .value_name("JSONPATH")
            .action(ArgAction::Append)
            .help(
                "Print only what is there (RFC 9535), a match a line, strings as they are; may be repeated. With --stream \
                 each event is looked at, such as '$.metadata.usage.outputTokens'",
            ),
        switch("json", "Print each event of a stream as a line of JSON").requires("stream").conflicts_with("output"),
        Arg::new("output-file")
            .long("output-file")
            .value_name("PATH")
            .conflicts_with("stream")
            .help("Write the whole answer there, in one step; what --output selects is printed all the same"),
    ]
}

fn models() -> Command {
    Command::new("models")
        .about("List the foundation models and inference profiles of a Region")
        .long_about(
            "List the foundation models and inference profiles of a Region, with what --model-id takes in the first \
             column. Whether the account may call a model shows when it is called.",
        )
        .arg(switch("json", "Print them as JSON"))
        .args([region(SESSION_FIRST), endpoint_url("AWS_ENDPOINT_URL_BEDROCK")])
        .args(settings_of_a_call())
}

fn api_key() -> Command {
    Command::new("api-key")
        .about("Print a short-term API key of Bedrock, made of a session's credentials")
        .long_about(
            "Print a short-term API key of Bedrock and nothing else, as `apiKeyHelper` commands have to. It is made here, \
             without asking AWS, is good for Bedrock in one Region alone, and ends with the session's credentials at the \
             latest. The role's policy must allow bedrock:CallWithBearerToken.",
        )
        .args([
            Arg::new("ttl")
                .long("ttl")
                .value_name("DURATION")
                .help("Life of the key, 1s to 12h [default: 12h, or as long as the credentials]"),
            switch("json", "Print it as JSON, with its end and its Region"),
        ])
        .arg(region(ENVIRONMENT_FIRST))
        .args(settings())
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// The id under which `--region` is found; it is about the call here, and changes no session.
pub(in crate::cli) const REGION: &str = "called-region";

fn region(default: &str) -> Arg {
    let help = format!("The Region that is called [default: {default}]");
    Arg::new(REGION).long("region").value_name("REGION").help(help)
}

const SESSION_FIRST: &str = "the session's, else AWS_REGION, else AWS_DEFAULT_REGION";
const ENVIRONMENT_FIRST: &str = "AWS_REGION, else AWS_DEFAULT_REGION, else the session's";

fn endpoint_url(variable: &str) -> Arg {
    Arg::new("endpoint-url").long("endpoint-url").visible_alias("endpoint").value_name("URL").help(format!(
        "The https:// address of Bedrock that is called instead of AWS's own; Roles Anywhere's is ANCHORD_ENDPOINT \
         [default: {variable}, else AWS_ENDPOINT_URL, else AWS's own]"
    ))
}

/// What leads to a session's credentials, but for the flag that means something else here.
fn settings() -> impl Iterator<Item = Arg> {
    config::arguments::of(FlagSet::Credentials)
        .into_iter()
        .filter(|argument| argument.get_long() != Some("region"))
}

/// The same for verbs that call Bedrock, whose endpoint is the one that is meant.
fn settings_of_a_call() -> impl Iterator<Item = Arg> {
    settings().filter(|argument| argument.get_long() != Some("endpoint"))
}
