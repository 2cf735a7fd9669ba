//! Calls a model with the AWS SDK for Rust. The program gets its credentials itself, without a daemon or a socket.
//!
//! Without arguments it runs offline, with an emulated AWS. With `CONFIGURATION SESSION MODEL` it uses a session of a
//! daemon's configuration file and calls the real AWS.

mod offline;

use std::error::Error;

use anchord::provider::Provider;
use aws_config::BehaviorVersion;
use aws_config::ConfigLoader;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::error::DisplayErrorContext;
use aws_sdk_bedrockruntime::types::ContentBlock;
use aws_sdk_bedrockruntime::types::ConversationRole;
use aws_sdk_bedrockruntime::types::ConverseStreamOutput;
use aws_sdk_bedrockruntime::types::Message;

type Outcome<T> = Result<T, Box<dyn Error>>;

const QUESTION: &str = "Who is there?";

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => offline::run().await,
        [configuration, session, model] => {
            let provider = Provider::builder().configuration_file(configuration).session(session).start()?;
            ask(provider, aws_config::defaults(BehaviorVersion::latest()), model).await
        }
        _ => Err("usage: with_aws_sdk [CONFIGURATION SESSION MODEL]".into()),
    }
}

/// Passes the provider to `aws-config`. A program has to do no more. All clients with these settings share the session.
async fn ask(provider: Provider, settings: ConfigLoader, model: &str) -> Outcome<()> {
    let settings = settings.credentials_provider(provider).load().await;
    let bedrock = Client::new(&settings);
    println!("Converse:       {}", converse(&bedrock, model).await?);
    println!("ConverseStream: {}", converse_stream(&bedrock, model).await?);
    Ok(())
}

async fn converse(bedrock: &Client, model: &str) -> Outcome<String> {
    let answer = bedrock.converse().model_id(model).messages(question()?).send().await;
    let answer = answer.map_err(|error| DisplayErrorContext(error).to_string())?;
    let message = answer.output().and_then(|output| output.as_message().ok());
    let blocks = message.map(Message::content).unwrap_or_default();
    Ok(blocks.iter().filter_map(|block| block.as_text().ok()).map(String::as_str).collect())
}

async fn converse_stream(bedrock: &Client, model: &str) -> Outcome<String> {
    let answer = bedrock.converse_stream().model_id(model).messages(question()?).send().await;
    let mut stream = answer.map_err(|error| DisplayErrorContext(error).to_string())?.stream;
    let mut text = String::new();
    while let Some(event) = stream.recv().await.map_err(|error| DisplayErrorContext(error).to_string())? {
        if let ConverseStreamOutput::ContentBlockDelta(event) = event
            && let Some(piece) = event.delta().and_then(|delta| delta.as_text().ok())
        {
            text.push_str(piece);
        }
    }
    Ok(text)
}

fn question() -> Outcome<Message> {
    let message =
        Message::builder().role(ConversationRole::User).content(ContentBlock::Text(QUESTION.into()));
    Ok(message.build()?)
}
