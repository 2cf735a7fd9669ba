//! The reasons of failures as programs read them: docs/reference/reasons.md is made from `anchord_core::failure::Reason`.

use std::path::Path;

use anchord_core::failure::Reason;

/// How the page begins.
const HEAD: &str = "\
# Reasons

Each failure has a reason: one word that never changes. It is the field `reason` of the log ([events](events.md)), and
`reason_code` in the JSON of `status`, `check`, `certificate show` and of refusals. Its class says who or what has to change
before a retry can succeed:

- `transient`: nothing; the same call may work later
- `throttled`: nothing; AWS asked for fewer calls
- `denied`: the AWS account; its administrator can act
- `misconfigured`: this host; its operator can change a file, a setting or the clock
- `broken`: anchord itself

A later version may have more reasons. A program that does not know a reason should go by the class. `tests/reasons.rs` makes
this page from `crates/core/src/failure/reason.rs`.

| reason | class | meaning |
|---|---|---|
";

/// `ANCHORD_TEST_BLESS=1` writes it anew.
#[test]
fn the_page_of_reasons_is_made_from_the_reasons() {
    let mut page = HEAD.to_owned();
    for reason in Reason::ALL {
        page += &format!("| `{reason}` | {} | {} |\n", reason.class().as_str(), reason.meaning());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/reasons.md");
    anchord_testing::assert_made(&path, &page);
}
