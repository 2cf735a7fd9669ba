//! Replaces `{{name}}` in a body with the values of `--var` and `--var-file`.
//!
//! In JSON, a placeholder is inside a string, where the value is escaped and so always stays text, or it replaces a whole
//! value and must then be JSON (`12`, `true`, `["a"]`). `{{{{` is two braces. Placeholders in values are not replaced.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::de::IgnoredAny;

use anchord_core::failure::Failure;
use anchord_core::failure::Reason;

/// Values by name.
pub(super) type Variables = BTreeMap<String, String>;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// Values are put in as they are.
    Text,
}

/// Whether a placeholder can have this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Replaces every placeholder. An unused variable is an error.
pub(super) fn render(template: &str, form: Form, variables: &Variables) -> Result<String, Failure> {
    let mut rendering = Rendering { form, variables, used: BTreeSet::new(), missing: Vec::new() };
    let rendered = rendering.render(template)?;
    if !rendering.missing.is_empty() {
        let hint = "give `--var NAME=VALUE` or `--var-file NAME=PATH`; write `{{{{` for two braces";
        return Err(mistake(format!("no value for {}", rendering.missing.join(", ")), hint));
    }
    let unused: Vec<_> = variables.keys().filter(|name| !rendering.used.contains(name.as_str())).collect();
    if let Some(name) = unused.first() {
        let hint = format!("write `{{{{{name}}}}}` in the body, or leave the variable out");
        return Err(mistake(format!("the body does not use the variable `{name}`"), hint));
    }
    Ok(rendered)
}

/// Checks that a body is JSON. The error gives the position only, because the text may be private.
pub(super) fn check_json(body: &[u8]) -> Result<(), Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        let hint = "give it with `--body`, `--body-file` or on stdin";
        return Err(mistake("the body is empty".into(), hint));
    }
    let Err(error) = serde_json::from_slice::<IgnoredAny>(body) else { return Ok(()) };
    let (line, column) = (error.line(), error.column());
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        _ => "is not JSON",
    };
    let hint =
        "compare it with the model's documentation; give the `--content-type` of a body that is not JSON";
    Err(mistake(format!("the body {what} at line {line}, column {column}"), hint))
}

struct Rendering<'a> {
    form: Form,
    variables: &'a Variables,
    used: BTreeSet<&'a str>,
    missing: Vec<String>,
}

impl Rendering<'_> {
    fn render(&mut self, template: &str) -> Result<String, Failure> {
        let mut rendered = String::with_capacity(template.len());
        let mut strings = Strings::default();
        let (mut at, mut line) = (0, 1);
        while let Some(found) = template[at..].find("{{") {
            let (before, rest) = template[at..].split_at(found);
            strings.pass(before);
            rendered.push_str(before);
            line += before.matches('\n').count();
            if rest.starts_with("{{{{") {
                rendered.push_str("{{");
                at += found + "{{{{".len();
                continue;
            }
            let (name, length) = placeholder(rest).ok_or_else(|| no_placeholder(line))?;
            self.fill(name, line, strings.inside, &mut rendered)?;
            at += found + length;
        }
        rendered.push_str(&template[at..]);
        Ok(rendered)
    }

    fn fill(
        &mut self,
        name: &str,
        line: usize,
        in_string: bool,
        rendered: &mut String,
    ) -> Result<(), Failure> {
        let Some((name, value)) = self.variables.get_key_value(name) else {
            self.missing.push(format!("`{{{{{name}}}}}` (line {line})"));
            return Ok(());
        };
        self.used.insert(name);
        match self.form {
            Form::Text => rendered.push_str(value),
            Form::Json if in_string => {
                let escaped = serde_json::Value::from(value.as_str()).to_string();
                rendered.push_str(&escaped[1..escaped.len() - 1]);
            }
            Form::Json if serde_json::from_str::<IgnoredAny>(value).is_ok() => rendered.push_str(value),
            Form::Json => {
                let hint = format!("put it in quotes to send it as text: \"{{{{{name}}}}}\"");
                let what = format!(
                    "`{{{{{name}}}}}` (line {line}) is outside of a string, and its value is not JSON"
                );
                return Err(mistake(what, hint));
            }
        }
        Ok(())
    }
}

/// Parses the `{{ name }}` at the beginning of `text`: the name, and the length of the placeholder.
fn placeholder(text: &str) -> Option<(&str, usize)> {
    let inside = text.strip_prefix("{{")?;
    let end = inside.find("}}")?;
    let name = inside[..end].trim_matches(' ');
    is_name(name).then_some((name, end + "{{}}".len()))
}

fn no_placeholder(line: usize) -> Failure {
    let hint = "a placeholder is `{{name}}`; write `{{{{` for two braces, or send the body unchanged with `--literal`";
    mistake(format!("the `{{{{` in line {line} does not begin a placeholder"), hint)
}

/// Tracks whether a position in JSON is inside a string.
#[derive(Default)]
struct Strings {
    inside: bool,
    escaped: bool,
}

impl Strings {
    fn pass(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.inside => self.escaped = true,
                b'"' => self.inside = !self.inside,
                _ => {}
            }
        }
    }
}

fn mistake(what: String, hint: impl Into<String>) -> Failure {
    Failure::of(Reason::InvalidSetting, what, Some(hint.into().into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn json(template: &str, pairs: &[(&str, &str)]) -> Result<String, String> {
        render(template, Form::Json, &variables(pairs)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn text_in_a_string_stays_text_whatever_it_holds() {
        let hostile = "say \"hi\"\\\n\u{1}{{other}}";

        let body = json(r#"{"text": "<{{ doc }}>"}"#, &[("doc", hostile)]).unwrap();

        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["text"], format!("<{hostile}>"));
    }

    #[test]
    fn a_value_outside_of_strings_is_json_itself() {
        let body = json(
            r#"{"a\"{{s}}": {{n}}, "b": {{o}}}"#,
            &[("n", "12"), ("o", r#"{"x":[true]}"#), ("s", "q\"")],
        );

        assert_eq!(body.unwrap(), r#"{"a\"q\"": 12, "b": {"x":[true]}}"#);
        let refusal = json("{\n\"a\": {{n}}}", &[("n", "twelve")]).unwrap_err();
        assert_eq!(
            refusal,
            "`{{n}}` (line 2) is outside of a string, and its value is not JSON; \
             hint: put it in quotes to send it as text: \"{{n}}\""
        );
    }

    #[test]
    fn every_placeholder_without_a_value_is_named_with_its_line() {
        let refusal = json("{\"a\": \"{{x}}\",\n\"b\": {{y.z}}}", &[]).unwrap_err();

        assert!(
            refusal.starts_with("no value for `{{x}}` (line 1), `{{y.z}}` (line 2); hint: give `--var"),
            "{refusal}"
        );
    }

    #[test]
    fn a_variable_that_is_used_nowhere_is_a_mistake() {
        let refusal = json("{}", &[("tpyo", "x")]).unwrap_err();

        assert!(
            refusal.starts_with("the body does not use the variable `tpyo`; hint: write `{{tpyo}}`"),
            "{refusal}"
        );
    }

    #[test]
    fn braces_can_be_written_as_text() {
        assert_eq!(json(r#""{{{{name}}""#, &[]).unwrap(), r#""{{name}}""#);
        assert_eq!(json(r#"{"a":{"b":{}}}"#, &[]).unwrap(), r#"{"a":{"b":{}}}"#);
        for text in ["\n{{ a b }}", "\n{{}}", "\n{{a", "\n{{a | upper}}"] {
            let refusal = json(text, &[]).unwrap_err();
            assert!(
                refusal.starts_with("the `{{` in line 2 does not begin a placeholder"),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn text_that_is_not_json_takes_values_as_they_are() {
        let rendered = render("a={{a}}\n", Form::Text, &variables(&[("a", "\"\n")])).unwrap();

        assert_eq!(rendered, "a=\"\n\n");
    }

    #[test]
    fn what_is_not_json_is_told_by_its_place_and_never_repeated() {
        let told = |body: &str| check_json(body.as_bytes()).unwrap_err().message().to_owned();

        assert_eq!(told("{\"secret\": \"s\",\n  secret}"), "the body is not JSON at line 2, column 3");
        assert_eq!(told("{\"secret\": "), "the body ends too early at line 1, column 11");
        assert_eq!(told(" \n"), "the body is empty");
        assert_eq!(check_json(b"[1]"), Ok(()));
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_string(value in "\\PC{0,30}", before in "[a-z\\\\\"]{0,5}") {
            let before = serde_json::Value::from(before).to_string();
            let template = format!("[{before}, \"{{{{v}}}}\"]");
            let body = json(&template, &[("v", &value)]).unwrap();
            let read: Vec<String> = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(&read[1], &value);
        }

        #[test]
        fn no_template_whatever_makes_it_panic(template in "[{}a\"\\\\ \n]{0,30}", value in "[{}a\"]{0,5}") {
            let _ = render(&template, Form::Json, &variables(&[("a", &value)]));
        }
    }
}
