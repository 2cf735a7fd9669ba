//! The page docs/reference/bedrock-clients.md, made from what was run.

use crate::bedrock::Cell;
use crate::bedrock::Row;

const HEAD: &str = "\
# Clients of Bedrock

Each cell is a program that ran as `anchord exec --session bedrock -- PROGRAM` with the daemon and an emulated AWS, which
verified each signature. `tests/platforms/run` makes this page and fails where it is out of date.
[sdks.md](sdks.md) has the AWS SDKs.

`exec` sets `AWS_REGION`, `AWS_DEFAULT_REGION` and the variables of the container endpoint. The program itself needs only
what the column *set* shows. The gateway is not in this table, because it does not exist yet.

| client | package | version | operations | Region from | set | without it | whole | stream | API key | denied |
|---|---|---|---|---|---|---|---|---|---|---|
";

const STORIES: &str = "
- Region from: which of the two variables is enough if it is the only one. `exec` sets both; a service needs the one that
  its client reads. The emulated Bedrock is in eu-central-1, which is no client's default
- set: what the program has to give to the client, or else its call fails
- whole: one call is signed with the session's credentials, and its whole text arrives
- stream: the same as a stream. The first text reaches the program before AWS sends the rest
- API key: `exec --bedrock-api-key` instead, and the client uses the key. The AI SDK then needs nothing that *set* shows
- denied: AWS refuses the session. What the error that ends the program tells: the reason, where to look for it, or
  nothing of it. The daemon answers where to look, but the AWS SDKs for JavaScript and Java drop that answer, and
  `anchord status` shows the reason

The AWS SDK for JavaScript warns that both a token and a token file are set. `anchord exec --token-file-only`, with which the
streams ran, sets the file alone.

LiteLLM downloads a list of prices from GitHub when it is imported, and retries for some seconds where it cannot. Set
`LITELLM_LOCAL_MODEL_COST_MAP=True` there, as this test does.
";

pub(crate) fn render(rows: &[Row]) -> String {
    let (mut table, mut notes) = (String::new(), Vec::new());
    for row in rows {
        let client = row.client;
        let (set, without) = match client.setting() {
            None => ("nothing", "–".to_owned()),
            Some(setting) => {
                notes.push(setting.without);
                let footnote = if row.cell(Cell::Without) == "no" {
                    format!(" ({})", notes.len())
                } else {
                    String::new()
                };
                (setting.code, format!("{}{footnote}", row.cell(Cell::Without)))
            }
        };
        let operations = client.operations().join(", ");
        let mut cells = vec![client.name(), client.package(), row.cell(Cell::Version), &operations];
        cells.extend([row.cell(Cell::Region), set, &without]);
        cells.extend([Cell::Whole, Cell::Stream, Cell::Key, Cell::Denied].map(|cell| row.cell(cell)));
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    let notes = notes.iter().enumerate().map(|(number, note)| format!("{}. {note}.\n", number + 1));
    format!("{HEAD}{table}\n{}{STORIES}", notes.collect::<String>())
}
