//! The paths of IMDS that SDKs use. Pure.

use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// The path that issues tokens.
    Token,
    /// The list of roles.
    Roles,
    /// The credentials of a role.
    Role(String),
    /// The Region.
    Region,
    /// The availability zone.
    AvailabilityZone,
    /// The instance identity document.
    Identity,
    /// No path of ours.
    Unknown,
}

/// Finds what a path names. Ignores one slash at the end, which only some SDKs send, and several at the start: the SDKs
/// for Java, .NET and C++ append `/latest` to a configured endpoint that may end with a slash.
pub(super) fn find(path: &str) -> Node {
    let path = path.trim_start_matches('/');
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "latest/api/token" => Node::Token,
        "latest/meta-data/placement/region" => Node::Region,
        "latest/meta-data/placement/availability-zone" => Node::AvailabilityZone,
        "latest/dynamic/instance-identity/document" => Node::Identity,
        _ => credentials(path).unwrap_or(Node::Unknown),
    }
}

/// The newer name `…-extended` gets the same document, which always has the account ID if it is known. Clients try the
/// newer name first, so they need one request less.
fn credentials(path: &str) -> Option<Node> {
    let rest = path.strip_prefix("latest/meta-data/iam/security-credentials")?;
    let rest = rest.strip_prefix("-extended").unwrap_or(rest);
    if rest.is_empty() {
        return Some(Node::Roles);
    }
    let name = percent_decode_str(rest.strip_prefix('/')?).decode_utf8().ok()?;
    Some(Node::Role(name.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_that_an_sdk_asks_for_is_found_with_and_without_a_slash() {
        let role = || Node::Role("app".into());
        for (path, node) in [
            ("/latest/api/token", Node::Token),
            ("/latest/meta-data/iam/security-credentials", Node::Roles),
            ("/latest/meta-data/iam/security-credentials/app", role()),
            ("/latest/meta-data/iam/security-credentials-extended", Node::Roles),
            ("/latest/meta-data/iam/security-credentials-extended/app", role()),
            ("/latest/meta-data/placement/region", Node::Region),
            ("/latest/meta-data/placement/availability-zone", Node::AvailabilityZone),
            ("/latest/dynamic/instance-identity/document", Node::Identity),
        ] {
            assert_eq!(find(path), node, "{path}");
            assert_eq!(find(&format!("{path}/")), node, "{path}/");
            assert_eq!(find(&format!("/{path}")), node, "/{path}");
        }
    }

    #[test]
    fn role_names_are_compared_after_percent_decoding() {
        let find = |name: &str| find(&format!("/latest/meta-data/iam/security-credentials/{name}"));

        assert_eq!(find("a%2Bb%3d%2C.%40_-"), Node::Role("a+b=,.@_-".into()));
        assert_eq!(find("a+b=,.@_-"), Node::Role("a+b=,.@_-".into()));
        assert_eq!(find("%ff"), Node::Unknown);
    }

    #[test]
    fn everything_else_is_unknown() {
        for path in [
            "",
            "/",
            "*",
            "/latest",
            "/latest/meta-data/iam",
            "/latest/meta-data/iam/security-credentialsx",
            "/latest/meta-data/iam/security-credentials-extendedx/app",
            "/latest/meta-data/iam/security-credentials-extended-extended",
            "/latest//meta-data/placement/region",
            "/latest/meta-data/placement/region//",
            "/latest/meta-data/placement/../placement/region",
            "/v1/latest/api/token",
            "/2021-03-23/meta-data/placement/region",
            "/LATEST/api/token",
        ] {
            assert_eq!(find(path), Node::Unknown, "{path}");
        }
    }
}
