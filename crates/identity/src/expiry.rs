//! Reminders that a certificate expires.
//!
//! They come 30 days, 7 days and one day before the end. There is none in the first half of a certificate's life,
//! because no tool renews it that early, and the last one comes in its last quarter.

use std::fmt;

use time::Duration;
use time::OffsetDateTime;
use tracing::error;
use tracing::warn;

use super::Origin;
use super::leaf;
use super::name;
use super::pem;
use anchord_core::clock;
use anchord_core::event;
use anchord_core::notice::Notice;

/// A certificate of the chain that is sent, with its validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainLink {
    pub(super) place: ChainPosition,
    pub(super) origin: Origin,
    pub(super) subject: String,
    pub(super) serial: String,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

/// The position of a certificate in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainPosition {
    Leaf,
    Intermediate,
}

/// How near a certificate is to its end; each step causes one reminder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    LastMonth,
    LastWeek,
    LastDay,
    Past,
}

impl ChainLink {
    /// Takes the fields that messages show.
    pub(super) fn of(certificate: &pem::Certificate, place: ChainPosition) -> Result<Self, pem::Error> {
        let parsed = certificate.parse()?;
        Ok(Self {
            place,
            origin: certificate.origin.clone(),
            subject: name::shown(parsed.subject()),
            serial: leaf::serial(&parsed),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
        })
    }

    /// A warning if it expires soon or has expired.
    pub fn warning(&self, now: OffsetDateTime) -> Option<Notice> {
        self.ending().warning(now)
    }

    fn nearness(&self, now: OffsetDateTime) -> Option<Nearness> {
        self.ending().nearness(now)
    }

    fn ending(&self) -> Expiry<'_> {
        let Self { place, origin, subject, not_before, not_after, .. } = self;
        Expiry { place: *place, origin, subject, not_before: *not_before, not_after: *not_after }
    }

    fn hint(&self) -> &'static str {
        self.place.hint()
    }

    fn tell(&self, session: &str, nearness: Nearness, now: OffsetDateTime) {
        let Self { subject, serial, .. } = self;
        let (file, hint) = (self.origin.bare(), self.hint());
        let not_after = clock::rfc3339(self.not_after);
        let what = match self.place {
            ChainPosition::Leaf => "The certificate",
            ChainPosition::Intermediate => "An intermediate certificate",
        };
        if nearness == Nearness::Past {
            error!(
                event = event::CERTIFICATE_ENDED,
                session, subject, serial, file, not_after, hint, "{what} has expired"
            );
            return;
        }
        let left_seconds = (self.not_after - now).whole_seconds();
        warn!(
            event = event::CERTIFICATE_ENDING,
            session, subject, serial, file, not_after, left_seconds, hint, "{what} expires soon"
        );
    }
}

/// The whole days until `not_after`; negative after it.
pub fn days_left(not_after: OffsetDateTime, now: OffsetDateTime) -> i64 {
    (not_after - now).whole_seconds().div_euclid(Duration::DAY.whole_seconds())
}

/// The time until `not_after`, in the largest unit that makes it at least two.
pub fn life_left(not_after: OffsetDateTime, now: OffsetDateTime) -> String {
    let left = not_after - now;
    match (left.whole_days(), left.whole_hours(), left.whole_minutes()) {
        (2.., _, _) => format!("{} days", left.whole_days()),
        (_, 2.., _) => format!("{} hours", left.whole_hours()),
        (_, _, minutes) => format!("{minutes} min"),
    }
}

/// The validity of a certificate as log, `status` and `check` judge it.
pub(super) struct Expiry<'a> {
    pub(super) place: ChainPosition,
    pub(super) origin: &'a dyn fmt::Display,
    pub(super) subject: &'a str,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

impl Expiry<'_> {
    pub(super) fn warning(&self, now: OffsetDateTime) -> Option<Notice> {
        let end = match self.nearness(now)? {
            Nearness::Past => "has expired".to_owned(),
            _ => format!(
                "expires in {}, at {}",
                life_left(self.not_after, now),
                clock::rfc3339(self.not_after)
            ),
        };
        let Self { place, subject, origin, .. } = self;
        let name = match place {
            ChainPosition::Leaf => "leaf",
            ChainPosition::Intermediate => "intermediate",
        };
        Some(Notice::new(format!("the {name} `{subject}` in {origin} {end}")).hinting(place.hint()))
    }

    fn nearness(&self, now: OffsetDateTime) -> Option<Nearness> {
        let (life, left) = (self.not_after - self.not_before, self.not_after - now);
        if left.is_negative() {
            return Some(Nearness::Past);
        }
        let last_day = Duration::DAY.min(life / 4);
        let reminders = [
            (last_day, Nearness::LastDay),
            (Duration::days(7), Nearness::LastWeek),
            (Duration::days(30), Nearness::LastMonth),
        ];
        reminders.into_iter().find(|(before, _)| left <= *before && *before <= life / 2).map(|(_, near)| near)
    }
}

impl ChainPosition {
    fn hint(self) -> &'static str {
        match self {
            Self::Leaf => "renew the certificate; without it there are no new credentials",
            Self::Intermediate => "put the renewed intermediate into the file",
        }
    }
}

/// The reminders that were logged, so that each is logged once.
#[derive(Debug, Default)]
pub(super) struct Reminders(Vec<(ChainLink, Nearness)>);

impl Reminders {
    /// Logs the reminders of `links` that are due and not logged yet.
    pub(super) fn tell(&mut self, session: &str, links: &[ChainLink], now: OffsetDateTime) {
        for (link, nearness) in self.due(links, now) {
            link.tell(session, nearness, now);
        }
    }

    fn due(&mut self, links: &[ChainLink], now: OffsetDateTime) -> Vec<(ChainLink, Nearness)> {
        // Forget certificates that are no longer in use.
        self.0.retain(|(link, _)| links.contains(link));
        let mut due = Vec::new();
        for link in links {
            let Some(nearness) = link.nearness(now) else { continue };
            let told = self.0.iter().filter(|(told, _)| told == link).map(|(_, nearness)| *nearness).max();
            if told < Some(nearness) {
                self.0.push((link.clone(), nearness));
                due.push((link.clone(), nearness));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use anchord_testing::Log;

    const END: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);

    fn link(life: Duration) -> ChainLink {
        ChainLink {
            place: ChainPosition::Leaf,
            origin: Origin::file("/etc/anchord/leaf.pem".as_ref()),
            subject: "CN=robot-7".into(),
            serial: "17".into(),
            not_before: END - life,
            not_after: END,
        }
    }

    #[test]
    fn reminders_come_when_a_person_can_still_act_and_not_from_birth() {
        use Nearness::LastDay;
        use Nearness::LastMonth;
        use Nearness::LastWeek;
        use Nearness::Past;
        const S: Duration = Duration::SECOND;
        let (hour, day) = (Duration::HOUR, Duration::DAY);
        // A life, what is left of it, what to say.
        let cases = [
            (365 * day, 31 * day, None),
            (365 * day, 30 * day + S, None),
            (365 * day, 30 * day, Some(LastMonth)),
            (365 * day, 7 * day + S, Some(LastMonth)),
            (365 * day, 7 * day, Some(LastWeek)),
            (365 * day, day + S, Some(LastWeek)),
            (365 * day, day, Some(LastDay)),
            (365 * day, Duration::ZERO, Some(LastDay)),
            (365 * day, -S, Some(Past)),
            (365 * day, -1000 * day, Some(Past)),
            // A month's reminder is for lives of two months at least, a week's for two weeks.
            (90 * day, 30 * day, Some(LastMonth)),
            (60 * day, 30 * day, Some(LastMonth)),
            (60 * day - S, 30 * day, None),
            (30 * day + hour, 30 * day, None),
            (30 * day + hour, 7 * day, Some(LastWeek)),
            (14 * day - S, 7 * day, None),
            // Short lives have one reminder, in their last quarter.
            (7 * day, day, Some(LastDay)),
            (4 * day, day, Some(LastDay)),
            (day, 6 * hour + S, None),
            (day, 6 * hour, Some(LastDay)),
            (hour, 15 * 60 * S, Some(LastDay)),
            (hour, 16 * 60 * S, None),
            (hour, -S, Some(Past)),
            // Nonsense is not a reason to say nonsense.
            (-day, hour, None),
            (-day, -hour, Some(Past)),
        ];
        for (life, left, expected) in cases {
            assert_eq!(link(life).nearness(END - left), expected, "{left} of {life}");
        }
    }

    #[test]
    fn each_reminder_is_given_once_for_each_certificate() {
        let mut reminders = Reminders::default();
        let leaf = link(Duration::days(365));
        let ca = ChainLink { place: ChainPosition::Intermediate, serial: "4".into(), ..leaf.clone() };
        let both = [leaf, ca];
        let mut given = |left: Duration| {
            let due = reminders.due(&both, END - left);
            due.into_iter().map(|(link, nearness)| (link.serial, nearness)).collect::<Vec<_>>()
        };
        let of_both = |nearness| vec![("17".to_owned(), nearness), ("4".to_owned(), nearness)];

        assert_eq!(given(Duration::days(40)), []);
        assert_eq!(given(Duration::days(30)), of_both(Nearness::LastMonth));
        assert_eq!(given(Duration::days(29)), []);
        assert_eq!(given(Duration::days(7)), of_both(Nearness::LastWeek));
        assert_eq!(given(Duration::days(8)), [], "the clock was set back");
        assert_eq!(given(Duration::days(-1)), of_both(Nearness::Past), "the host was suspended");
        assert_eq!(given(Duration::days(-2)), []);
    }

    #[test]
    fn a_certificate_that_took_anothers_place_has_reminders_of_its_own() {
        let mut reminders = Reminders::default();
        let old = link(Duration::days(365));
        let new = ChainLink { serial: "18".into(), ..old.clone() };
        let now = END - Duration::days(6);

        assert_eq!(reminders.due(&[old], now).len(), 1);
        assert_eq!(reminders.due(std::slice::from_ref(&new), now).len(), 1);
        assert_eq!(reminders.due(&[new], now).len(), 0);
        assert_eq!(reminders.0.len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn a_reminder_says_which_certificate_where_and_what_to_do() {
        let log = Log::start();
        let leaf = link(Duration::days(365));
        let ca = ChainLink { place: ChainPosition::Intermediate, ..leaf.clone() };
        let both = [leaf, ca];

        let mut reminders = Reminders::default();
        reminders.tell("web", &both, END - Duration::days(6));
        reminders.tell("web", &both, END + Duration::SECOND);

        let (ending, ended) = ("event=\"certificate.ending\"", "event=\"certificate.ended\"");
        let about = "session=\"web\" subject=\"CN=robot-7\" serial=\"17\" file=\"/etc/anchord/leaf.pem\" \
                     not_after=\"2026-03-11T12:00:00Z\"";
        let (leaf, ca) = (
            "hint=\"renew the certificate; without it there are no new credentials\"",
            "hint=\"put the renewed intermediate into the file\"",
        );
        assert_eq!(
            log.news(),
            [
                format!("WARN The certificate expires soon {ending} {about} left_seconds=518400 {leaf}"),
                format!(
                    "WARN An intermediate certificate expires soon {ending} {about} left_seconds=518400 {ca}"
                ),
                format!("ERROR The certificate has expired {ended} {about} {leaf}"),
                format!("ERROR An intermediate certificate has expired {ended} {about} {ca}"),
            ]
        );
    }

    #[test]
    fn days_that_are_left_are_whole_and_below_zero_after_the_end() {
        let days = |left: Duration| days_left(END, END - left);

        assert_eq!((days(Duration::days(4)), days(Duration::hours(95))), (4, 3));
        assert_eq!((days(Duration::ZERO), days(-Duration::SECOND), days(-Duration::DAY)), (0, -1, -1));
    }

    #[test]
    fn what_is_left_is_reported_in_a_unit_that_people_use() {
        let left = |left| life_left(END, END - left);

        assert_eq!(left(Duration::days(30)), "30 days");
        assert_eq!(left(Duration::hours(47)), "47 hours");
        assert_eq!(left(Duration::minutes(119)), "119 min");
        assert_eq!(left(Duration::seconds(59)), "0 min");
    }
}
