//! The canonical request: what both sides hash, so that both hash the same.

use anchord_core::digest::sha256_hex;

/// A canonical request (Signature Version 4), for a path and query that are canonical already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalRequest {
    text: String,
    signed_headers: String,
}

impl CanonicalRequest {
    /// Canonicalises `headers` (names in any case and order): lower-case names, sorted, values trimmed with runs
    /// of spaces folded.
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

    /// Its hash, as the string to sign carries it.
    pub fn sha256(&self) -> String {
        sha256_hex(self.text.as_bytes())
    }
}

fn fold(value: &str) -> String {
    value.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
