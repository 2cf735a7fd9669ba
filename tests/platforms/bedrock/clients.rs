//! Clients of Bedrock as people use them: how each is started, and what is claimed of it.

use std::process::Command;

use crate::sdks::built;
use crate::sdks::jvm;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Anthropic,
    AnthropicJavaScript,
    Langchain,
    LangchainConverse,
    LangchainJavaScript,
    LiteLlm,
    LiteLlmInvoke,
    AiSdk,
    Langchain4j,
    SpringAi,
}

/// What a program that uses the client has to set, because the client does not work without it.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) code: &'static str,
    /// What the client does without it.
    pub(crate) without: &'static str,
    /// This stands in its failure then.
    pub(crate) sign: &'static str,
}

/// A call and its stream, as AWS names them.
pub(crate) type Operations = [&'static str; 2];

const INVOKE: Operations = ["InvokeModel", "InvokeModelWithResponseStream"];
const CONVERSE: Operations = ["Converse", "ConverseStream"];

const AI_SDK: Setting = Setting {
    code: "`createAmazonBedrock({ credentialProvider: fromNodeProviderChain() })`, of the package \
           `@aws-sdk/credential-providers`",
    without: "it reads `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` alone, which are not set",
    sign: "AWS SigV4 authentication requires AWS credentials",
};

const LANGCHAIN4J: Setting = Setting {
    code: "`.region(Region.of(System.getenv(\"AWS_REGION\")))`",
    without: "it asks the Region us-east-1, whatever `AWS_REGION` is",
    sign: "Bedrock was asked in [\"us-east-1\"",
};

impl Client {
    pub(crate) const ALL: [Self; 10] = [
        Self::Anthropic,
        Self::AnthropicJavaScript,
        Self::Langchain,
        Self::LangchainConverse,
        Self::LangchainJavaScript,
        Self::LiteLlm,
        Self::LiteLlmInvoke,
        Self::AiSdk,
        Self::Langchain4j,
        Self::SpringAi,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "`AnthropicBedrock` (Python)",
            Self::AnthropicJavaScript => "`AnthropicBedrock` (JavaScript)",
            Self::Langchain => "LangChain `ChatBedrock` (Python)",
            Self::LangchainConverse => "LangChain `ChatBedrockConverse` (Python)",
            Self::LangchainJavaScript => "LangChain `ChatBedrockConverse` (JavaScript)",
            Self::LiteLlm => "LiteLLM `bedrock/MODEL`",
            Self::LiteLlmInvoke => "LiteLLM `bedrock/invoke/MODEL`",
            Self::AiSdk => "AI SDK",
            Self::Langchain4j => "LangChain4j `BedrockChatModel`",
            Self::SpringAi => "Spring AI `BedrockProxyChatModel`",
        }
    }

    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::AnthropicJavaScript => "@anthropic-ai/bedrock-sdk",
            Self::Langchain | Self::LangchainConverse => "langchain-aws",
            Self::LangchainJavaScript => "@langchain/aws",
            Self::LiteLlm | Self::LiteLlmInvoke => "litellm",
            Self::AiSdk => "@ai-sdk/amazon-bedrock",
            Self::Langchain4j => "langchain4j-bedrock",
            Self::SpringAi => "spring-ai-bedrock-converse",
        }
    }

    pub(crate) fn operations(self) -> Operations {
        match self {
            Self::Anthropic | Self::AnthropicJavaScript | Self::Langchain | Self::LiteLlmInvoke => INVOKE,
            _ => CONVERSE,
        }
    }

    pub(crate) fn setting(self) -> Option<&'static Setting> {
        match self {
            Self::AiSdk => Some(&AI_SDK),
            Self::Langchain4j => Some(&LANGCHAIN4J),
            _ => None,
        }
    }

    /// Whether its SDK warns of both a token and a token's file.
    pub(crate) fn warns_of_two_tokens(self) -> bool {
        self.folder() == "bedrock_javascript"
    }

    /// Its program, which says something to `model` in this way.
    pub(crate) fn command(self, how: &str, model: &str) -> Command {
        let mut command = match self {
            Self::Anthropic => python("anthropic"),
            Self::AnthropicJavaScript => javascript("anthropic"),
            Self::Langchain => python("langchain"),
            Self::LangchainConverse => python("langchain-converse"),
            Self::LangchainJavaScript => javascript("langchain"),
            Self::LiteLlm => python("litellm"),
            Self::LiteLlmInvoke => python("litellm-invoke"),
            Self::AiSdk => javascript("ai-sdk"),
            Self::Langchain4j | Self::SpringAi => jvm(self.folder(), "Program"),
        };
        command.args([how, model]);
        command
    }

    /// Why it cannot be run, if it cannot.
    pub(crate) fn missing(self) -> Option<String> {
        let folder = built().join(self.folder());
        (!folder.exists()).then(|| format!("there is no {}; tests/platforms/run makes it", folder.display()))
    }

    /// What `tests/platforms/run` calls the row.
    fn folder(self) -> &'static str {
        match self {
            Self::AnthropicJavaScript | Self::LangchainJavaScript | Self::AiSdk => "bedrock_javascript",
            Self::Langchain4j => "bedrock_langchain4j",
            Self::SpringAi => "bedrock_spring_ai",
            _ => "bedrock_python",
        }
    }
}

fn python(client: &str) -> Command {
    let mut command = Command::new(built().join("bedrock_python/bin/python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/platforms/programs/bedrock_python/program.py"));
    command.arg(client);
    command
}

fn javascript(client: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(built().join("bedrock_javascript/program.mjs")).arg(client);
    command
}
