//! The page docs/reference/sdks.md, made from what was run.

use crate::recovery::Row;
use crate::recovery::Trouble;

const HEAD: &str = "\
# SDKs of other platforms

Each cell is a program that ran against the daemon and an emulated AWS. `tests/platforms/run` makes this page and fails
where it is out of date. README.md has the SDKs that `tests/run` plays.

";

const RECOVERY: &str = "
## How soon they recover

The program makes a call every ten seconds by its own clock, which the test moves. Before the colon stands how long it took
from the first good answer that the program could have had until it had new credentials, in steps: most SDKs draw their
pauses. After the colon stands what its calls got until then: credentials that are still valid, expired ones, or errors.
\"Within 1 min\" is an SDK that fetches in the background: a call starts that, and one of the next has the result.

The container endpoint is the better channel where a program can use both. Behind IMDS, the SDK v2 for Go goes on with
expired credentials for 5 to 15 minutes after one refused request at their end, and the SDK for C++ asks every 5 minutes
only. Behind the container endpoint both have new ones with the next call. No status that was tried shortens that: 503,
404, 401, 429, 500, or an ended connection.

Without credentials, the SDK for C++ and minio-go send requests that are not signed. The service then answers that access
is denied, which does not say that credentials are missing.

";

const STORIES: &str = "
- asks again: when it first asks for newer credentials, by the end of those it has
- refused in the window: that first request is answered as the daemon answers without credentials (503, or a helper that
  fails), and so are its immediate repetitions
- malformed answer: the same with half of a JSON document
- expired in hand: requests are refused until the credentials have ended and the program has asked once more
- denied: AWS refuses the session. How long the program's first call takes to fail, and what its error (or what the
  helper writes to the program's standard error) tells: the reason, where to look for it, or nothing of it
- slow start: what the program's first call gets if AWS gives the daemon its first credentials 600 ms after that call asks
  for them

Not run, because it is in no release yet: the refresh that AWS has announced for botocore (1.44.8 does not know the flag
`DEFAULT_NEW_CREDENTIAL_REFRESH`), for Kotlin (1.8.12 asks every 15 minutes) and for Rust (the newest `BehaviorVersion` is
`v2026_01_12`, with which it ran).

Clocks: a library that is loaded before libc moves them. Go asks the kernel itself: the SDK v2 has a clock of its own
that the program sets, and Go v1 and minio-go are built with a standard library that has one.
";

pub(crate) fn render(table: &str, rows: &[Row], run_with: &str) -> String {
    let heads: Vec<&str> = Trouble::ALL.iter().map(|trouble| trouble.name()).collect();
    let mut text = format!("{HEAD}{table}{RECOVERY}| SDK | channel | asks again | {} |\n", heads.join(" | "));
    text.push_str(&format!("|{}\n", "---|".repeat(3 + heads.len())));
    for row in rows {
        let cells = row.cells.join(" | ");
        text.push_str(&format!("| {} | {} | {cells} |\n", row.sdk.name(), row.channel.name()));
    }
    text + STORIES + run_with
}
