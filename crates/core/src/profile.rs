//! The name of a profile in AWS's shared files.

/// The name of a profile that SDKs can find. All SDKs find names of ASCII letters, digits and `._-@`; only the SDKs for
/// Python and Go find others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile(String);

/// Why SDKs would not find a section of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The name is empty.
    #[error("a profile's name must not be empty")]
    Empty,
    /// The section's header would end too early or not at all, or SDKs would cut the name off.
    #[error(
        "a profile's name must not contain `[`, `]`, control characters or a comment, nor begin or end with a space"
    )]
    Malformed,
    /// Python's ConfigParser gives the keys of this section to every other section.
    #[error("`DEFAULT` cannot name a profile: boto3 gives its keys to every profile")]
    EveryProfile,
}

impl Profile {
    /// Checks a profile's name.
    ///
    /// # Errors
    /// If SDKs would not find a profile of this name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        // Some SDKs take the rest of the line for a comment, even in a section's header.
        let has_comment = [" #", " ;", "\t#", "\t;"].iter().any(|comment| name.contains(comment));
        match name {
            "" => Err(InvalidName::Empty),
            "DEFAULT" => Err(InvalidName::EveryProfile),
            _ if name.trim() != name || name.contains(['[', ']']) || name.contains(char::is_control) => {
                Err(InvalidName::Malformed)
            }
            _ if has_comment => Err(InvalidName::Malformed),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as it stands in the section's header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_section_can_have_are_refused() {
        for name in ["", " a", "a ", "a]b", "[a", "a\nb", "a\0", "a #b", "DEFAULT"] {
            assert!(Profile::parse(name).is_err(), "{name:?}");
        }
        for name in ["default", "my work", "a@b:c/d", "ümlaut", "profile a", "a#b"] {
            assert_eq!(Profile::parse(name).unwrap().as_str(), name);
        }
    }
}
