//! The part of IMDS's tree that SDKs walk. Pure: a path goes in, what it names comes out.

use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Where tokens are made.
    Token,
    /// The list of roles.
    Roles,
    /// The credentials of a role.
    Role(String),
    /// The Region.
    Region,
    /// The availability zone.
    AvailabilityZone,
    /// The identity document.
    Identity,
    /// Nothing that we have.
    Unknown,
}

/// Finds what a path names. One trailing slash more or less is the same path (SDKs differ), and so are several
/// leading ones (Java, .NET and C++ join a configured endpoint that ends in a slash with `/latest`).
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

/// `…-extended` is the same document under a newer name: ours always carries the account where it is known, and
/// a client that finds the newer name need not ask twice.
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
