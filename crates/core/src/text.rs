//! Text that names settings. What a setting is called depends on who reads: the file has keys, the command line flags.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::ops::Range;

use serde::Deserialize;
use serde::Serialize;

/// A piece of a text before it is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Words.
    Say(&'a str),
    /// The key of a setting.
    Key(&'static str),
    /// The key of a setting, and a value for it.
    Set(&'static str, &'a str),
}

/// A text, with the settings that it names by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    text: Box<str>,
    settings: Box<[Setting]>,
}

/// A setting that a text names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Setting {
    at: Range<usize>,
    /// Its key in the file; `table.key`, or `key` alone for those of a session.
    pub key: Cow<'static, str>,
    /// The value that it is to have.
    pub value: Option<String>,
}

impl Text {
    /// Puts parts together.
    pub fn of(parts: &[Part<'_>]) -> Self {
        let (mut text, mut settings) = (String::new(), Vec::new());
        for part in parts {
            let (key, value) = match *part {
                Part::Say(words) => {
                    text.push_str(words);
                    continue;
                }
                Part::Key(key) => (key, None),
                Part::Set(key, value) => (key, Some(value.to_owned())),
            };
            let from = text.len();
            text.push_str(&match value.as_deref() {
                None => format!("`{key}`"),
                Some(value @ ("true" | "false")) => format!("`{key} = {value}`"),
                Some(value) => format!("`{key} = \"{value}\"`"),
            });
            settings.push(Setting { at: from..text.len(), key: key.into(), value });
        }
        Self::restored(text, settings)
    }

    /// A text that was taken apart with [`Text::as_str`] and [`Text::settings`].
    pub fn restored(text: String, settings: Vec<Setting>) -> Self {
        Self { text: text.into(), settings: settings.into() }
    }

    /// The text, with the keys of the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The settings that it names, in its order.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// This text, and `more` behind it.
    #[must_use]
    pub fn then(self, more: &Self) -> Self {
        let from = self.text.len();
        let mut settings = self.settings.into_vec();
        for setting in &more.settings {
            let at = setting.at.start + from..setting.at.end + from;
            settings.push(Setting { at, ..setting.clone() });
        }
        Self::restored(self.text.into_string() + &more.text, settings)
    }

    /// The text for a reader who calls settings as `name` does, which gives `None` for a setting that keeps its key.
    pub fn with_names(&self, name: impl Fn(&Setting) -> Option<String>) -> String {
        let (mut named, mut from) = (String::new(), 0);
        for setting in &self.settings {
            let Some(other) = name(setting) else { continue };
            named.push_str(self.text.get(from..setting.at.start).unwrap_or_default());
            named.push_str(&other);
            from = setting.at.end;
        }
        named.push_str(self.text.get(from..).unwrap_or_default());
        named
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.text == **other
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl From<&[Part<'_>]> for Text {
    fn from(parts: &[Part<'_>]) -> Self {
        Self::of(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::Part::Key;
    use super::Part::Say;
    use super::Part::Set;
    use super::*;

    #[test]
    fn settings_have_their_keys_until_a_reader_calls_them_otherwise() {
        let text =
            Text::of(&[Say("set "), Key("passphrase"), Say(", such as "), Set("passphrase", "file:/p")]);
        let more = Text::of(&[Say("; see `ls` and "), Set("get_session_token", "true")]);
        let both = text.then(&more);

        assert_eq!(
            both.as_str(),
            "set `passphrase`, such as `passphrase = \"file:/p\"`; see `ls` and `get_session_token = true`"
        );
        let flags = both.with_names(|setting| match &setting.value {
            _ if setting.key == "get_session_token" => None,
            None => Some(format!("`--{}`", setting.key)),
            Some(value) => Some(format!("`--{} {value}`", setting.key)),
        });
        assert_eq!(
            flags,
            "set `--passphrase`, such as `--passphrase file:/p`; see `ls` and `get_session_token = true`"
        );
    }
}
