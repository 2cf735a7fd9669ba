//! What a daemon needs by its settings. [`Demand`] has what only a look at the host can tell; the rest is pure.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anchord_aws::upstream::Proxy;
use anchord_config::CredentialSource;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_frontend::credentials_file;
use anchord_identity::Reach;
use anchord_identity::Source;
use anchord_sandbox::CapabilitySet;
use anchord_sandbox::Needs;
use anchord_sandbox::WriteRule;

/// What the host tells about what settings name.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    /// What each session's identity reaches, in the order of the sessions.
    sessions: Vec<Reach>,
    /// The folder of each credentials file, in the order of the files.
    folders: Vec<Folder>,
}

/// The folder of a credentials file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// It exists.
    At(PathBuf),
    /// This process may not make it.
    Denied,
    /// It cannot be had, for another reason that the writer of the file will report.
    Unusable,
}

impl Demand {
    /// Looks at the host. Waits a few seconds at most for file systems that hang.
    pub(super) fn of(settings: &Settings) -> Self {
        let identities = settings.sessions.iter().map(|session| session.identity().cloned()).collect();
        let reaches = look_at_each(identities, PATIENCE, |identity: Option<Source>| Some(identity?.reach()));
        let paths = settings.credentials_files.iter().map(|file| file.path.clone()).collect();
        let folders = look_at_each(paths, PATIENCE, |path: PathBuf| folder_of(&path));
        Self {
            sessions: reaches.into_iter().map(|reach| reach.flatten().unwrap_or_default()).collect(),
            folders: folders.into_iter().map(|folder| folder.unwrap_or(Folder::Unusable)).collect(),
        }
    }

    pub(super) fn session(&self, index: usize) -> &Reach {
        &self.sessions[index]
    }

    pub(super) fn folder(&self, index: usize) -> &Folder {
        &self.folders[index]
    }

    pub(super) fn has_token(&self) -> bool {
        self.sessions.iter().any(|reach| reach.has_token)
    }

    pub(super) fn modules(&self) -> Vec<PathBuf> {
        let modules: BTreeSet<PathBuf> =
            self.sessions.iter().flat_map(|reach| reach.modules.clone()).collect();
        modules.into_iter().collect()
    }
}

fn folder_of(path: &Path) -> Folder {
    use std::io::ErrorKind::PermissionDenied;
    match credentials_file::make_folder_of(path) {
        Ok(folder) => Folder::At(folder),
        Err(credentials_file::Error::Unwritable { source, .. }) if source.kind() == PermissionDenied => {
            Folder::Denied
        }
        Err(_) => Folder::Unusable,
    }
}

/// How long to wait for one look at a file system.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_HANGING: usize = 3;

/// Looks at each item, in a thread that is left behind if a file system hangs. `None` for what does not answer: it gets no
/// rule, and can be written after a restart.
fn look_at_each<T, R>(items: Vec<T>, patience: Duration, look: fn(T) -> R) -> Vec<Option<R>>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
{
    let mut found = Vec::new();
    for _ in 0..MOST_HANGING {
        let rest = items[found.len()..].to_vec();
        if rest.is_empty() {
            break;
        }
        let (sender, results) = mpsc::channel();
        let looking = move || rest.into_iter().try_for_each(|item| sender.send(look(item)).ok());
        let Ok(thread) = std::thread::Builder::new().spawn(looking) else { break };
        let ended = loop {
            match results.recv_timeout(patience) {
                Ok(result) => found.push(Some(result)),
                Err(ended) => break ended,
            }
        };
        if ended == RecvTimeoutError::Disconnected {
            // It does not count among the threads that the daemon may start.
            let _ = thread.join();
        }
        if found.len() < items.len() {
            found.push(None);
        }
    }
    found.resize_with(items.len(), || None);
    found
}

/// What a daemon needs.
pub(super) fn needs(
    settings: &Settings,
    demand: &Demand,
    temporary: Option<&Path>,
    abstract_sockets: bool,
) -> Needs {
    let mut needs = nothing();
    needs.abstract_sockets = abstract_sockets;
    // Other users' keys are read with it.
    needs.capabilities = CapabilitySet::DAC_READ_SEARCH;
    needs.writable.push(WriteRule::Below(ground(&settings.runtime_directory)));
    let socket_folder = settings.socket.as_ref().and_then(|socket| socket.path.parent());
    if let Some(folder) = socket_folder.filter(|folder| **folder != settings.runtime_directory) {
        needs.writable.push(WriteRule::Below(folder.to_owned()));
        if is_of_another_user(folder) {
            needs.capabilities |= CapabilitySet::DAC_OVERRIDE;
        }
    }
    let parent = temporary.and_then(Path::parent);
    needs.writable.extend(parent.map(|parent| WriteRule::RemoveIn(parent.to_owned())));
    for port in settings.listen.iter().map(std::net::SocketAddr::port) {
        needs.listens.insert(port);
        if (1..1024).contains(&port) {
            needs.capabilities |= CapabilitySet::NET_BIND_SERVICE;
        }
    }
    needs.connects.extend([DNS]);
    needs.connects.extend(proxy_port(settings));
    for (session, reach) in settings.sessions.iter().zip(&demand.sessions) {
        add(&mut needs, of_session(session, reach));
    }
    for folder in &demand.folders {
        add(&mut needs, of_folder(folder));
    }
    needs
}

fn nothing() -> Needs {
    Needs {
        capabilities: CapabilitySet::empty(),
        writable: Vec::new(),
        listens: BTreeSet::new(),
        connects: BTreeSet::new(),
        abstract_sockets: false,
    }
}

fn add(needs: &mut Needs, more: Needs) {
    needs.capabilities |= more.capabilities;
    needs.writable.extend(more.writable);
    needs.connects.extend(more.connects);
}

/// libc asks name servers over TCP if an answer is too long for UDP.
const DNS: u16 = 53;
const HTTPS: u16 = 443;

/// What a session needs. `reach` is what its identity reaches.
pub(super) fn of_session(session: &SessionSettings, reach: &Reach) -> Needs {
    let mut needs = nothing();
    let mut urls = vec![session.sts.url()];
    urls.extend(session.chain.iter().map(|step| step.sts.url()));
    if let CredentialSource::RolesAnywhere(source) = &session.source {
        urls.push(source.first.url());
        urls.extend(source.fallback.as_ref().map(|fallback| fallback.url()));
    }
    needs.connects.extend(urls.iter().map(|url| port_of(url)));
    needs.connects.extend(reach.ports.iter().copied());
    needs.writable.extend(reach.device.as_deref().and_then(|path| device(path, reach.has_tpm_key)));
    // The device and the sockets of agents often belong to other users, and root reaches them only with this.
    if reach.has_tpm_key || reach.unix_socket {
        needs.capabilities |= CapabilitySet::DAC_OVERRIDE;
    }
    needs
}

/// Settings are checked, so a URL that cannot be read is not used.
fn port_of(url: &str) -> u16 {
    url.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16()).unwrap_or(HTTPS)
}

fn proxy_port(settings: &Settings) -> Option<u16> {
    let url = settings.upstream.proxy.clone()?;
    let proxy = Proxy { url, exceptions: None };
    proxy.place().map(|(_, port)| port)
}

/// A driver may make the device after the daemon has started; it can be opened then only with a rule on its directory.
fn device(path: &Path, is_needed: bool) -> Option<WriteRule> {
    match fs_err::metadata(path) {
        Ok(found) if found.file_type().is_char_device() => Some(WriteRule::File(path.to_owned())),
        _ if is_needed => path.parent().map(|parent| WriteRule::FilesIn(parent.to_owned())),
        _ => None,
    }
}

/// What a credentials file in `folder` needs. The file keeps its owner and its rights, which only root with these
/// capabilities can give it.
pub(super) fn of_folder(folder: &Folder) -> Needs {
    let mut needs = nothing();
    if let Folder::At(folder) = folder {
        needs.writable.push(WriteRule::Below(folder.clone()));
    }
    needs.capabilities = CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::DAC_OVERRIDE;
    needs
}

/// The directory for the rule about `folder`. The kernel's rule is about the directory that is there now, and a deleted one
/// can be made again only with a rule on its parent. The parent is taken if it is this user's alone and serves one purpose,
/// unlike `/run` or a home. Otherwise the daemon has to be restarted after the directory was deleted.
fn ground(folder: &Path) -> PathBuf {
    let parent = folder.parent().filter(|parent| is_own(parent) && is_deep(parent));
    parent.unwrap_or(folder).to_owned()
}

fn is_own(folder: &Path) -> bool {
    let is_own = |found: std::fs::Metadata| {
        found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
    };
    fs_err::metadata(folder).is_ok_and(is_own)
}

/// Homes and the runtime directories of users are at most three levels deep: `/root`, `/home/robot`, `/run/user/1000`.
fn is_deep(folder: &Path) -> bool {
    const THREE_LEVELS: usize = 4;
    let Ok(path) = fs_err::canonicalize(folder) else { return false };
    // The first component is the root directory.
    path.components().count() > THREE_LEVELS || path.starts_with("/tmp") || path.starts_with("/dev/shm")
}

fn is_of_another_user(folder: &Path) -> bool {
    fs_err::metadata(folder).is_ok_and(|found| found.uid() != rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use anchord_config as config;
    use anchord_config::Environment;

    /// What these lines need, beside a session with access keys.
    fn needs_of(lines: &str, variables: &[(&str, &str)]) -> Needs {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("anchord.toml");
        let session =
            "[session.a]\nsource = \"access-keys\"\naccess_keys = \"file:keys\"\nregion = \"us-east-1\"\n";
        fs_err::write(&file, format!("runtime_directory = \"/nope/run\"\n{lines}\n{session}")).unwrap();
        let given = config::Arguments::given([("config", file.to_str().unwrap())]).unwrap();
        let environment = Environment::from_iter(variables.iter().copied());
        let settings = config::load(given, &environment).unwrap_or_else(|error| panic!("{lines}: {error}"));
        needs(&settings, &Demand::of(&settings), None, false)
    }

    fn session_in_a_tpm(tpm: &str) -> String {
        format!(
            "[session.b]\ncertificate = \"leaf.pem\"\nprivate_key = \"tpm:0x81000001\"\ntpm = \"{tpm}\"\n\
             trust_anchor_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a\"\n\
             profile_arn = \"arn:aws:rolesanywhere:us-east-1:123456789012:profile/p\"\n\
             role_arn = \"arn:aws:iam::123456789012:role/r\"\n[imds]\nenabled = false\n"
        )
    }

    #[test]
    fn each_capability_is_kept_only_for_settings_that_need_it() {
        let plain = CapabilitySet::DAC_READ_SEARCH;
        let listen = |address| format!("[http]\nlisten = [\"{address}\"]");
        let folder = tempfile::tempdir().unwrap();
        let file = format!("[credentials_file.f]\npath = {:?}", folder.path().join("credentials"));

        assert_eq!(needs_of("", &[]).capabilities, plain);
        assert_eq!(needs_of(&listen("127.0.0.1:9911"), &[]).capabilities, plain);
        let low = needs_of(&listen("169.254.169.254:80"), &[]);
        assert_eq!(low.capabilities, plain | CapabilitySet::NET_BIND_SERVICE);
        let files = CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::DAC_OVERRIDE;
        assert_eq!(needs_of(&file, &[]).capabilities, plain | files);
        let tpm = needs_of(&session_in_a_tpm("device:/dev/null"), &[]);
        assert_eq!(tpm.capabilities, plain | CapabilitySet::DAC_OVERRIDE);
        assert!(tpm.writable.contains(&WriteRule::File("/dev/null".into())), "{tpm:?}");
    }

    #[test]
    fn the_daemon_connects_to_the_ports_of_the_settings_and_of_name_servers() {
        assert_eq!(needs_of("", &[]).connects, BTreeSet::from([DNS, HTTPS]));
        let through_a_proxy = needs_of("", &[("https_proxy", "http://user:secret@proxy:3128")]);
        assert_eq!(through_a_proxy.connects, BTreeSet::from([DNS, HTTPS, 3128]));
        let emulator = needs_of(&session_in_a_tpm("swtpm:host=localhost,port=2321"), &[]);
        assert_eq!(emulator.connects, BTreeSet::from([DNS, HTTPS, 2321]));
    }

    #[test]
    fn the_daemon_listens_on_the_ports_of_the_settings() {
        let two = "[http]\nlisten = [\"127.0.0.1:9911\", \"[::1]:7\"]";

        assert_eq!(needs_of(two, &[]).listens, BTreeSet::from([7, 9911]));
    }

    #[test]
    fn what_hangs_is_left_out_and_what_panics_too() {
        fn look(item: u8) -> u8 {
            match item {
                // Until the test ends.
                1 => loop {
                    std::thread::park();
                },
                3 => panic!("the one that is expected"),
                item => item,
            }
        }

        let patience = Duration::from_millis(50);
        let found = look_at_each(vec![0, 1, 2, 3, 4], patience, look);
        assert_eq!(found, [Some(0), None, Some(2), None, Some(4)]);
        assert_eq!(look_at_each(vec![1, 1, 1, 1, 0], patience, look), [None; 5]);
    }

    #[test]
    fn the_port_is_that_of_the_endpoint_or_https() {
        assert_eq!(port_of("https://localhost:8443"), 8443);
        assert_eq!(port_of("https://rolesanywhere.us-east-1.amazonaws.com"), HTTPS);
        assert_eq!(port_of("https://[::1]:7/"), 7);
    }

    #[test]
    fn a_directory_is_ruled_by_its_parent_only_if_that_is_this_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("own");
        fs_err::create_dir(&parent).unwrap();
        let directory = parent.join("run");
        let with_mode = |mode| {
            fs_err::set_permissions(&parent, std::fs::Permissions::from_mode(mode)).unwrap();
            ground(&directory)
        };

        assert_eq!(with_mode(0o755), parent);
        assert_eq!(with_mode(0o775), directory);
        assert_eq!(ground(Path::new("/run/anchord")), Path::new("/run/anchord"));
        assert_eq!(ground(Path::new("/home/robot/run")), Path::new("/home/robot/run"));
    }

    #[test]
    fn a_device_that_is_missing_is_waited_for_only_if_the_key_is_in_it() {
        assert_eq!(device(Path::new("/dev/null"), false), Some(WriteRule::File("/dev/null".into())));
        assert_eq!(device(Path::new("/dev/nope"), true), Some(WriteRule::FilesIn("/dev".into())));
        assert_eq!(device(Path::new("/dev/nope"), false), None);
    }
}
