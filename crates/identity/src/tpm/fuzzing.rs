//! The entry points of `fuzz/`: responses of a TPM, and public areas.

use std::io;

use tokio::time::Instant;

use super::Device;
use super::Error;
use super::client::Root;
use super::client::TpmClient;
use super::operation::Limit;
use super::public::Public;
use super::transport::TpmTransport;
use super::tss2::TpmKeyFile;
use super::wire::HEADER;
use super::wire::announced_size;

/// Plays a TPM with recorded responses.
struct RecordedResponses(Vec<u8>);

/// Reads like a socket.
impl TpmTransport for RecordedResponses {
    fn exchange(&mut self, _: &[u8], _: Instant) -> io::Result<Vec<u8>> {
        let header = self.0.get(..HEADER).ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = announced_size(header).ok_or(io::ErrorKind::InvalidData)?;
        if self.0.len() < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.0.drain(..size).collect())
    }
}

/// Signs against the recorded responses: with a key at a handle if the first byte is even, with one in a file if it is
/// odd.
pub fn responses(bytes: &[u8]) {
    let Some((kind, said)) = bytes.split_first() else { return };
    // The deadline has passed, so that nothing waits.
    let limit = Limit { deadline: Instant::now(), patience: super::operation::SIGNING };
    let mut client = TpmClient::over(&Device::default(), Box::new(RecordedResponses(said.to_vec())), limit);
    if let Err(error) = client.greet().and_then(|()| sign(&mut client, kind & 1 == 1)) {
        let _ = error.to_string();
    }
}

fn sign(client: &mut TpmClient, is_file: bool) -> Result<(), Error> {
    let (handle, public) = if is_file {
        let file = TpmKeyFile::from_der(FILE)?;
        let public = Public::parse(file.public_area())?.expect("the constant has a public area");
        (client.load(&file, &[Root::Ecc, Root::Rsa])?.0, public)
    } else {
        let area = client.read_public(0x8100_0001)?;
        (0x8100_0001, client.public(&area)?)
    };
    client.sign(handle, b"value", &public, &[7; 32]).map(drop)
}

/// Parses the public area of a key file.
pub(crate) fn public(file: &TpmKeyFile) {
    if let Ok(Some(public)) = Public::parse(file.public_area()).map_err(|error| error.to_string()) {
        assert!(!public.subject_public_key.is_empty() && public.width > 0);
    }
}

/// A loadable key on P-256 under the owner hierarchy.
const FILE: &[u8] = b"\
    \x30\x73\x06\x06\x67\x81\x05\x0a\x01\x03\x02\x04\x40\x00\x00\x01\x04\x58\x00\x56\x00\x23\x00\x0b\
    \x00\x04\x00\x72\x00\x00\x00\x10\x00\x10\x00\x03\x00\x10\x00\x20\x01\x01\x01\x01\x01\x01\x01\x01\
    \x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\
    \x00\x20\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\
    \x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x04\x09\x00\x07\x77\x72\x61\x70\x70\x65\x64";
