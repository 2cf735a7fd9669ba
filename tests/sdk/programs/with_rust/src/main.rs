//! Prints, for each line read, the credentials with which a client of the AWS SDK for Rust signs at that moment.
//!
//! The SDK's cache is the client's, so a client has to sign: what it would send is caught before it leaves.

use std::sync::Arc;
use std::sync::Mutex;

use aws_config::BehaviorVersion;
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::future;
use aws_sdk_sts::error::DisplayErrorContext;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::http::http_client_fn;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt as _;

#[tokio::main]
async fn main() {
    println!("{}", json!({ "version": version_of("aws-config") }));
    let settings = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let asker = Asker::new(&settings);
    let mut questions = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = questions.next_line().await {
        println!("{}", asker.ask().await);
    }
}

/// The version in the lock file, which is the one that was built; the crate does not tell it.
fn version_of(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{name}\"\n")).expect("it is a dependency");
    entry.split('"').nth(1).expect("every package has a version")
}

/// A client whose requests go nowhere.
struct Asker {
    client: aws_sdk_sts::Client,
    found: Found,
    caught: Caught,
}

impl Asker {
    fn new(settings: &SdkConfig) -> Self {
        let chain = settings.credentials_provider().expect("the default chain is on by default");
        let found = Found { chain, last: Arc::default() };
        let caught = Caught::default();
        let connector = SharedHttpConnector::new(caught.clone());
        let settings = aws_sdk_sts::config::Builder::from(settings)
            .credentials_provider(found.clone())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        Self { client: aws_sdk_sts::Client::from_conf(settings), found, caught }
    }

    async fn ask(&self) -> Value {
        take(&self.caught.0);
        let Err(error) = self.client.get_caller_identity().send().await else {
            return json!({ "error": "a request that was caught was answered" });
        };
        let Some(signed) = take(&self.caught.0) else {
            return json!({ "error": DisplayErrorContext(error).to_string() });
        };
        // Only what was signed with counts, and the header shows no more of it than the id.
        match self.found.last.lock().expect("nothing panics under it").as_ref() {
            Some(keys) if signed.contains(&format!("Credential={}/", keys.access_key_id())) => json!({
                "id": keys.access_key_id(),
                "secret": keys.secret_access_key(),
                "token": keys.session_token(),
            }),
            _ => json!({ "error": format!("signed with keys that the chain never gave: {signed}") }),
        }
    }
}

fn take(caught: &Mutex<Option<String>>) -> Option<String> {
    caught.lock().expect("nothing panics under it").take()
}

/// The default chain, and what it gave last.
#[derive(Clone, Debug)]
struct Found {
    chain: SharedCredentialsProvider,
    last: Arc<Mutex<Option<Credentials>>>,
}

impl ProvideCredentials for Found {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let keys = self.chain.provide_credentials().await?;
            *self.last.lock().expect("nothing panics under it") = Some(keys.clone());
            Ok(keys)
        })
    }

    // The chain's own must not be hidden: the cache takes it where the chain is too slow.
    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.chain.fallback_on_interrupt()
    }
}

/// The `Authorization` of the request that was about to leave.
#[derive(Clone, Debug, Default)]
struct Caught(Arc<Mutex<Option<String>>>);

impl HttpConnector for Caught {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let signed = request.headers().get("authorization").map(str::to_owned);
        *self.0.lock().expect("nothing panics under it") = signed;
        HttpConnectorFuture::ready(Err(ConnectorError::user("nothing is sent".into())))
    }
}
