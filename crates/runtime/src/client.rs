//! Asks a running daemon through its Unix socket: what the verbs and embedding programs have in common.

mod locked_out;
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

/// Far above any answer, which is a set of credentials or the status of a few sessions.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// What came of asking.
pub enum Asked {
    /// The daemon's answer.
    Answered(Secret<Vec<u8>>),
    /// The daemon's refusal.
    Refused(Failure),
    /// The daemon has no such session.
    Unknown(Failure),
    /// The daemon's session of that name is another than the one that was asked for.
    Differs(Failure),
    /// The host's daemon is there, and this user may not use it.
    Forbidden(Failure),
    /// Nobody listens there.
    NoDaemon,
}

/// An error as the socket's front end writes it.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    hint: Option<String>,
    class: Option<String>,
    reason_code: Option<String>,
}

/// A place where a daemon may listen.
#[derive(Clone, Debug)]
pub struct Place {
    /// The socket.
    pub path: PathBuf,
    /// A daemon that does not know the session is not the one that is meant.
    optional: bool,
    /// The host's daemon, while its settings define the session too: a user whom it keeps out may have other ways.
    is_the_hosts: bool,
}

/// Where to look for a daemon: the place that the settings name, and the system's unless they name one or define
/// sessions of this user's own, which another daemon's sessions of the same name must not replace.
pub fn places(settings: &Settings) -> Vec<Place> {
    let has_own_sessions = !settings.sessions.is_empty() && !settings.file_is_the_systems();
    let has_choice = chooses_a_place(settings) || has_own_sessions;

    let defines_it = !settings.sessions.is_empty() && !has_choice;
    let own = settings.socket.as_ref().map(|socket| {
        let is_the_hosts = defines_it && socket.path == Path::new(SYSTEM_SOCKET);
        Place { path: socket.path.clone(), optional: false, is_the_hosts }
    });
    let system = Place { path: SYSTEM_SOCKET.into(), optional: defines_it, is_the_hosts: defines_it };
    match own {
        Some(own) if has_choice || own.path == system.path => vec![own],
        // After `su` XDG_RUNTIME_DIR may still be another user's: that user's daemon is not meant.
        Some(own) if is_closed(&own.path) => vec![system],
        own => own.into_iter().chain((!has_choice).then_some(system)).collect(),
    }
}

fn chooses_a_place(settings: &Settings) -> bool {
    // XDG_RUNTIME_DIR and the like decide a default; nobody chose it for anchord.
    let is_chosen = |key| match settings.origins.of(key) {
        Some(Origin::Argument(_) | Origin::File { .. }) => true,
        Some(Origin::Variable(name)) => name.starts_with("ANCHORD_"),
        Some(Origin::Default) | None => false,
    };
    is_chosen("socket.path") || is_chosen("runtime_directory")
}

/// Whether anything here says that a daemon is meant to run, though none answers yet: a settings file, a place that was
/// chosen for its socket, or a socket. Their folder is no sign, for clients keep their cache in it.
pub fn is_awaited(settings: &Settings) -> bool {
    let has_socket = |place: &Place| fs_err::symlink_metadata(&place.path).is_ok();
    settings.file.is_some()
        || settings.unread_file.is_some()
        || chooses_a_place(settings)
        || places(settings).iter().any(has_socket)
}

/// Whether this user may not even see what is there.
fn is_closed(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether the socket of a daemon is where clients of this environment look for one; it may be closed to them.
pub fn is_there(environment: &Environment) -> bool {
    let own = environment.get("XDG_RUNTIME_DIR").map(|folder| Path::new(folder).join("anchord/anchord.sock"));
    let mut sockets = own.into_iter().chain([PathBuf::from(SYSTEM_SOCKET)]);
    sockets.any(|socket| match fs_err::symlink_metadata(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    })
}

const SYSTEM_SOCKET: &str = "/run/anchord/anchord.sock";

/// What is asked of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its credentials.
    Credentials,
    /// Whether it is the one that the caller means.
    Settings,
}

/// Asks for a session, and says what the caller itself said of it.
pub async fn ask_for(
    session: &str,
    question: Question,
    (settings, places): (&Settings, &[Place]),
    limit: Duration,
) -> Asked {
    let stated = settings.stated();
    let asked = ask(places, &path_of(session, question, &stated), limit).await;
    if !matches!(asked, Asked::Differs(_)) {
        return asked;
    }
    // The daemon may know the same files by other paths. Where they hang, so would a call that is made here.
    let settings = settings.clone();
    match tokio::task::spawn_blocking(move || settings.stated_by_any_path()).await {
        Ok(more) if more != stated => ask(places, &path_of(session, question, &more), limit).await,
        _ => asked,
    }
}

/// The credentials of a daemon's answer to [`Question::Credentials`], as received at `now`.
///
/// # Errors
/// When the answer is not a set of credentials.
pub fn credentials(answer: &Secret<Vec<u8>>, now: Moment) -> Result<Credentials, Failure> {
    process::read(answer.expose(), now)
        .ok_or_else(|| Failure::of(Reason::DaemonUnavailable, "the daemon's answer cannot be read", None))
}

fn path_of(session: &str, question: Question, stated: &[Fact]) -> String {
    let what = match question {
        Question::Credentials => "credential-process",
        Question::Settings => "settings",
    };
    let stated: Vec<String> =
        stated.iter().map(|fact| format!("{}={:016x}", fact.option, fact.digest)).collect();
    let query = if stated.is_empty() { String::new() } else { format!("?{}", stated.join("&")) };
    format!("/v1/sessions/{session}/{what}{query}")
}

/// Asks the first of `places` at which a daemon listens that has the session.
pub async fn ask(places: &[Place], path: &str, limit: Duration) -> Asked {
    let mut differs = None;
    for place in places {
        let gives_up_at = Instant::now() + limit;
        let asked = match connect(&place.path, gives_up_at).await {
            Ok(stream) => answer(stream, &place.path, path, limit, gives_up_at).await,
            Err(error) if is_absence(&error) => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let failure = locked_out::failure(&place.path);
                if place.is_the_hosts { Asked::Forbidden(failure) } else { Asked::Refused(failure) }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Asked::Refused(crowded(&place.path, limit))
            }
            Err(error) => Asked::Refused(unreachable(&place.path, &error)),
        };
        match asked {
            Asked::Unknown(_) if place.optional => {}
            // The next one may have it.
            Asked::Differs(failure) => differs = differs.or(Some(failure)),
            asked => return asked,
        }
    }
    differs.map_or(Asked::NoDaemon, Asked::Differs)
}

/// Connects, waiting for room in the listener's queue.
async fn connect(path: &Path, gives_up_at: Instant) -> io::Result<UnixStream> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            // A Unix socket whose queue is full refuses at once, and tells nobody when there is room.
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

/// What a daemon handed out to a keeper that renews, unless it is what the keeper was given before. The daemon has decided
/// which of two sets AWS takes longer, by what it knows of AWS's clock, and whose they are to be by its settings of now.
///
/// # Errors
/// The daemon's own, to be asked again soon, for the daemon keeps the pauses; or that it has no newer ones yet, to be
/// asked again after a part of what these have left: a daemon may keep them for hours, because they end later than what
/// AWS grants now.
pub fn renewed(
    answer: Result<Credentials, Failure>,
    given: Option<&Credentials>,
    now: Moment,
) -> Result<Credentials, Failure> {
    let credentials = answer.map_err(|failure| failure.asked_here_again_in(PAUSE))?;
    match given {
        Some(given) if given.access_key_id() == credentials.access_key_id() => {
            let left = Duration::try_from(credentials.remaining(now)).unwrap_or_default();
            let hint = "see what keeps the daemon from renewing: anchord status";
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

/// The daemon keeps its own pauses; to ask it costs nothing.
const PAUSE: Duration = Duration::from_secs(5);

/// Says where nobody answered.
pub fn nobody(places: &[Place]) -> Failure {
    let paths: Vec<_> = places.iter().map(|place| format!("`{}`", place.path.display())).collect();
    let message = format!("no daemon listens on {}", paths.join(" or "));
    let hint = "start it with `anchord run`, or name its socket with --socket-path";
    Failure::of(Reason::NoDaemon, message, Some(hint.into()))
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::NotFound | Kind::ConnectionRefused | Kind::NotADirectory)
}

fn crowded(socket: &Path, limit: Duration) -> Failure {
    let (socket, seconds) = (socket.display(), limit.as_secs());
    let message = format!("the daemon at `{socket}` accepted no connection within {seconds} s");
    let hint = format!("check whether it is stopped or overloaded: `fuser -v {socket}` shows its process");
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
) -> Asked {
    let failed = |what: &str| {
        let message = format!("the daemon at `{}` {what}", socket.display());
        Asked::Refused(Failure::of(Reason::DaemonUnavailable, message, None))
    };
    match tokio::time::timeout_at(gives_up_at, exchange(stream, path)).await {
        Err(_) => failed(&format!("did not answer within {} s", limit.as_secs())),
        Ok(None) => failed("broke off its answer"),
        Ok(Some((StatusCode::OK, body))) => Asked::Answered(body),
        Ok(Some((status, body))) => match serde_json::from_slice::<Refusal>(body.expose()) {
            Ok(Refusal { message, hint, class, reason_code }) => {
                let reason = Reason::of_words(reason_code.as_deref(), class.as_deref());
                let failure = Failure::of(reason, message, hint.map(Into::into));
                match status {
                    StatusCode::NOT_FOUND => Asked::Unknown(failure),
                    StatusCode::CONFLICT => Asked::Differs(failure),
                    _ => Asked::Refused(failure),
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

    /// Where a user with this settings file and these arguments would look, optional places with a `?`.
    fn looked_at(file: &str, arguments: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchord.toml");
        fs_err::write(&path, file).unwrap();
        let given = [("config", path.to_str().unwrap())].into_iter().chain(arguments.iter().copied());
        let environment = Environment::from_iter([("XDG_RUNTIME_DIR", "/run/user/7")]);
        let settings = config::load_for_client(Arguments::given(given).unwrap(), &environment).unwrap();
        let shown =
            |place: &Place| format!("{}{}", place.path.display(), if place.optional { "?" } else { "" });
        places(&settings).iter().map(shown).collect()
    }

    #[test]
    fn a_user_without_sessions_of_their_own_asks_the_systems_daemon_too() {
        assert_eq!(
            looked_at("", &[("session", "web")]),
            ["/run/user/7/anchord/anchord.sock", "/run/anchord/anchord.sock"]
        );
    }

    #[test]
    fn a_daemon_is_waited_for_where_anything_says_that_one_is_meant() {
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
        let nowhere = Place { path: folder.path().join("none.sock"), optional: false, is_the_hosts: false };
        let stale = folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let places = [nowhere, Place { path: stale, optional: true, is_the_hosts: true }];

        assert!(matches!(ask(&places, "/v1/status", Duration::from_secs(5)).await, Asked::NoDaemon));
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
        let places = [Place { path, optional: false, is_the_hosts: false }];
        // It begins when the client has found the queue full.
        let serve = async {
            for _ in &queued {
                listener.accept().await.unwrap();
            }
            let (mut ours, _) = listener.accept().await.unwrap();
            ours.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            ours
        };

        let (asked, _ours) = tokio::join!(biased; ask(&places, "/v1/status", Duration::from_secs(30)), serve);

        let Asked::Answered(body) = asked else { panic!("the client was sent away") };
        assert_eq!(body.expose(), b"ok");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_stays_full_is_told_when_the_patience_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crowded.sock");
        let _crowded = crowded_listener(&path);
        let (started, places) = (Instant::now(), [Place { path, optional: false, is_the_hosts: false }]);

        let asked = ask(&places, "/v1/status", Duration::from_secs(5)).await;

        let Asked::Refused(failure) = asked else { panic!("nobody has answered") };
        assert_eq!((failure.class(), started.elapsed()), (Class::Transient, Duration::from_secs(5)));
        let text = failure.to_string();
        assert!(
            text.contains("crowded.sock` accepted no connection within 5 s; hint: check whether"),
            "{text}"
        );
    }
}
