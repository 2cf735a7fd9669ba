//! Asks a running daemon through its Unix socket, for verbs and for programs that embed anchord.

mod access_denied;
pub mod running;

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::Instant;

use anchord_config::Environment;
use anchord_config::Fact;
use anchord_config::Settings;
use anchord_core::clock::Moment;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Failure;
use anchord_core::failure::Reason;
use anchord_core::notice::Origin;
use anchord_core::secret::Secret;
use anchord_frontend::process;

/// Far more than any answer has: credentials, or the status of some sessions.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The outcome of a request to a daemon.
pub enum DaemonAnswer {
    /// The daemon's answer.
    Answered(Secret<Vec<u8>>),
    /// The daemon's refusal.
    Refused(Failure),
    /// The daemon has no such session.
    Unknown(Failure),
    /// The daemon's session of this name has other settings than the requested one.
    Differs(Failure),
    /// The host's daemon has a socket there, but this user may not use it.
    Forbidden(Failure),
    /// No daemon listens there.
    NoDaemon,
}

/// The body of an error response of the socket.
#[derive(Deserialize)]
struct ErrorBody {
    message: String,
    hint: Option<String>,
    class: Option<String>,
    reason_code: Option<String>,
}

/// A socket on which a daemon may listen.
#[derive(Clone, Debug)]
pub struct DaemonSocket {
    /// The path of the socket.
    pub path: PathBuf,
    /// Whether to try other sockets if this daemon does not have the session.
    optional: bool,
    /// Whether this is the host's daemon and the host's settings define the session. A user without access to the
    /// daemon may then obtain credentials directly.
    is_the_hosts: bool,
}

/// The sockets to try: the one of the settings, then the host's. The host's is left out if the settings choose a
/// socket. It is also left out if they define the user's own sessions, because a session of the host's daemon with the
/// same name must not replace them.
pub fn sockets(settings: &Settings) -> Vec<DaemonSocket> {
    let has_own_sessions = !settings.sessions.is_empty() && !settings.file_is_the_systems();
    let has_choice = chooses_a_place(settings) || has_own_sessions;

    let defines_it = !settings.sessions.is_empty() && !has_choice;
    let own = settings.socket.as_ref().map(|socket| {
        let is_the_hosts = defines_it && socket.path == Path::new(SYSTEM_SOCKET);
        DaemonSocket { path: socket.path.clone(), optional: false, is_the_hosts }
    });
    let system = DaemonSocket { path: SYSTEM_SOCKET.into(), optional: defines_it, is_the_hosts: defines_it };
    match own {
        Some(own) if has_choice || own.path == system.path => vec![own],
        // After `su`, XDG_RUNTIME_DIR may still be another user's. Do not ask that user's daemon.
        Some(own) if is_closed(&own.path) => vec![system],
        own => own.into_iter().chain((!has_choice).then_some(system)).collect(),
    }
}

fn chooses_a_place(settings: &Settings) -> bool {
    // Variables such as XDG_RUNTIME_DIR set a default. They are not a choice for anchord.
    let is_chosen = |key| match settings.origins.of(key) {
        Some(Origin::Argument(_) | Origin::File { .. }) => true,
        Some(Origin::Variable(name)) => name.starts_with("ANCHORD_"),
        Some(Origin::Default) | None => false,
    };
    is_chosen("socket.path") || is_chosen("runtime_directory")
}

/// Whether a daemon is expected to run, even if none answers yet. Signs are a settings file, a chosen socket, or an
/// existing socket. The folder of a socket is no sign, because clients have their cache there.
pub fn is_awaited(settings: &Settings) -> bool {
    let has_socket = |socket: &DaemonSocket| fs_err::symlink_metadata(&socket.path).is_ok();
    settings.file.is_some()
        || settings.unread_file.is_some()
        || chooses_a_place(settings)
        || sockets(settings).iter().any(has_socket)
}

/// Whether this user may not see whether the file exists.
fn is_closed(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether a daemon's socket exists where clients with this environment look. They may lack permission to use it.
pub fn is_there(environment: &Environment) -> bool {
    let own = environment.get("XDG_RUNTIME_DIR").map(|folder| Path::new(folder).join("anchord/anchord.sock"));
    let mut sockets = own.into_iter().chain([PathBuf::from(SYSTEM_SOCKET)]);
    sockets.any(|socket| match fs_err::symlink_metadata(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    })
}

const SYSTEM_SOCKET: &str = "/run/anchord/anchord.sock";

/// What to ask about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its credentials.
    Credentials,
    /// Whether it has the settings that the caller gives.
    Settings,
    /// Its bearer for container credentials.
    Bearer,
}

/// Asks about a session, and sends the options that the caller itself gives for it.
pub async fn ask_for(
    session: &str,
    question: Question,
    (settings, sockets): (&Settings, &[DaemonSocket]),
    limit: Duration,
) -> DaemonAnswer {
    let stated = settings.stated();
    let asked = ask(sockets, &path_of(session, question, &stated), limit).await;
    if !matches!(asked, DaemonAnswer::Differs(_)) {
        return asked;
    }
    // The daemon may know the same files by other paths. This may block on a hanging file system, as would a direct
    // call to AWS.
    let settings = settings.clone();
    match tokio::task::spawn_blocking(move || settings.stated_by_any_path()).await {
        Ok(more) if more != stated => ask(sockets, &path_of(session, question, &more), limit).await,
        _ => asked,
    }
}

/// Reads the credentials in a daemon's answer to [`Question::Credentials`], received at `now`.
///
/// # Errors
/// If the answer is not a set of credentials.
pub fn credentials(answer: &Secret<Vec<u8>>, now: Moment) -> Result<Credentials, Failure> {
    process::read(answer.expose(), now)
        .ok_or_else(|| Failure::of(Reason::DaemonUnavailable, "the daemon's answer cannot be read", None))
}

fn path_of(session: &str, question: Question, stated: &[Fact]) -> String {
    let what = match question {
        Question::Credentials => "credential-process",
        Question::Settings => "settings",
        Question::Bearer => "bearer",
    };
    let stated: Vec<String> =
        stated.iter().map(|fact| format!("{}={:016x}", fact.option, fact.digest)).collect();
    let query = if stated.is_empty() { String::new() } else { format!("?{}", stated.join("&")) };
    format!("/v1/sessions/{session}/{what}{query}")
}

/// Asks the daemons at `sockets` in order, until one has the session.
pub async fn ask(sockets: &[DaemonSocket], path: &str, limit: Duration) -> DaemonAnswer {
    let mut differs = None;
    for socket in sockets {
        let gives_up_at = Instant::now() + limit;
        let asked = match connect(&socket.path, gives_up_at).await {
            Ok(stream) => answer(stream, &socket.path, path, limit, gives_up_at).await,
            Err(error) if is_absence(&error) => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let failure = access_denied::failure(&socket.path);
                if socket.is_the_hosts {
                    DaemonAnswer::Forbidden(failure)
                } else {
                    DaemonAnswer::Refused(failure)
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                DaemonAnswer::Refused(queue_full(&socket.path, limit))
            }
            Err(error) => DaemonAnswer::Refused(unreachable(&socket.path, &error)),
        };
        match asked {
            DaemonAnswer::Unknown(_) if socket.optional => {}
            // The next daemon may have the right one.
            DaemonAnswer::Differs(failure) => differs = differs.or(Some(failure)),
            asked => return asked,
        }
    }
    differs.map_or(DaemonAnswer::NoDaemon, DaemonAnswer::Differs)
}

/// Connects. Waits while the listener's queue is full.
async fn connect(path: &Path, gives_up_at: Instant) -> io::Result<UnixStream> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            // A Unix socket with a full queue refuses immediately, and gives no event once there is room. So this
            // polls.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < gives_up_at => {
                tokio::time::sleep_until(gives_up_at.min(Instant::now() + pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            connected => return connected,
        }
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// The renewed credentials from a daemon's answer, for a keeper that got `given` before. Other credentials than `given`
/// count as newer: the daemon knows AWS's clock and its current settings, and has decided which set lasts longer.
///
/// # Errors
/// The daemon's own error, or that it has no newer credentials yet. After the daemon's error the keeper asks again
/// soon, because the daemon itself pauses between calls to AWS. If there are no newer credentials, it asks again after
/// a part of the remaining life: a daemon may keep a set for hours, because it ends later than new ones would.
pub fn renewed(
    answer: Result<Credentials, Failure>,
    given: Option<&Credentials>,
    now: Moment,
) -> Result<Credentials, Failure> {
    let credentials = answer.map_err(|failure| failure.asked_here_again_in(PAUSE))?;
    match given {
        Some(given) if given.access_key_id() == credentials.access_key_id() => {
            let left = Duration::try_from(credentials.remaining(now)).unwrap_or_default();
            let hint = "`anchord status` shows why the daemon has not renewed them";
            let same = Failure::of(
                Reason::NoCredentialsYet,
                "the daemon has no newer credentials yet",
                Some(hint.into()),
            );
            Err(same.asked_here_again_in(PAUSE.max(left / 20)))
        }
        Some(given) => Ok(credentials.known_to_outlive(given)),
        None => Ok(credentials),
    }
}

/// Short, because a daemon pauses between calls to AWS itself and asking it is cheap.
const PAUSE: Duration = Duration::from_secs(5);

/// The error that no daemon listens on any of `sockets`.
pub fn no_daemon(sockets: &[DaemonSocket]) -> Failure {
    let paths: Vec<_> = sockets.iter().map(|socket| format!("`{}`", socket.path.display())).collect();
    let message = format!("no daemon listens on {}", paths.join(" or "));
    let hint = "start it with `anchord run`, or give its socket with --socket-path";
    Failure::of(Reason::NoDaemon, message, Some(hint.into()))
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::NotFound | Kind::ConnectionRefused | Kind::NotADirectory)
}

fn queue_full(socket: &Path, limit: Duration) -> Failure {
    let (socket, seconds) = (socket.display(), limit.as_secs());
    let message = format!("the daemon at `{socket}` accepted no connection within {seconds} s");
    let hint =
        format!("check whether the daemon is stopped or overloaded: `fuser -v {socket}` shows its process");
    Failure::of(Reason::DaemonUnavailable, message, Some(hint.into()))
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot reach the daemon at `{}`: {error}", socket.display());
    Failure::of(Reason::DaemonForbidden, message, None)
}

async fn answer(
    stream: UnixStream,
    socket: &Path,
    path: &str,
    limit: Duration,
    gives_up_at: Instant,
) -> DaemonAnswer {
    let failed = |what: &str| {
        let message = format!("the daemon at `{}` {what}", socket.display());
        DaemonAnswer::Refused(Failure::of(Reason::DaemonUnavailable, message, None))
    };
    match tokio::time::timeout_at(gives_up_at, exchange(stream, path)).await {
        Err(_) => failed(&format!("did not answer within {} s", limit.as_secs())),
        Ok(None) => failed("closed the connection before the end of its answer"),
        Ok(Some((StatusCode::OK, body))) => DaemonAnswer::Answered(body),
        Ok(Some((status, body))) => match serde_json::from_slice::<ErrorBody>(body.expose()) {
            Ok(ErrorBody { message, hint, class, reason_code }) => {
                let reason = Reason::of_words(reason_code.as_deref(), class.as_deref());
                let failure = Failure::of(reason, message, hint.map(Into::into));
                match status {
                    StatusCode::NOT_FOUND => DaemonAnswer::Unknown(failure),
                    StatusCode::CONFLICT => DaemonAnswer::Differs(failure),
                    _ => DaemonAnswer::Refused(failure),
                }
            }
            Err(_) => failed(&format!("answered {status}")),
        },
    }
}

async fn exchange(stream: UnixStream, path: &str) -> Option<(StatusCode, Secret<Vec<u8>>)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request =
        Request::get(path).header(http::header::HOST, "localhost").body(Empty::<Bytes>::new()).ok()?;
    let reply = async move {
        let reply = sender.send_request(request).await.ok()?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?;
        Some((status, Secret::new(body.to_bytes().to_vec())))
    };
    // The connection must be polled for the reply to arrive; it ends when the sender is dropped.
    let (reply, _) = tokio::join!(reply, connection);
    reply
}

#[cfg(test)]
mod tests {
    use anchord_core::failure::Class;

    use super::*;
    use anchord_config as config;
    use anchord_config::Arguments;

    const SESSION: &str = r#"
[session.web]
certificate = "leaf.pem"
private_key = "key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a"
profile_arn = "arn:aws:rolesanywhere:us-east-1:123456789012:profile/p"
role_arn = "arn:aws:iam::123456789012:role/r"
"#;

    /// The sockets that a user with this settings file and these arguments tries, optional ones with a `?`.
    fn looked_at(file: &str, arguments: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchord.toml");
        fs_err::write(&path, file).unwrap();
        let given = [("config", path.to_str().unwrap())].into_iter().chain(arguments.iter().copied());
        let environment = Environment::from_iter([("XDG_RUNTIME_DIR", "/run/user/7")]);
        let settings = config::load_for_client(Arguments::given(given).unwrap(), &environment).unwrap();
        let shown = |socket: &DaemonSocket| {
            format!("{}{}", socket.path.display(), if socket.optional { "?" } else { "" })
        };
        sockets(&settings).iter().map(shown).collect()
    }

    #[test]
    fn a_user_without_sessions_of_their_own_asks_the_systems_daemon_too() {
        assert_eq!(
            looked_at("", &[("session", "web")]),
            ["/run/user/7/anchord/anchord.sock", "/run/anchord/anchord.sock"]
        );
    }

    #[test]
    fn a_daemon_is_expected_if_anything_says_that_one_runs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("anchord.toml");
        fs_err::write(&file, "").unwrap();
        let runtime = folder.path().to_str().unwrap();
        let is_awaited = |given: &[(&str, &str)], variables: &[(&str, &str)]| {
            let variables = variables.iter().copied().chain([("XDG_RUNTIME_DIR", runtime)]);
            let environment = Environment::from_iter(variables).with_uid(7);
            let arguments = Arguments::given(given.iter().copied().chain([("session", "web")])).unwrap();
            is_awaited(&config::load_flags_for_client(arguments, &environment).unwrap())
        };
        let with_file = config::load_for_client(
            Arguments::given([("session", "web"), ("config", file.to_str().unwrap())]).unwrap(),
            &Environment::from_iter([("XDG_RUNTIME_DIR", runtime)]).with_uid(7),
        );

        assert!(super::is_awaited(&with_file.unwrap()));
        assert!(is_awaited(&[("socket-path", "/nowhere/a.sock")], &[]));
        assert!(is_awaited(&[], &[("ANCHORD_RUNTIME_DIRECTORY", "/nowhere")]));
        fs_err::create_dir_all(folder.path().join("anchord/cache")).unwrap();
        let is_on_this_host = Path::new(SYSTEM_SOCKET).exists();
        assert_eq!(is_awaited(&[], &[]), is_on_this_host, "the cache of clients is no sign");
        fs_err::write(folder.path().join("anchord/anchord.sock"), "").unwrap();
        assert!(is_awaited(&[], &[]));
    }

    #[test]
    fn another_daemons_session_never_replaces_ones_own() {
        assert_eq!(looked_at(SESSION, &[]), ["/run/user/7/anchord/anchord.sock"]);
    }

    #[test]
    fn a_place_that_was_named_is_the_only_one() {
        assert_eq!(looked_at("", &[("socket-path", "/tmp/a.sock")]), ["/tmp/a.sock"]);
        assert_eq!(looked_at("", &[("runtime-directory", "/tmp/a")]), ["/tmp/a/anchord.sock"]);
    }

    #[tokio::test]
    async fn a_daemon_that_may_be_missing_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere =
            DaemonSocket { path: folder.path().join("none.sock"), optional: false, is_the_hosts: false };
        let stale = folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let sockets = [nowhere, DaemonSocket { path: stale, optional: true, is_the_hosts: true }];

        assert!(matches!(ask(&sockets, "/v1/status", Duration::from_secs(5)).await, DaemonAnswer::NoDaemon));
    }

    /// A listener whose queue is full, and what fills it.
    fn crowded_listener(path: &Path) -> (tokio::net::UnixListener, Vec<std::os::unix::net::UnixStream>) {
        use rustix::net;
        let flags = net::SocketFlags::NONBLOCK;
        let socket =
            || net::socket_with(net::AddressFamily::UNIX, net::SocketType::STREAM, flags, None).unwrap();
        let (listener, address) = (socket(), net::SocketAddrUnix::new(path).unwrap());
        net::bind(&listener, &address).unwrap();
        net::listen(&listener, 1).unwrap();
        let mut queued = Vec::new();
        loop {
            let client = socket();
            match net::connect(&client, &address) {
                Ok(()) => queued.push(client.into()),
                Err(error) => {
                    assert_eq!(error, rustix::io::Errno::AGAIN);
                    return (tokio::net::UnixListener::from_std(listener.into()).unwrap(), queued);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_waits_for_room_in_a_full_queue() {
        use tokio::io::AsyncWriteExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crowded.sock");
        let (listener, queued) = crowded_listener(&path);
        let sockets = [DaemonSocket { path, optional: false, is_the_hosts: false }];
        // It begins when the client has found the queue full.
        let serve = async {
            for _ in &queued {
                listener.accept().await.unwrap();
            }
            let (mut ours, _) = listener.accept().await.unwrap();
            ours.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            ours
        };

        let (asked, _ours) =
            tokio::join!(biased; ask(&sockets, "/v1/status", Duration::from_secs(30)), serve);

        let DaemonAnswer::Answered(body) = asked else { panic!("the client was sent away") };
        assert_eq!(body.expose(), b"ok");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stays_full_is_told_when_the_patience_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crowded.sock");
        let _crowded = crowded_listener(&path);
        let (started, sockets) =
            (Instant::now(), [DaemonSocket { path, optional: false, is_the_hosts: false }]);

        let asked = ask(&sockets, "/v1/status", Duration::from_secs(5)).await;

        let DaemonAnswer::Refused(failure) = asked else { panic!("nobody has answered") };
        assert_eq!((failure.class(), started.elapsed()), (Class::Transient, Duration::from_secs(5)));
        let text = failure.to_string();
        assert!(
            text.contains("crowded.sock` accepted no connection within 5 s; hint: check whether"),
            "{text}"
        );
    }
}
