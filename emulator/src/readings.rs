//! The other ways to read AWS's documentation.
//!
//! Where it leaves open how the service behaves, the emulator plays the likelier reading, and the other one on request:
//! a client has to live with both. They are about Roles Anywhere, but for the date, which all services have. The page
//! `docs/internals/assumptions.md` says what hangs on each.

use time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::answer::Answer;
use crate::canonical::Incoming;
use crate::encode;
use crate::reply::Cause;
use crate::reply::Refusal;

/// Which readings are played; the default is the likelier of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readings {
    /// Refuses a leaf without basicConstraints, as the guide has it ("Basic constraints MUST include CA: false").
    pub strict: bool,
    /// Answers requests whose headers are larger with a page of a load balancer, in this many bytes and with this status.
    pub header_limit: Option<(usize, u16)>,
    /// Which answers tell the time.
    pub date: DateHeader,
    /// How long a session is.
    pub length: Length,
    /// How throttling is worded.
    pub throttling: Throttling,
    /// Refuses a date that is off with 400 `RequestExpired`, not with 403 `AccessDeniedException`.
    pub skew_is_400: bool,
    /// Refuses a disabled trust anchor or profile with 403 `AccessDeniedException`, not with 404.
    pub disabled_is_403: bool,
    /// Takes the ARNs from the query alone.
    pub arns_in_query: bool,
    /// Where a refusal has its type.
    pub error_type: TypePlace,
    /// How the end of a session is written.
    pub expiration: Expiration,
    /// Wants `X-Amz-X509-Chain` from the top down, not the leaf's issuer first.
    pub chain_top_first: bool,
}

/// Which answers tell the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateHeader {
    /// All.
    #[default]
    Always,
    /// Successes alone.
    NotOnRefusals,
    /// None.
    Never,
    /// All, and refusals are off by this.
    OffOnRefusals(Duration),
}

/// How long a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// What was asked for or the profile has, whichever is less.
    #[default]
    Shorter,
    /// What was asked for, whatever the profile has.
    AsAsked,
    /// So many seconds more than was asked for.
    Longer(u32),
}

/// How throttling is worded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Throttling {
    /// 429 `ThrottlingException`.
    #[default]
    Exception,
    /// 429 `TooManyRequestsException`.
    TooManyRequests,
    /// 400 `ThrottlingException`, as older services have it.
    BadRequest,
    /// 429 by a load balancer, with no word of the service.
    Page,
}

/// Where a refusal has its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TypePlace {
    /// In the header `X-Amzn-ErrorType`.
    #[default]
    Header,
    /// In the body, as `__type` with a namespace.
    Type,
    /// In the body, as `code`.
    Code,
}

/// How the end of a session is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiration {
    /// In whole seconds, in UTC: `2026-03-11T13:00:00Z`.
    #[default]
    Seconds,
    /// With a fraction: `2026-03-11T13:00:00.000Z`.
    Fraction,
    /// With an offset: `2026-03-11T13:00:00+00:00`.
    Offset,
}

/// What `play` knows, for people.
pub const NAMES: &str = "strict, header-limit=BYTES, header-limit-400=BYTES, no-date, no-date-on-refusals, \
    date-off-on-refusals=SECONDS, session-as-asked, session-longer=SECONDS, throttle-too-many-requests, throttle-400, \
    throttle-page, skew-400, disabled-403, arns-in-query, type-in-body, code-in-body, expiration-fraction, \
    expiration-offset, chain-top-first";

impl Readings {
    /// Plays the reading of this name, one of [`NAMES`], besides those that are played already.
    ///
    /// # Errors
    /// What is wrong with the name, for people.
    pub fn play(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let number = |least: i64| -> Result<i64, String> {
            let number = value.and_then(|value| value.parse().ok()).filter(|number| *number >= least);
            number.ok_or_else(|| format!("`{name}` needs a number: `{name}=N`"))
        };
        match name {
            "header-limit" | "header-limit-400" => {
                let status = if name == "header-limit" { 431 } else { 400 };
                self.header_limit = Some((usize::try_from(number(0)?).unwrap_or(usize::MAX), status));
            }
            "date-off-on-refusals" => {
                self.date = DateHeader::OffOnRefusals(Duration::seconds(number(-86_400 * 365)?));
            }
            "session-longer" => {
                self.length = Length::Longer(u32::try_from(number(0)?).unwrap_or(u32::MAX));
            }
            _ if value.is_some() => return Err(format!("`{name}` takes no number, or is none of {NAMES}")),
            "strict" => self.strict = true,
            "no-date" => self.date = DateHeader::Never,
            "no-date-on-refusals" => self.date = DateHeader::NotOnRefusals,
            "session-as-asked" => self.length = Length::AsAsked,
            "throttle-too-many-requests" => self.throttling = Throttling::TooManyRequests,
            "throttle-400" => self.throttling = Throttling::BadRequest,
            "throttle-page" => self.throttling = Throttling::Page,
            "skew-400" => self.skew_is_400 = true,
            "disabled-403" => self.disabled_is_403 = true,
            "arns-in-query" => self.arns_in_query = true,
            "type-in-body" => self.error_type = TypePlace::Type,
            "code-in-body" => self.error_type = TypePlace::Code,
            "expiration-fraction" => self.expiration = Expiration::Fraction,
            "expiration-offset" => self.expiration = Expiration::Offset,
            "chain-top-first" => self.chain_top_first = true,
            _ => return Err(format!("`{name}` is none of {NAMES}")),
        }
        Ok(())
    }

    /// The status with which something in front of the service answers a request that is too large for it.
    pub(crate) fn too_large(&self, incoming: &Incoming) -> Option<u16> {
        let (limit, status) = self.header_limit?;
        // "name: value\r\n"
        let size: usize = incoming.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        (size > limit).then_some(status)
    }

    /// Whether a request has its ARNs where they are looked for.
    pub(crate) fn check_arns(&self, incoming: &Incoming) -> Result<(), Refusal> {
        let is_there = || incoming.parameters().iter().any(|(name, _)| name == "trustAnchorArn");
        if self.arns_in_query && !is_there() {
            return Err(Refusal::invalid("trustAnchorArn is missing"));
        }
        Ok(())
    }

    /// How long the session is that is granted, in seconds.
    pub(crate) fn length(&self, asked: Option<u32>, profile: u32) -> u32 {
        let asked = asked.unwrap_or(profile);
        match self.length {
            Length::Shorter => asked.min(profile),
            Length::AsAsked => asked,
            Length::Longer(more) => asked.saturating_add(more),
        }
    }

    /// The end of a session, as the service writes it.
    pub(crate) fn stamp(&self, instant: OffsetDateTime) -> String {
        let instant = instant.to_offset(time::UtcOffset::UTC);
        let fraction = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
        let offset = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
        match self.expiration {
            Expiration::Seconds => encode::stamp(instant),
            Expiration::Fraction => instant.format(fraction).unwrap_or_default(),
            Expiration::Offset => instant.format(offset).unwrap_or_default(),
        }
    }

    /// A refusal of Roles Anywhere as it is sent.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Answer {
        let mut refusal = refusal.clone();
        match refusal.cause {
            Cause::Throttling => match self.throttling {
                Throttling::Exception => {}
                Throttling::TooManyRequests => refusal.kind = "TooManyRequestsException",
                Throttling::BadRequest => refusal.status = 400,
                Throttling::Page => return Answer::html(429),
            },
            Cause::Skew if self.skew_is_400 => {
                (refusal.status, refusal.kind) = (400, "RequestExpired");
                refusal.message = "Request has expired".to_owned();
            }
            Cause::Disabled if self.disabled_is_403 => {
                (refusal.status, refusal.kind) = (403, "AccessDeniedException");
                refusal.message = refusal.message.replace("not found", "is disabled");
            }
            Cause::Skew | Cause::Disabled | Cause::Other => {}
        }
        let mut body = refusal.body();
        match self.error_type {
            TypePlace::Header => {}
            TypePlace::Type => body["__type"] = format!("com.amazonaws#{}", refusal.kind).into(),
            TypePlace::Code => body["code"] = refusal.kind.into(),
        }
        let in_header = self.error_type == TypePlace::Header;
        let answer = Answer::json(refusal.status, &body);
        Answer { error_type: Some(refusal.kind).filter(|_| in_header), ..answer }
    }

    /// Takes the date off an answer, or shifts it, where it shall not be as it is.
    pub(crate) fn date(&self, answer: &mut Answer) {
        let is_refusal = answer.status >= 300;
        match self.date {
            DateHeader::Never => answer.at = None,
            DateHeader::NotOnRefusals if is_refusal => answer.at = None,
            DateHeader::OffOnRefusals(off) if is_refusal => answer.at = answer.at.map(|at| at + off),
            DateHeader::Always | DateHeader::NotOnRefusals | DateHeader::OffOnRefusals(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_nothing_else_is() {
        for name in NAMES.split(", ") {
            let name = name.replace("BYTES", "8192").replace("SECONDS", "60");
            let mut readings = Readings::default();

            assert_eq!(readings.play(&name), Ok(()), "{name}");
            assert_ne!(readings, Readings::default(), "{name}");
        }
        for wrong in ["", "nonsense", "strict=1", "header-limit", "header-limit=many", "header-limit=-1"] {
            assert!(Readings::default().play(wrong).is_err(), "{wrong}");
        }
    }
}
