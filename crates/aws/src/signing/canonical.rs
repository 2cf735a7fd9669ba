//! The canonical request, which both sides build and hash.

use anchord_core::digest::sha256_hex;

/// A canonical request (Signature Version 4) with a path and query in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalRequest {
    text: String,
    signed_headers: String,
}

impl CanonicalRequest {
    /// Builds it. `headers` may be in any case and order: names become lower case and sorted, values are trimmed, and
    /// runs of spaces become one.
    pub fn new(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), fold(value))).collect();
        headers.sort();
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let signed_headers = names.join(";");
        let payload_hash = sha256_hex(body);
        let text = format!("{method}\n{path}\n{query}\n{lines}\n{signed_headers}\n{payload_hash}");
        Self { text, signed_headers }
    }

    /// The canonical request itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names of the signed headers, joined by `;`.
    pub fn signed_headers(&self) -> &str {
        &self.signed_headers
    }

    /// Its SHA-256 hash for the string to sign, in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256_hex(self.text.as_bytes())
    }
}

fn fold(value: &str) -> String {
    value.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
