//! `--output`: the matches of JSONPaths (RFC 9535) in an answer, one on each line.

use serde_json::Value;
use serde_json_path::JsonPath;

use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Far above the length of any real path.
const LONGEST: usize = 4096;

/// The paths of `--output`, in their order.
#[derive(Debug)]
pub(super) struct Selection(Vec<Wanted>);

#[derive(Debug)]
struct Wanted {
    text: String,
    path: JsonPath,
    found: bool,
}

impl Selection {
    pub(super) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Failure> {
        let wanted = |text: &str| {
            let malformed = |why: String| {
                let hint = "write a path as in RFC 9535, such as `$.output.message.content[0].text`";
                let what = format!("--output: the value is not a JSONPath: {why}");
                Failure::of(Reason::InvalidSetting, what, Some(hint.into()))
            };
            if text.len() > LONGEST {
                return Err(Failure::of(Reason::InvalidSetting, "--output: the path is too long", None));
            }
            let path = JsonPath::parse(text).map_err(|error| malformed(error.to_string()))?;
            Ok(Wanted { text: text.to_owned(), path, found: false })
        };
        texts.into_iter().map(wanted).collect::<Result<_, _>>().map(Self)
    }

    /// The matches in `answer`: strings without quotes, everything else as JSON.
    pub(super) fn lines(&mut self, answer: &Value) -> String {
        let mut lines = String::new();
        for wanted in &mut self.0 {
            for found in wanted.path.query(answer) {
                wanted.found = true;
                match found {
                    Value::String(text) => lines.push_str(text),
                    other => lines.push_str(&other.to_string()),
                }
                lines.push('\n');
            }
        }
        lines
    }

    /// The error for a path without a match.
    pub(super) fn missed(&self) -> Option<Failure> {
        let missed = self.0.iter().find(|wanted| !wanted.found)?;
        let hint = "leave out `--output` to print the whole answer (with `--stream`, use `--json`), or keep it with `--output-file`";
        let what = format!("the answer has no match for `{}`", missed.text);
        Some(Failure::of(Reason::InvalidSetting, what, Some(hint.into())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_match_is_a_line_strings_as_they_are() {
        let mut selection = Selection::parse(["$.content[*].text", "$.usage", "$..n"]).unwrap();

        let lines =
            selection.lines(&json!({"content": [{"text": "a \"b\""}, {"text": "c"}], "usage": {"n": 3}}));

        assert_eq!(lines, "a \"b\"\nc\n{\"n\":3}\n3\n");
        assert!(selection.missed().is_none());
    }

    #[test]
    fn a_path_without_a_match_is_named() {
        let mut selection = Selection::parse(["$.a", "$.b"]).unwrap();

        assert_eq!(selection.lines(&json!({"a": null})), "null\n");
        assert_eq!(selection.missed().unwrap().message(), "the answer has no match for `$.b`");
        assert_eq!(selection.lines(&json!({"b": 1})), "1\n", "which a later event may have");
        assert!(selection.missed().is_none());
    }

    #[test]
    fn a_malformed_path_says_where_and_what_the_form_is() {
        for text in ["usage", "$.", "", "$[", "$.a b", "$..."] {
            let failure = Selection::parse([text]).unwrap_err();
            assert!(failure.message().starts_with("--output: the value is not a JSONPath: at "), "{failure}");
            assert!(failure.hint().is_some());
        }
        assert!(Selection::parse(["$".repeat(5000).as_str()]).is_err());
    }
}
