//! The sessions of a running daemon, by name.

use std::sync::Arc;

use super::Handle;

/// All sessions in the order of the configuration. It is cheap to clone and never changes: a reload builds a new one.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<[Handle]>);

impl Sessions {
    /// The session called `name`.
    pub fn get(&self, name: &str) -> Option<&Handle> {
        self.iter().find(|handle| handle.name() == name)
    }

    /// All sessions in order.
    pub fn iter(&self) -> impl Iterator<Item = &Handle> {
        self.0.iter()
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no sessions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names are unique: the configuration refuses a second session of the same name.
impl FromIterator<Handle> for Sessions {
    fn from_iter<I: IntoIterator<Item = Handle>>(handles: I) -> Self {
        Self(handles.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;
    use tokio::sync::watch;

    use super::*;
    use crate::Snapshot;
    use crate::support::NOON;
    use anchord_core::clock::Clock;

    fn sessions(names: &[&str]) -> Sessions {
        let handle = |name: &&str| {
            let (_, snapshots) = watch::channel(Snapshot::first(NOON));
            Handle::new(name, snapshots, Arc::new(Notify::new()), Clock::system())
        };
        names.iter().map(handle).collect()
    }

    #[test]
    fn sessions_keep_their_order_and_are_found_by_name() {
        let sessions = sessions(&["web", "batch", "audit"]);

        assert_eq!(sessions.iter().map(Handle::name).collect::<Vec<_>>(), ["web", "batch", "audit"]);
        assert_eq!(sessions.get("batch").map(Handle::name), Some("batch"));
        assert!(sessions.get("Batch").is_none());
        assert_eq!((sessions.len(), sessions.is_empty()), (3, false));
        assert!(Sessions::default().is_empty());
    }
}
