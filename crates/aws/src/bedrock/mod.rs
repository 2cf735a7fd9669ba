//! Calls models with a session's credentials, and reads what they answer.
//!
//! One call is one request: nothing here repeats one, because what a model has begun to answer is billed. What is sent
//! and what comes back may be anybody's data, so neither is ever in an error or a log.

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
pub use client::Reply;
pub use client::Target;
pub use endpoint_url::EndpointUrl;
pub use endpoint_url::NoEndpoint;
pub use error::Error;
pub use events::Event;
pub use events::Events;
pub use listing::FoundationModel;
pub use listing::InferenceProfile;
pub use model_id::ModelId;
pub use model_id::NotAModel;
pub use request::Content;
pub use request::HeaderRefused;
pub use request::Request;
pub use text::text_of;
