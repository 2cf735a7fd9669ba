//! The entry points of `fuzz/`: an agent's messages, and all bytes from its socket.

use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime;

use super::AgentFault;
use super::Choice;
use super::agent;
use super::fetch;
use super::frames::GrpcFrames;
use super::frames::LARGEST;
use super::message;
use crate::Origin;
use crate::key;
use crate::pem::Certificate;

/// Reads the bytes as one message, and as a stream of messages in pieces of various lengths.
pub fn message(bytes: &[u8]) {
    svids(bytes);
    let piece = bytes.first().map_or(1, |first| usize::from(*first).max(1));
    let (mut frames, mut read) = (GrpcFrames::default(), 0);
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            match frames.take(&mut piece) {
                Ok(Some(message)) => {
                    assert!(message.len() <= LARGEST);
                    read += 5 + message.len();
                    svids(&message);
                }
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
    assert!(read <= bytes.len());
}

fn svids(message: &[u8]) {
    for entry in message::entries(message).unwrap_or_default() {
        let choice = Choice { id: Some(entry.id.into()), hint: Some(entry.hint.into()) };
        use_svid(message, &choice);
    }
    use_svid(message, &Choice::default());
}

fn use_svid(message: &[u8], choice: &Choice) {
    let Ok(svid) = fetch::svid(message, choice).map_err(tell) else { return };
    let origin = Origin::named("the agent".to_owned());
    let _ = key::from_pkcs8(&origin, svid.key.expose()).map_err(|error| error.to_string());
    for der in svid.certificates {
        let certificate = Certificate { origin: origin.clone(), position: 1, der };
        let _ = certificate.parse().map_err(|error| error.to_string());
    }
}

fn tell(fault: AgentFault) -> String {
    fault.to_string()
}

/// Reads everything from the socket, with HTTP/2 and gRPC, until it ends.
pub fn stream(bytes: &[u8]) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("there are descriptors");
    runtime.block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let agent = async {
            // The client may have given up.
            let _ = theirs.write_all(bytes).await;
            let _ = theirs.shutdown().await;
            let mut unread = tokio::io::sink();
            let _ = tokio::io::copy(&mut theirs, &mut unread).await;
        };
        let client = async {
            let mut messages = match agent::call(TokioIo::new(ours)).await {
                Ok(messages) => messages,
                Err(fault) => return tell(fault),
            };
            loop {
                match messages.next().await {
                    Ok(message) => svids(&message),
                    Err(fault) => return tell(fault),
                }
            }
        };
        tokio::select! { _ = client => {}, () = agent => {} }
    });
}
