//! What a daemon needs by its settings. [`Demand`] has what only a look at the host can tell; the rest is pure.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anchord_aws::upstream::Proxy;
use anchord_config::CredentialSource;
use anchord_config::SessionSettings;
use anchord_config::Settings;
use anchord_frontend::credentials_file;
use anchord_identity::Reach;
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

/// How long to wait for file systems. What does not answer gets no rule, and can be written after a restart.
const PATIENCE: Duration = Duration::from_secs(2);

impl Demand {
    /// Looks at the host, in a thread that is left behind if a file system hangs.
    pub(super) fn of(settings: &Settings) -> Self {
        let mut demand = Self::default();
        for session in &settings.sessions {
            let identity = session.identity().cloned();
            let reach = within_patience(move || identity.map(|identity| identity.reach()));
            demand.sessions.push(reach.flatten().unwrap_or_default());
        }
        for file in &settings.credentials_files {
            let path = file.path.clone();
            demand.folders.push(within_patience(move || folder_of(&path)).unwrap_or(Folder::Unusable));
        }
        demand
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

fn within_patience<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, found) = mpsc::sync_channel(1);
    // If no thread can be started, nothing is found; the daemon will hardly start then.
    std::thread::Builder::new().spawn(move || sender.send(look())).ok()?;
    found.recv_timeout(PATIENCE).ok()
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

/// The directory whose rule covers `folder`. The kernel's rule is about the directory that is there now, and a deleted one
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
