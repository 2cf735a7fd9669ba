//! The cache of processes without a daemon: a file with mode 0600 for each session.
//!
//! SDKs run `credential_process` for each client and each CLI command, and keep nothing on disk. But Roles Anywhere
//! allows only ten calls of CreateSession a second. The cache also keeps a failure for some seconds, so that parallel
//! processes do not all repeat it. Without the cache there are more calls, but results stay correct: an unusable file
//! counts as absent.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::cache_entry::CacheEntry;
use anchord_config::Environment;
use anchord_config::Provenance;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::digest::sha256_hex;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::private_file;
use anchord_core::private_file::Lock;
use anchord_core::private_file::LockError;
use anchord_core::trusted_path;

/// The cache of one session.
pub(super) struct Cache {
    file: PathBuf,
    /// The current identity, if it is not part of the file's name: a digest of the access keys, or the SPIFFE ID of the
    /// agent's SVID. `None` if there is none, or it cannot be read.
    identity: Option<String>,
}

const MAX_BYTES: usize = 64 << 10;
/// The longest time that another process of anchord needs, and less than the time limit of this process.
const LOCK_PATIENCE: Duration = Duration::from_secs(9);
const LOCK_POLL: Duration = Duration::from_millis(20);

impl Cache {
    /// The session's cache; `None` if this user has no private folder.
    ///
    /// The file's name depends on every setting that decides the credentials, so that changed settings never get old
    /// credentials. It also depends on the host, because on a shared home the same paths may have another host's
    /// certificate. The host is a separate part of the name, so that other hosts leave the file alone.
    ///
    /// The certificate is not part of the name but of the entry, so that credentials of the previous certificate are
    /// found while the new one gives none. A certificate from a variable or a pipe is part of the name: it has no path,
    /// and that of another process is a different certificate, not a newer one. `identity` identifies the current
    /// access keys or the agent's SVID.
    pub(super) fn of(
        settings: &Settings,
        session: &SessionSettings,
        environment: &Environment,
        identity: Option<String>,
    ) -> Option<Self> {
        let folder = folder(environment)?;
        let made = trusted_path::make_directory(&folder).ok()?;
        if made.owner() != environment.uid() || made.mode() & 0o022 != 0 {
            return None;
        }
        let host = &sha256_hex(environment.host().as_bytes())[..16];
        let digest = &sha256_hex(&facts(settings, session, environment.host()))[..16];
        Some(Self { file: folder.join(format!("{}-{host}-{digest}.json", session.name)), identity })
    }

    /// Waits for the lock, so that only one process asks AWS for this session; `None` if locking is impossible.
    /// The kernel releases the lock when the process ends, even if it is killed.
    ///
    /// # Errors
    /// If another process holds the lock for longer than it should. It may be stopped, for example by Ctrl+Z in a
    /// shell.
    pub(super) async fn lock(&self) -> Result<Option<Lock>, Failure> {
        let gives_up_at = tokio::time::Instant::now() + LOCK_PATIENCE;
        loop {
            let path = self.lock_path();
            // Poll: a thread that waits for the lock in the kernel could not be ended.
            match tokio::task::spawn_blocking(move || lock(&path)).await {
                Ok(LockAttempt::Held) if tokio::time::Instant::now() < gives_up_at => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Ok(LockAttempt::Held) => return Err(self.held_for_long()),
                Ok(LockAttempt::Ours(lock)) => return Ok(Some(lock)),
                Ok(LockAttempt::Impossible) | Err(_) => return Ok(None),
            }
        }
    }

    fn held_for_long(&self) -> Failure {
        let seconds = LOCK_PATIENCE.as_secs();
        let message = format!("another process has held the cache lock for {seconds} s");
        let hint = format!(
            "check which process it is, and whether it is stopped: fuser -v `{}`",
            self.lock_path().display()
        );
        Failure::of(Reason::Busy, message, Some(hint.into()))
    }

    /// The entry; empty if the file is absent, damaged, accessible to other users, or of another identity.
    pub(super) fn read(&self) -> CacheEntry {
        let found = read(&self.file);
        if found.is_with(self.identity.as_deref()) { found } else { CacheEntry::default() }
    }

    /// Replaces the entry atomically. Ignores errors, because the credentials can be used without the cache.
    pub(super) fn write(&self, entry: &CacheEntry) {
        let bytes = entry.clone().with_identity(self.identity.as_deref()).encode();
        let _ = private_file::replace(&self.file, bytes.expose());
    }

    /// Removes entries of settings that are not used any more, and files of killed processes.
    ///
    /// Files of other hosts, and of earlier versions without a host in their name, are removed only if they have not
    /// changed for a day: their entries may be valid although they look expired by this host's clock.
    pub(super) fn sweep(&self, clock: &Clock) {
        let Some(folder) = self.file.parent() else { return };
        // The user waits for this, so its work is limited. The next call continues.
        for entry in fs_err::read_dir(folder).into_iter().flatten().flatten().take(MOST_SWEPT) {
            let path = entry.path();
            let is_own = path == self.file || path == self.lock_path();
            match path.extension().and_then(std::ffi::OsStr::to_str) {
                Some("json" | "lock") if !is_own => self.sweep_place(&path.with_extension("json"), clock),
                _ => {}
            }
        }
        private_file::sweep_older(folder, ABANDONED_AFTER, clock.now());
    }

    /// Removes an expired entry and its lock, unless a process holds the lock.
    fn sweep_place(&self, file: &Path, clock: &Clock) {
        let is_of_this_host = host_in_name(file).is_some_and(|host| host_in_name(&self.file) == Some(host));
        let is_over = || match is_of_this_host {
            true => read(file).is_over(clock),
            false => is_old(file, clock),
        };
        if !is_over() {
            return;
        }
        let lock_path = file.with_extension("lock");
        let LockAttempt::Ours(_lock) = lock(&lock_path) else { return };
        // Check again: another process may have renewed the entry before this one got the lock.
        if is_over() {
            // An error only leaves a useless file.
            let _ = private_file::remove(file);
            let _ = private_file::remove(&lock_path);
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.file.with_extension("lock")
    }
}

/// The host's part of a file's name. A session's name may contain the separator, so this splits from the end.
fn host_in_name(file: &Path) -> Option<&str> {
    let (rest, _digest) = file.file_stem()?.to_str()?.rsplit_once('-')?;
    rest.rsplit_once('-').map(|(_session, host)| host)
}

/// Whether another host's entry, or a lock without an entry, is too old to be useful.
fn is_old(file: &Path, clock: &Clock) -> bool {
    let found =
        fs_err::symlink_metadata(file).or_else(|_| fs_err::symlink_metadata(file.with_extension("lock")));
    let changed_at = found.and_then(|found| found.modified());
    changed_at.is_ok_and(|changed_at| clock.now() - OffsetDateTime::from(changed_at) > OTHERS_ABANDONED_AFTER)
}

const MOST_SWEPT: usize = 1000;
/// Six times as long as a process of anchord runs.
const ABANDONED_AFTER: time::Duration = time::Duration::minutes(1);
/// Longer than the life of a role's credentials.
const OTHERS_ABANDONED_AFTER: time::Duration = time::Duration::DAY;

/// Every setting that the credentials depend on, and the host. Conditions are included, because the cache also keeps
/// failures and conditions decide whether a call fails.
fn facts(settings: &Settings, session: &SessionSettings, host: &str) -> Vec<u8> {
    let Provenance { session, connection, conditions } = Provenance::of(session, &settings.upstream);
    let mut facts = vec![host.as_bytes().to_vec()];
    for list in [session, connection, conditions] {
        // The length separates a list from the next.
        facts.push(list.len().to_string().into_bytes());
        facts.extend(list);
    }
    facts.join(&0)
}

fn read(file: &Path) -> CacheEntry {
    let found = private_file::read(file, MAX_BYTES).ok().flatten();
    found.and_then(|bytes| CacheEntry::decode(&bytes).ok()).unwrap_or_default()
}

/// The result of an attempt to lock.
enum LockAttempt {
    Ours(Lock),
    Held,
    Impossible,
}

fn lock(path: &Path) -> LockAttempt {
    // A sweep may have removed the file before it was locked. Then other processes would lock a new file, so try again.
    // Each retry needs one more sweep, so the loop ends.
    for _ in 0..MOST_SWEPT {
        match private_file::lock(path) {
            Ok(Some(lock)) if lock.is_at(path) => return LockAttempt::Ours(lock),
            Ok(Some(_)) => {}
            Ok(None) => return LockAttempt::Held,
            Err(LockError::System(error)) if error.kind() == io::ErrorKind::Interrupted => {
                return LockAttempt::Held;
            }
            Err(_) => return LockAttempt::Impossible,
        }
    }
    LockAttempt::Impossible
}

/// The cache folder. A runtime folder is preferred, because it is in memory, removed at logout, and of this host only.
/// Otherwise it is the user's cache folder.
fn folder(environment: &Environment) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).map(Path::new).filter(|path| path.is_absolute());
    let base = set("XDG_RUNTIME_DIR")
        .map(Path::to_path_buf)
        .or_else(|| runtime_folder(Path::new("/run/user"), environment.uid()))
        .or_else(|| set("XDG_CACHE_HOME").map(Path::to_path_buf))
        .or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("anchord").join("cache"))
}

/// The folder that a login session has in XDG_RUNTIME_DIR (pam_systemd(8)), for processes without the variable, such as
/// those of cron, sudo or a service.
fn runtime_folder(of_all: &Path, uid: u32) -> Option<PathBuf> {
    let folder = of_all.join(uid.to_string());
    let found = fs_err::symlink_metadata(&folder).ok()?;
    (found.is_dir() && found.uid() == uid && found.mode() & 0o7777 == 0o700).then_some(folder)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::macros::datetime;

    use super::*;
    use anchord_config as config;
    use anchord_core::credentials::Credentials;
    use anchord_core::credentials::Keys;
    use anchord_core::secret::Secret;
    use anchord_identity::Locator;
    use anchord_identity::ProcessInput;
    use anchord_identity::SourceStamp;

    const NOON: OffsetDateTime = datetime!(2026-03-11 12:00:00 UTC);
    const SESSION: &str = "\
        [session.bedrock]\n\
        certificate = \"leaf.pem\"\n\
        private_key = \"key.pem\"\n\
        trust_anchor_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a\"\n\
        profile_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:profile/p\"\n\
        role_arn = \"arn:aws:iam::123456789012:role/bedrock\"\n";
    const STEP: &str =
        "[[session.bedrock.assume_role]]\nrole_arn = \"arn:aws:iam::123456789012:role/models\"\n";

    fn settings(folder: &Path, text: &str, variables: &[(&str, &str)]) -> Settings {
        let file = folder.join("anchord.toml");
        fs_err::write(&file, text).unwrap();
        let given = config::Arguments::given([("config", file.to_str().unwrap())]).unwrap();
        let environment = Environment::from_iter(variables.iter().copied()).with_current_dir("/there");
        config::load_for_client(given, &environment).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// What the name is made of under these settings, whatever else stands in the file's folder.
    fn facts_of(text: &str, variables: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), text, variables);
        // Relative paths start at the file's folder, which is another one each time.
        let there = folder.path().to_str().unwrap();
        let session = settings.sessions.remove(0);
        let facts = facts(&settings, &session, "host");
        String::from_utf8(facts).unwrap().replace(there, "/there")
    }

    /// `SESSION` with one value in the place of another.
    fn with(value: &str, other: &str) -> String {
        let changed = SESSION.replace(value, other);
        assert_ne!(changed, SESSION, "{value}");
        changed
    }

    fn more(lines: &str) -> String {
        format!("{SESSION}{lines}\n")
    }

    fn step(lines: &str) -> String {
        format!("{SESSION}{STEP}{lines}\n")
    }

    #[test]
    fn each_setting_that_credentials_depend_on_has_an_entry_of_its_own() {
        let other_anchor = "fallback_trust_anchor_arn = \"arn:aws:rolesanywhere:us-west-2:123456789012:trust-anchor/b\"\n\
            fallback_profile_arn = \"arn:aws:rolesanywhere:us-west-2:123456789012:profile/b\"\n";
        let pin = "00".repeat(32);
        let texts = [
            ("as it is", SESSION.to_owned()),
            ("name", with("session.bedrock", "session.other")),
            ("role", with("role/bedrock", "role/other")),
            ("profile", with("profile/p", "profile/q")),
            ("trust anchor", with("trust-anchor/a", "trust-anchor/b")),
            ("certificate", with("leaf.pem", "other.pem")),
            ("key", with("key.pem", "other.pem")),
            ("intermediates", more("intermediates = \"chain.pem\"")),
            ("pin", more(&format!("certificate_fingerprint = [\"{pin}\"]"))),
            ("subject", more("certificate_subject = \"CN=robot\"")),
            ("issuer", more("certificate_issuer = \"CN=root\"")),
            ("serial", more("certificate_serial = \"1A\"")),
            ("passphrase", more("passphrase = \"file:passphrase\"")),
            ("duration", more("duration = \"30m\"")),
            ("role session name", more("role_session_name = \"robot\"")),
            ("region", more("region = \"us-west-2\"")),
            ("endpoint", more("endpoint = \"https://127.0.0.1:1\"")),
            ("STS's region", more("sts_region = \"us-west-2\"")),
            ("STS's endpoint", more("sts_endpoint = \"https://127.0.0.1:1\"")),
            ("second region", more(other_anchor)),
            ("chain", step("")),
            ("chain's role", step("").replace("role/models", "role/others")),
            ("chain's session name", step("session_name = \"robot\"")),
            ("chain's external id", step("external_id = \"there\"")),
            ("chain's duration", step("duration = \"30m\"")),
            ("chain's policy", step("policy = '{\"Version\":\"2012-10-17\"}'")),
            ("chain's policies", step("policy_arns = [\"arn:aws:iam::aws:policy/ReadOnlyAccess\"]")),
            ("chain's tags", step("tags = { team = \"a\" }")),
            ("chain's transitive tags", step("tags = { team = \"a\" }\ntransitive_tags = [\"team\"]")),
            ("chain's source identity", step("source_identity = \"robot\"")),
            ("longer chain", step(STEP)),
            ("authorities", format!("[upstream]\nca_file = \"ca.pem\"\n{SESSION}")),
            ("FIPS", format!("[upstream]\nuse_fips_endpoint = true\n{SESSION}")),
            ("dual stack", format!("[upstream]\nuse_dualstack_endpoint = true\n{SESSION}")),
        ];
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        let proxies = [("HTTPS_PROXY", "http://127.0.0.1:3128"), ("NO_PROXY", "localhost")];
        let named = texts.iter().map(|(what, text)| (*what, facts_of(text, &[])));
        let by_variable = proxies.map(|proxy| (proxy.0, facts_of(SESSION, &[proxy])));
        for (what, name) in named.chain(by_variable) {
            if let Some(other) = names.insert(name, what) {
                panic!("{what} makes the same entry as {other}");
            }
        }
        assert!(names.contains_key(&facts_of(SESSION, &[])), "the same settings make the same entry");
    }

    /// Two pipes may both be `/dev/fd/63`, and each shell has a `LEAF` of its own.
    #[test]
    fn what_a_variable_or_a_pipe_holds_has_an_entry_of_its_own() {
        let text = with("leaf.pem", "env:LEAF").replace("key.pem", "env:KEY");
        let of = |leaf: &str, key: &str| facts_of(&text, &[("LEAF", leaf), ("KEY", key)]);
        let piped = |content: &str| {
            let folder = tempfile::tempdir().unwrap();
            let mut settings = settings(folder.path(), SESSION, &[]);
            let config::CredentialSource::RolesAnywhere(source) = &mut settings.sessions[0].source else {
                panic!()
            };
            let content = Secret::new(content.as_bytes().to_vec());
            source.identity.certificate = Locator::Input(ProcessInput::content("/dev/fd/63", content));
            let facts = facts(&settings, &settings.sessions[0], "host");
            String::from_utf8(facts).unwrap().replace(folder.path().to_str().unwrap(), "/there")
        };

        let one = of("a", "a's key");

        assert_eq!(one, of("a", "a's key"));
        assert_ne!(one, of("b", "a's key"));
        assert_ne!(one, of("a", "b's key"));
        assert!(!one.contains("a's key"), "{one}");
        assert_eq!(piped("a"), piped("a"));
        assert_ne!(piped("a"), piped("b"));
    }

    /// Two units of one user have credentials of the same name in different directories.
    #[test]
    fn the_credentials_of_each_unit_have_an_entry_of_their_own() {
        let text = with("leaf.pem", "credential:leaf").replace("key.pem", "credential:key");
        let of = |unit: &str| facts_of(&text, &[("CREDENTIALS_DIRECTORY", unit)]);

        assert_eq!(of("/run/credentials/a.service"), of("/run/credentials/a.service"));
        assert_ne!(of("/run/credentials/a.service"), of("/run/credentials/b.service"));
    }

    /// A short password could be found out from the name's digest.
    #[test]
    fn a_proxys_login_takes_no_part_in_the_name_and_its_host_does() {
        let through = |proxy: &str| facts_of(SESSION, &[("HTTPS_PROXY", proxy)]);

        let facts = through("http://user:old@proxy:3128");

        assert_eq!(facts, through("http://user:new@proxy:3128"));
        assert!(!facts.contains("user") && !facts.contains("old"), "{facts}");
        assert_ne!(facts, through("http://user:old@other:3128"));
    }

    /// Sets when a file was changed.
    fn date(file: &Path, at: OffsetDateTime) {
        let file = fs_err::OpenOptions::new().write(true).open(file).unwrap();
        file.file().set_modified(at.into()).unwrap();
    }

    /// Made at noon for an hour, by this clock.
    fn entry(clock: &Clock) -> CacheEntry {
        let keys = Keys {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("secret".into()),
            session_token: Some(Secret::new("token".into())),
        };
        let ends_at = clock.now() + time::Duration::HOUR;
        let made = Credentials::new(keys, clock.moment(), ends_at, None).unwrap();
        CacheEntry::made(&made, &SourceStamp::default(), clock)
    }

    /// By its own clock, and after its own boot, the other host takes for dead what lives.
    #[tokio::test(start_paused = true)]
    async fn a_host_leaves_what_lives_on_another_and_removes_what_is_a_day_old() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path(), SESSION, &[]);
        let cache_of = |host: &str| {
            let variables = [("XDG_RUNTIME_DIR", home.path().to_str().unwrap())];
            let uid = rustix::process::geteuid().as_raw();
            let environment = Environment::from_iter(variables).with_uid(uid).with_host(host);
            Cache::of(&settings, &settings.sessions[0], &environment, None).unwrap()
        };
        let (one, other) = (cache_of("one"), cache_of("other"));
        drop(one.lock().await.unwrap());
        one.write(&entry(&Clock::manual(NOON)));
        let earlier_form = one.file.with_file_name("bedrock-0123456789abcdef.json");
        fs_err::copy(&one.file, &earlier_form).unwrap();
        let lock_alone = one.file.with_file_name("bedrock-0123456789abcdee.lock");
        fs_err::write(&lock_alone, "").unwrap();
        let all = [one.lock_path(), one.file.clone(), earlier_form, lock_alone];
        let swept_after = |hours: i64| {
            all.iter().for_each(|file| _ = file.exists().then(|| date(file, NOON)));
            let clock = Clock::manual(NOON + time::Duration::hours(hours));
            clock.reboot();
            other.sweep(&clock);
            [0, 1, 2, 3].map(|socket| all[socket].exists())
        };

        for hours in [-3, 0, 3, 23] {
            assert_eq!(swept_after(hours), [true; 4], "{hours} h");
        }
        assert_eq!(swept_after(25), [false; 4]);
    }

    #[test]
    fn a_pipe_in_place_of_a_lock_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry.lock");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

        assert!(matches!(lock(&path), LockAttempt::Impossible));
    }

    #[test]
    fn only_a_runtime_folder_that_is_this_users_alone_is_taken_unasked() {
        use std::os::unix::fs::PermissionsExt as _;
        let (all, uid) = (tempfile::tempdir().unwrap(), rustix::process::geteuid().as_raw());
        let own = all.path().join(uid.to_string());
        let found_with = |mode: u32| {
            fs_err::set_permissions(&own, std::fs::Permissions::from_mode(mode)).unwrap();
            runtime_folder(all.path(), uid)
        };

        assert_eq!(runtime_folder(all.path(), uid), None, "there is none");
        fs_err::create_dir(&own).unwrap();
        assert_eq!(found_with(0o700), Some(own.clone()));
        assert_eq!([0o755, 0o770, 0o1700].map(found_with), [None, None, None]);
        let (elsewhere, link) = (all.path().join("elsewhere"), all.path().join("1234567"));
        fs_err::create_dir(&elsewhere).unwrap();
        fs_err::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        assert_eq!(runtime_folder(all.path(), 1_234_567), None, "a link");
    }

    #[test]
    fn the_folder_that_a_login_session_names_goes_before_the_cache_of_the_home() {
        let chosen = |variables: &[(&str, &str)]| {
            // A user who has no runtime folder.
            let environment = Environment::from_iter(variables.iter().copied()).with_uid(4_000_000_000);
            folder(&environment).map(|path| path.display().to_string())
        };
        let (home, cache, run) = (("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("XDG_RUNTIME_DIR", "/r"));

        assert_eq!(chosen(&[home, cache, run]).as_deref(), Some("/r/anchord/cache"));
        assert_eq!(chosen(&[home, cache]).as_deref(), Some("/c/anchord/cache"));
        assert_eq!(chosen(&[home]).as_deref(), Some("/h/.cache/anchord/cache"));
        assert_eq!(chosen(&[("HOME", "h")]), None);
    }
}
