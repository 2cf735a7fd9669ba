//! Calls Bedrock's models with a session's credentials, and reads their answers.
//!
//! Calls are not retried, because AWS bills for an answer that a model has begun. Prompts and answers may be
//! confidential, so no error or log contains them.

mod client;
mod endpoint_url;
mod error;
mod event_stream;
mod events;
mod listing;
mod model_id;
mod refusal;
mod request;
mod text;

pub use client::Client;
pub use client::EndpointOptions;
pub use client::ModelReply;
pub use endpoint_url::EndpointUrl;
pub use endpoint_url::NoEndpoint;
pub use error::Error;
pub use events::EventStream;
pub use events::StreamEvent;
pub use listing::FoundationModel;
pub use listing::InferenceProfile;
pub use model_id::ModelId;
pub use model_id::NotAModel;
pub use request::HeaderRefused;
pub use request::MediaTypes;
pub use request::Request;
pub use text::text_of;
