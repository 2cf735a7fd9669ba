//! Names of users and groups, and the groups of a user, from the host's user database.
//!
//! The database may be a server (LDAP, SSSD) that answers slowly or not. Its answers are kept for a minute, and used
//! longer while it does not answer.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use nix::unistd::Gid;
use nix::unistd::Group;
use nix::unistd::Uid;
use nix::unistd::User;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use anchord_core::event;
use anchord_core::reported::Reported;

/// A user database. Its calls may block.
pub trait UserDatabase: Send + Sync + 'static {
    /// The number of the user `name`.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn uid_of(&self, name: &str) -> io::Result<Option<u32>>;

    /// The number of the group `name`.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn gid_of(&self, name: &str) -> io::Result<Option<u32>>;

    /// The groups of the user `uid`; none if the database does not have the user.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn groups_of(&self, uid: u32) -> io::Result<Vec<u32>>;
}

/// The user database of this host (getpwnam(3), getgrnam(3), getgrouplist(3)).
#[derive(Clone, Copy, Debug)]
pub struct SystemUsers;

impl UserDatabase for SystemUsers {
    fn uid_of(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
    }

    fn gid_of(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }

    fn groups_of(&self, uid: u32) -> io::Result<Vec<u32>> {
        let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(Vec::new()) };
        let name = CString::new(user.name)?;
        let groups = nix::unistd::getgrouplist(&name, user.gid)?;
        Ok(groups.into_iter().map(Gid::as_raw).collect())
    }
}

/// How long a request waits for the user database. Some clients wait 500 ms for an answer.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// How long an answer is used before the database is asked again.
const KEPT: Duration = Duration::from_secs(60);
/// Answers kept at the same time.
const MOST: usize = 4096;
/// Threads that wait for the database at the same time.
const ASKING: usize = 4;

/// Asks a user database, without blocking and without asking it again and again.
#[derive(Debug)]
pub(super) struct Users(Arc<Shared>);

struct Shared {
    database: Box<dyn UserDatabase>,
    answers: Mutex<HashMap<Question, (Instant, Answer)>>,
    asking: Arc<Semaphore>,
    silence: Mutex<Reported<bool>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Users")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    User(String),
    Group(String),
    GroupsOf(u32),
}

/// The numbers that answer a question: at most one for a name.
type Answer = Arc<[u32]>;

impl Users {
    pub(super) fn new(database: impl UserDatabase) -> Self {
        Self(Arc::new(Shared {
            database: Box::new(database),
            answers: Mutex::default(),
            asking: Arc::new(Semaphore::new(ASKING)),
            silence: Mutex::default(),
        }))
    }

    /// Whether `uid` is the user `name`, which may be a number. `None` if the database does not answer.
    pub(super) async fn is(&self, uid: u32, name: &str) -> Option<bool> {
        if let Ok(number) = name.parse::<u32>() {
            return Some(number == uid);
        }
        Some(self.ask(Question::User(name.into())).await?.contains(&uid))
    }

    /// Whether `uid` belongs to the group `name`, which may be a number. `groups` are the user's if the kernel has told
    /// them. `None` if the database does not answer.
    pub(super) async fn belongs(&self, uid: u32, groups: Option<&[u32]>, name: &str) -> Option<bool> {
        let group = match name.parse::<u32>() {
            Ok(number) => Some(number),
            Err(_) => self.ask(Question::Group(name.into())).await?.first().copied(),
        };
        let Some(group) = group else { return Some(false) };
        match groups {
            Some(groups) => Some(groups.contains(&group)),
            None => Some(self.ask(Question::GroupsOf(uid)).await?.contains(&group)),
        }
    }

    /// Forgets all answers.
    pub(super) fn forget(&self) {
        self.0.answers().clear();
    }

    async fn ask(&self, question: Question) -> Option<Answer> {
        let kept = self.0.kept(&question);
        if let Some((_, answer)) = kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Some(Arc::clone(answer));
        }
        let answered = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).ask(question)).await;
        let answered = answered.ok().flatten();
        self.0.report(answered.is_none());
        answered.or(kept.map(|(_, answer)| answer))
    }
}

impl Shared {
    fn answers(&self) -> std::sync::MutexGuard<'_, HashMap<Question, (Instant, Answer)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, question: &Question) -> Option<(Instant, Answer)> {
        self.answers().get(question).cloned()
    }

    async fn ask(self: Arc<Self>, question: Question) -> Option<Answer> {
        let permit = Arc::clone(&self.asking).acquire_owned().await.ok()?;
        // Another request may have asked the same while this one waited.
        if let Some((_, answer)) = self.kept(&question).filter(|(at, _)| at.elapsed() < KEPT) {
            return Some(answer);
        }
        let asked = tokio::task::spawn_blocking(move || {
            // Held by the thread: a call that hangs keeps it, also after its request has given up.
            let _permit = permit;
            let answer = self.database_answer(&question)?;
            let mut answers = self.answers();
            if answers.len() >= MOST {
                answers.clear();
            }
            answers.insert(question, (Instant::now(), Arc::clone(&answer)));
            Some(answer)
        });
        asked.await.ok().flatten()
    }

    fn database_answer(&self, question: &Question) -> Option<Answer> {
        let answer = match question {
            Question::User(name) => self.database.uid_of(name).map(Vec::from_iter),
            Question::Group(name) => self.database.gid_of(name).map(Vec::from_iter),
            Question::GroupsOf(uid) => self.database.groups_of(*uid),
        };
        match answer {
            Ok(answer) => Some(answer.into()),
            Err(error) => {
                tracing::debug!(%error, "The user database failed");
                None
            }
        }
    }

    /// Logs that the database has stopped to answer, and that it answers again.
    fn report(&self, is_silent: bool) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let was_known = silence.is_new(is_silent);
        if was_known && is_silent {
            tracing::warn!(
                event = event::USER_DATABASE_SILENT,
                hint = "check the services that nsswitch.conf names for `passwd` and `group`; numbers in `allow` need none",
                "The host's user database does not answer; callers who are admitted by a user's or a group's name may be refused"
            );
        }
    }
}
