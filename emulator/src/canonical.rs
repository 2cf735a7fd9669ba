//! The canonical request, rebuilt from what arrived.
//!
//! Written from AWS's description of the signing process alone; never take a line of a client's into this file.

use hyper::Version;

use crate::encode;

/// A request as it came off the wire, header names in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) version: Version,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Incoming {
    /// The values of a header, in their order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The decoded query parameters, in their order.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        pairs(&self.query)
    }
}

/// The decoded pairs of a query; `+` stays `+`.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(decode_pair).collect()
}

/// How `=` inside of a query value is encoded. The service's documentation demands it twice, plain SigV4 once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equals {
    Once,
    Twice,
}

/// The canonical request over the named headers, as Roles Anywhere wants it: its only path has nothing to encode.
pub(crate) fn request(incoming: &Incoming, signed_headers: &[&str], equals: Equals) -> String {
    assemble(incoming, &incoming.path, &query(&incoming.parameters(), equals), signed_headers)
}

/// The canonical request over the named headers, as STS and Bedrock want it: the path encoded a second time, and a
/// query that carries its own signature without that.
pub(crate) fn request_v4(incoming: &Incoming, signed_headers: &[&str]) -> String {
    let mut parameters = incoming.parameters();
    parameters.retain(|(name, _)| name != "X-Amz-Signature");
    assemble(incoming, &twice_encoded(&incoming.path), &query(&parameters, Equals::Once), signed_headers)
}

fn assemble(incoming: &Incoming, path: &str, query: &str, signed_headers: &[&str]) -> String {
    let headers: String =
        signed_headers.iter().map(|name| format!("{name}:{}\n", header(incoming, name))).collect();
    let payload = encode::sha256_hex(&incoming.body);
    [incoming.method.as_str(), path, query, &headers, &signed_headers.join(";"), &payload].join("\n")
}

/// A path that came percent-encoded, encoded again; `.`, `..` and empty segments are resolved first.
fn twice_encoded(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let encoded: String = segments.iter().map(|segment| format!("/{}", percent_encode(segment))).collect();
    let is_open = encoded.is_empty() || path.ends_with('/');
    if is_open { encoded + "/" } else { encoded }
}

fn header(incoming: &Incoming, name: &str) -> String {
    let values: Vec<String> = incoming
        .values(name)
        .map(|value| value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
        .collect();
    values.join(",")
}

fn query(parameters: &[(String, String)], equals: Equals) -> String {
    let mut pairs: Vec<(String, String)> = parameters
        .iter()
        .map(|(name, value)| {
            let value = percent_encode(value);
            let value = if equals == Equals::Twice { value.replace("%3D", "%253D") } else { value };
            (percent_encode(name), value)
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn decode_pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (percent_decode(name), percent_decode(value))
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// Percent-decoding that leaves what is no escape as it is; `+` stays `+`, as SigV4 wants it.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%');
        let escaped = escaped.and_then(|pair| std::str::from_utf8(pair).ok());
        match escaped.and_then(|pair| encode::unhex(&pair.to_ascii_lowercase())) {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(query: &str, headers: &[(&str, &str)]) -> Incoming {
        Incoming {
            method: "POST".to_owned(),
            path: "/sessions".to_owned(),
            query: query.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: b"{}".to_vec(),
            ..Incoming::default()
        }
    }

    #[test]
    fn values_are_trimmed_and_their_spaces_folded() {
        let request = request(
            &incoming("", &[("host", "  a   b "), ("x-amz-date", "1"), ("x-amz-date", "2")]),
            &["host", "x-amz-date"],
            Equals::Once,
        );

        assert_eq!(
            request,
            "POST\n/sessions\n\nhost:a b\nx-amz-date:1,2\n\nhost;x-amz-date\n\
             44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }

    #[test]
    fn the_query_is_decoded_sorted_and_encoded_anew() {
        let request = incoming("b=2&a=%2f+x&a=%2E&flag&=", &[]);

        assert_eq!(query(&request.parameters(), Equals::Once), "=&a=%2F%2Bx&a=.&b=2&flag=");
    }

    #[test]
    fn an_equals_sign_in_a_value_is_encoded_once_or_twice() {
        let request = incoming("a=x=y", &[]);

        assert_eq!(query(&request.parameters(), Equals::Once), "a=x%3Dy");
        assert_eq!(query(&request.parameters(), Equals::Twice), "a=x%253Dy");
    }

    #[test]
    fn a_path_is_encoded_a_second_time_and_its_detours_are_left_out() {
        assert_eq!(twice_encoded("/model/a%3A0%2Fb~c/invoke"), "/model/a%253A0%252Fb~c/invoke");
        assert_eq!(twice_encoded("/model/a:0"), "/model/a%3A0");
        for (path, canonical) in
            [("/", "/"), ("", "/"), ("//a/./b/../c", "/a/c"), ("/a/", "/a/"), ("/..", "/")]
        {
            assert_eq!(twice_encoded(path), canonical, "{path}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(percent_decode("%"), "%");
        assert_eq!(percent_decode("%4"), "%4");
        assert_eq!(percent_decode("%zz%41"), "%zzA");
        assert_eq!(percent_decode("%c3%A9"), "é");
    }
}
