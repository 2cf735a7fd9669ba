//! What is claimed of each cell, and the table of what came of it, which the README repeats word by word.

use crate::channels::Channel;
use crate::claims::REASONS;
use crate::sdks::Sdk;
use crate::situations::Cell;
use crate::situations::Situation;

/// What is said of a cell before it is played.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    Works,
    /// It is played all the same, and must fail with the reason's sign.
    Fails(&'static Reason),
    /// There is nothing to play.
    Senseless,
}

/// Why something cannot work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The footnote.
    pub(crate) text: &'static str,
    /// One of these stands in the failure if it is this one.
    pub(crate) signs: &'static [&'static str],
}

impl Reason {
    /// The number of its footnote.
    pub(crate) fn number(&self) -> usize {
        REASONS.iter().position(|known| *known == self).unwrap() + 1
    }
}

impl Cell {
    pub(crate) fn name(&self) -> String {
        format!("{} / {} / {}", self.sdk.name(), self.channel.name(), self.situation.name())
    }
}

impl Situation {
    /// There is nothing to play where the channel has no URL or token, or cannot do without a daemon.
    pub(crate) fn is_senseless_through(self, channel: Channel) -> bool {
        match self {
            Self::Gap | Self::Slash | Self::Localhost | Self::Ipv6 => channel == Channel::Process,
            Self::Alone => channel != Channel::Process,
            _ => false,
        }
    }

    /// The head of its column.
    fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Window => "window",
            Self::Gap => "gap",
            Self::Restart => "restart",
            Self::Outage => "outage",
            Self::Late => "late",
            Self::Slash => "slash",
            Self::Localhost => "`localhost`",
            Self::Ipv6 => "`[::1]`",
            Self::Proxy => "proxy",
            Self::BareProxy => "bare proxy",
            Self::Alone => "alone",
        }
    }

    /// What happens in it.
    fn story(self) -> &'static str {
        match self {
            Self::Cold => "a program starts and asks",
            Self::Window => {
                "its credentials near their end, the daemon has newer ones, and it asks for them by itself"
            }
            Self::Gap => {
                "the daemon is killed and started again after it gave the IMDS token (container: while the request is on \
                 its way)"
            }
            Self::Restart => {
                "the daemon is restarted; later the program asks with the token it has, gets what it had, and AWS is not \
                 asked again"
            }
            Self::Outage => "AWS is gone when the program wants newer credentials, and comes back",
            Self::Late => "AWS is gone when daemon and program start, and comes back",
            Self::Slash => "the URL ends in a slash",
            Self::Localhost => "so is the host in the URL; the daemon listens on 127.0.0.1",
            Self::Ipv6 => "so is the host in the URL",
            Self::Proxy => {
                "`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` are set, and `NO_PROXY=127.0.0.1,localhost`"
            }
            Self::BareProxy => "the same without `NO_PROXY`",
            Self::Alone => "there is no daemon",
        }
    }
}

/// What came of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Works,
    /// As claimed, and for the reason that was claimed.
    Fails(&'static Reason),
    Senseless,
    /// Otherwise than claimed.
    Wrong,
    /// Left out by whoever called the test.
    NotPlayed,
}

impl Outcome {
    /// Judges what was played; `Err` says why it is not as claimed.
    pub(crate) fn of(claim: Claim, played: Result<(), String>) -> Result<Self, String> {
        match (claim, played) {
            (Claim::Works, Ok(())) => Ok(Self::Works),
            (Claim::Works, Err(failure)) => Err(failure),
            (Claim::Fails(reason), Err(failure))
                if reason.signs.iter().any(|sign| failure.contains(sign)) =>
            {
                Ok(Self::Fails(reason))
            }
            (Claim::Fails(reason), Err(failure)) => {
                Err(format!("it should fail with {:?}, and failed with: {failure}", reason.signs))
            }
            (Claim::Fails(reason), Ok(())) => Err(format!("it works, though: {}", reason.text)),
            (Claim::Senseless, _) => Err("there should have been nothing to play".to_owned()),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Works => "yes".to_owned(),
            Self::Fails(reason) => format!("no ({})", reason.number()),
            Self::Senseless => "–".to_owned(),
            Self::Wrong => "WRONG".to_owned(),
            Self::NotPlayed => "not played".to_owned(),
        }
    }
}

/// The README's section: `outcomes` in the order of [`cells`], `versions` in that of [`Sdk::ALL`].
pub(crate) fn render(outcomes: &[Outcome], versions: &[String]) -> String {
    let mut text = String::from("| SDK | channel |");
    for situation in Situation::ALL {
        text.push_str(&format!(" {} |", situation.name()));
    }
    text.push_str(&format!("\n|{}\n", "---|".repeat(2 + Situation::ALL.len())));
    for ((sdk, channel), outcomes) in rows(&Sdk::ALL).into_iter().zip(outcomes.chunks(Situation::ALL.len())) {
        let cells: Vec<String> = outcomes.iter().map(|outcome| outcome.text()).collect();
        text.push_str(&format!("| {} | {} | {} |\n", sdk.name(), channel.name(), cells.join(" | ")));
    }
    text.push('\n');
    for (number, reason) in REASONS.iter().enumerate() {
        text.push_str(&format!("{}. {}.\n", number + 1, reason.text));
    }
    text.push_str(
        "\n–: credential_process has neither a URL nor a token, and where there is no daemon only it can ask AWS.\n\n",
    );
    for situation in Situation::ALL {
        text.push_str(&format!("- {}: {}\n", situation.name(), situation.story()));
    }
    text.push_str(&run_with(&Sdk::ALL, versions));
    text
}

/// The packages of `sdks`, each once.
pub(crate) fn run_with(sdks: &[Sdk], versions: &[String]) -> String {
    let mut packages: Vec<String> =
        sdks.iter().zip(versions).map(|(sdk, version)| format!("{} {version}", sdk.package())).collect();
    packages.dedup();
    format!("\nRun with {}.\n", packages.join(", "))
}

/// Each of these SDKs with each channel that it has.
pub(crate) fn rows(sdks: &[Sdk]) -> Vec<(Sdk, Channel)> {
    sdks.iter().flat_map(|sdk| sdk.channels().iter().map(|channel| (*sdk, *channel))).collect()
}

/// Every cell, row by row.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (sdk, channel) in rows(&Sdk::ALL) {
        for situation in Situation::ALL {
            cells.push(Cell { sdk, channel, situation, log: Default::default() });
        }
    }
    cells
}

/// The section of the README that [`render`] must equal.
pub(crate) fn section_of(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once("<!-- tests/sdk compares what follows with what it has run -->\n")?;
    rest.split_once("<!-- that was it -->").map(|(section, _)| section)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNAUTHORIZED: Reason = Reason { text: "it asks without a token", signs: &["Unauthorized"] };
    const CLAIMED: Claim = Claim::Fails(&UNAUTHORIZED);

    #[test]
    fn a_claimed_failure_counts_only_for_its_reason() {
        let for_it = Outcome::of(CLAIMED, Err("401: Unauthorized".to_owned()));
        let for_another = Outcome::of(CLAIMED, Err("connection refused".to_owned()));

        assert_eq!(for_it, Ok(Outcome::Fails(&UNAUTHORIZED)));
        assert!(for_another.is_err());
    }

    #[test]
    fn what_works_against_its_claim_is_told() {
        assert!(Outcome::of(CLAIMED, Ok(())).is_err());
    }

    #[test]
    fn what_fails_against_its_claim_is_told() {
        assert!(Outcome::of(Claim::Works, Err("Unauthorized".to_owned())).is_err());
    }
}
