//! What the front ends' tests have in common: request heads and bearers.

use http::request::Parts;

use super::Bearer;
use crate::secret::Secret;

pub(super) fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

pub(super) fn bearer(letter: char) -> Bearer {
    Bearer::parse(Secret::new(letter.to_string().repeat(Bearer::LENGTH).into_bytes())).unwrap()
}
