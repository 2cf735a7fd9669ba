//! The name of a profile in AWS's shared files.

/// The name of a profile that SDKs can find: of letters of ASCII, digits and `._-@` all of them, of others Python's and
/// Go's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile(String);

/// No section can have this name and be found by SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnameable {
    /// It has no characters.
    #[error("a profile's name is not empty")]
    Empty,
    /// The section's header would end early or not at all, or SDKs would cut the name.
    #[error(
        "a profile's name has no `]`, no control characters and no comment, and neither begins nor ends with a space"
    )]
    Malformed,
    /// Python takes its keys over into every other profile.
    #[error("boto3 gives the keys of `DEFAULT` to every profile")]
    EveryProfile,
}

impl Profile {
    /// Checks a name.
    ///
    /// # Errors
    /// Why SDKs would not find it.
    pub fn parse(name: &str) -> Result<Self, Unnameable> {
        // Some SDKs read a comment from here on, in headers too.
        let has_comment = [" #", " ;", "\t#", "\t;"].iter().any(|comment| name.contains(comment));
        match name {
            "" => Err(Unnameable::Empty),
            "DEFAULT" => Err(Unnameable::EveryProfile),
            _ if name.trim() != name || name.contains(['[', ']']) || name.contains(char::is_control) => {
                Err(Unnameable::Malformed)
            }
            _ if has_comment => Err(Unnameable::Malformed),
            _ => Ok(Self(name.into())),
        }
    }

    /// As the section's header has it.
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
