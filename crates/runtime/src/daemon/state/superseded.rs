//! Credentials of one session that earlier settings obtained.
//!
//! If an operator undoes a change of settings, by a reload or a restart, the session gets them back. Each set is only
//! for the settings that obtained it. Whether clients may get a set under changed settings is decided elsewhere.

use super::SavedSession;
use anchord_core::clock::Moment;

/// The sets, the newest first.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Superseded(Vec<SavedSession>);

/// Enough for a few attempts at new settings.
const MOST: usize = 4;

impl Superseded {
    /// The sets that a predecessor left for a session, in their order.
    pub(in crate::daemon) fn left(saved: impl DoubleEndedIterator<Item = SavedSession>, now: Moment) -> Self {
        let mut superseded = Self::default();
        for saved in saved.rev() {
            superseded.put(saved, now);
        }
        superseded
    }

    /// Adds a set. Removes the oldest if there are too many.
    pub(in crate::daemon) fn put(&mut self, saved: SavedSession, now: Moment) {
        self.0.retain(|other| other.settings != saved.settings && is_valid(other, now));
        if is_valid(&saved, now) {
            self.0.insert(0, saved);
        }
        self.0.truncate(MOST);
    }

    /// Takes the set of the settings with this fingerprint, if it has not expired.
    pub(in crate::daemon) fn take(&mut self, fingerprint: &str, now: Moment) -> Option<SavedSession> {
        let found = self.0.iter().position(|saved| saved.settings == fingerprint)?;
        Some(self.0.remove(found)).filter(|saved| is_valid(saved, now))
    }

    /// Removes the sets that do not satisfy `may_stay`.
    pub(in crate::daemon) fn retain(&mut self, may_stay: impl Fn(&SavedSession) -> bool) {
        self.0.retain(may_stay);
    }

    pub(in crate::daemon) fn iter(&self) -> impl Iterator<Item = &SavedSession> {
        self.0.iter()
    }
}

fn is_valid(saved: &SavedSession, now: Moment) -> bool {
    saved.credentials.remaining(now).is_positive()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use anchord_core::credentials::Credentials;
    use anchord_core::credentials::Keys;
    use anchord_core::secret::Secret;

    const NOON: Moment = Moment { wall: datetime!(2026-03-11 12:00:00 UTC), up: Duration::HOUR };

    fn saved(settings: &str, id: &str, life: Duration) -> SavedSession {
        let keys = Keys {
            access_key_id: id.into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: Some(Secret::new("token".into())),
        };
        let credentials = Credentials::new(keys, NOON, NOON.wall + life, None).unwrap();
        SavedSession {
            name: "web".into(),
            settings: settings.into(),
            leaf: None,
            credentials: Arc::new(credentials),
        }
    }

    fn ids(superseded: &Superseded) -> Vec<&str> {
        superseded.iter().map(|saved| saved.credentials.access_key_id()).collect()
    }

    #[test]
    fn a_set_is_found_by_its_own_settings_alone_and_once() {
        let mut superseded = Superseded::default();
        superseded.put(saved("first", "ASIA1", Duration::HOUR), NOON);

        assert!(superseded.take("second", NOON).is_none());
        assert_eq!(superseded.take("first", NOON).unwrap().credentials.access_key_id(), "ASIA1");
        assert!(superseded.take("first", NOON).is_none());
    }

    #[test]
    fn there_is_one_set_for_each_settings_and_the_oldest_go_when_there_are_many() {
        let mut superseded = Superseded::default();
        superseded.put(saved("first", "ASIA0", Duration::HOUR), NOON);
        for number in 1..=5 {
            let settings = if number == 1 { "first".into() } else { format!("settings {number}") };
            superseded.put(saved(&settings, &format!("ASIA{number}"), Duration::HOUR), NOON);
        }

        assert_eq!(ids(&superseded), ["ASIA5", "ASIA4", "ASIA3", "ASIA2"]);
    }

    #[test]
    fn what_has_ended_is_neither_put_aside_nor_found() {
        let later = NOON + Duration::minutes(30);
        let mut superseded = Superseded::default();
        superseded.put(saved("dead", "ASIA1", Duration::minutes(30)), later);
        assert_eq!(ids(&superseded), [""; 0]);

        superseded.put(saved("short", "ASIA2", Duration::minutes(30)), NOON);
        assert!(superseded.clone().take("short", later).is_none());
        superseded.put(saved("long", "ASIA3", Duration::HOUR), later);
        assert_eq!(ids(&superseded), ["ASIA3"]);
    }

    #[test]
    fn what_a_predecessor_left_keeps_its_order_and_its_own_set_goes_before_an_older_one() {
        let left = [
            saved("now", "ASIA1", Duration::HOUR),
            saved("now", "ASIA2", Duration::HOUR),
            saved("before", "ASIA3", Duration::HOUR),
        ];

        assert_eq!(ids(&Superseded::left(left.into_iter(), NOON)), ["ASIA1", "ASIA3"]);
    }
}
