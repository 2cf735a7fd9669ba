//! What the daemon's memory holds of sessions that were renewed: nothing, whatever it handed out and however.
//!
//! The test reads the process's memory as a debugger does. The daemon forbids that to its own user, so only root can
//! play it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anchord_core::event;
use anchord_emulator::IssuedCredentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use anchord_testing::stage::Daemon;
use anchord_testing::stage::Stage;
use anchord_testing::stage::client;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process::PATIENCE;

/// The forms in which a secret could lie about. Parts are enough to find it: buffers are often overwritten in part.
fn needles(set: &IssuedCredentials) -> Vec<(&'static str, Vec<u8>)> {
    const LENGTH: usize = 24;
    let token = set.session_token.as_bytes();
    let key = set.secret_access_key.as_bytes();
    let mut found = vec![("secret access key", key.to_vec())];
    for start in (0..token.len() - LENGTH).step_by(100) {
        found.push(("session token", token[start..start + LENGTH].to_vec()));
    }
    for (what, secret) in [("secret access key in base64", key), ("session token in base64", &token[40..140])]
    {
        // A text in base64 begins at any of three places in a group of four letters.
        for skipped in 0..3 {
            let part = &secret[skipped..];
            let part = &part[..part.len() / 3 * 3];
            found.push((what, STANDARD.encode(part).into_bytes()));
            found.push((what, URL_SAFE_NO_PAD.encode(part).into_bytes()));
        }
    }
    found
}

/// The number of a set, the form of its secret, and the text to look for.
type Needle = (usize, &'static str, Vec<u8>);

/// Finds many texts in one pass.
#[derive(Default)]
struct Search {
    /// By their first eight bytes.
    needles: BTreeMap<[u8; 8], Vec<Needle>>,
    /// Which pairs of bytes a text begins with.
    begins: Vec<bool>,
}

impl Search {
    fn of(sets: &[IssuedCredentials]) -> Self {
        let mut search = Self { begins: vec![false; 1 << 16], ..Self::default() };
        for (nth, set) in sets.iter().enumerate() {
            for (what, needle) in needles(set) {
                search.begins[usize::from(u16::from_le_bytes([needle[0], needle[1]]))] = true;
                let head = needle[..8].try_into().unwrap();
                search.needles.entry(head).or_default().push((nth, what, needle));
            }
        }
        search
    }

    /// The number of the set and the form of each text in `memory`.
    fn found_in(&self, memory: &[u8]) -> Vec<(usize, &'static str)> {
        let mut found = Vec::new();
        for at in 0..memory.len().saturating_sub(8) {
            if self.begins[usize::from(u16::from_le_bytes([memory[at], memory[at + 1]]))] {
                let here = &memory[at..];
                let candidates = self.needles.get(&here[..8]).into_iter().flatten();
                let there = candidates.filter(|(_, _, needle)| here.starts_with(needle));
                found.extend(there.map(|(nth, what, _)| (*nth, *what)));
            }
        }
        found
    }
}

/// The writable mappings of a process with their names; `None` if this user may not look into it.
fn memory_of(process: u32) -> Option<Vec<(String, Vec<u8>)>> {
    let maps = fs_err::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let memory = fs_err::File::open(format!("/proc/{process}/mem")).ok()?;
    let mut found = Vec::new();
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut content = vec![0; usize::try_from(end - start).unwrap()];
        if memory.file().read_exact_at(&mut content, start).is_ok() {
            let name = line.split_whitespace().nth(5).unwrap_or("heap of a thread, or a stack");
            found.push((name.to_owned(), content));
        }
    }
    Some(found)
}

/// A connection of a client that keeps it open.
struct KeptAlive {
    stream: TcpStream,
    host: String,
}

impl KeptAlive {
    async fn to(host: &str) -> Self {
        Self { stream: TcpStream::connect(host).await.unwrap(), host: host.to_owned() }
    }

    /// Whether it got an answer with credentials. Just before a renewal there may be none.
    async fn ask(&mut self, path: &str, header: &str) -> bool {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{header}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 16 << 10];
        let length = self.stream.read(&mut answer).await.unwrap();
        answer[..length].starts_with(b"HTTP/1.1 200")
    }
}

const RENEWALS: usize = 20;
/// Each is renewed every two seconds or faster, all at the same time.
const SESSIONS: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];
const TREE: &str = "/latest/meta-data/iam/security-credentials/";

/// The short sessions, and one whose first credentials end as soon as they have got it the second ones.
fn configure(stage: &Stage) {
    let endpoint = stage.emulator.endpoint();
    let step = "[[session.chained.assume_role]]\nrole_arn = \"arn:aws:iam::210987654321:role/models\"\n";
    let chained = format!("{}sts_endpoint = \"{endpoint}\"\n{step}", stage.session("chained"));
    let file = "[credentials_file.f]\nsession = \"s0\"\nprofile = \"default\"\npath = \"credentials\"\n";
    let sessions = SESSIONS.map(|name| stage.session(name)).concat();
    stage.configure(&format!("[imds]\nsession = \"s0\"\n{sessions}{chained}{file}"));
}

/// Asks on every channel after each renewal, until there were enough. Returns connections that clients keep open.
async fn play(stage: &Stage, daemon: &Daemon) -> (KeptAlive, KeptAlive) {
    let http = daemon.http().await;
    let token = client::imds_token(&http).await;
    let role = format!("{TREE}{}", client::imds_list(&http, &token).await.body);
    let token = format!("x-aws-ec2-metadata-token: {token}");
    let (mut imds, mut container) = (KeptAlive::to(&http).await, KeptAlive::to(&http).await);
    let mut answered = [0; 3];
    for renewals in 1..=RENEWALS {
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, SESSIONS.len() + 1 + renewals).await;
        answered[0] += usize::from(imds.ask(&role, &token).await);
        for session in SESSIONS {
            let bearer = format!("authorization: {}", stage.bearer(session));
            answered[1] += usize::from(container.ask(&format!("/v1/credentials/{session}"), &bearer).await);
            answered[2] += usize::from(client::socket(&stage.socket(), session).await.status == 200);
        }
    }
    assert!(answered.iter().all(|answered| *answered >= RENEWALS / 2), "{answered:?}");
    assert!(daemon.count(event::FILE_WRITTEN) > 1);
    (imds, container)
}

/// Lets each session have credentials that stay, and returns their ids.
async fn come_to_rest(stage: &Stage, daemon: &Daemon) -> Vec<String> {
    stage.emulator.set_profile_duration(&stage.profile, 3600);
    for renewals in daemon.count(event::CREDENTIALS_RENEWED).. {
        let mut ids = Vec::new();
        for session in SESSIONS.iter().copied().chain(["chained"]) {
            let answer = client::socket(&stage.socket(), session).await;
            ids.extend((answer.status == 200).then(|| answer.key_id()));
        }
        let soon = stage.emulator.now() + time::Duration::minutes(30);
        let stays = |set: &IssuedCredentials| ids.contains(&set.access_key_id) && set.expires_at > soon;
        if stage.emulator.issued().iter().filter(|set| stays(set)).count() == SESSIONS.len() + 1 {
            return ids;
        }
        daemon.wait_for_nth(event::CREDENTIALS_RENEWED, renewals + 1).await;
    }
    unreachable!("the loop has no end of its own")
}

#[tokio::test]
async fn no_secret_of_an_ended_session_is_in_memory_after_20_renewals() {
    let stage = Stage::in_memory().await;
    stage.emulator.set_profile_duration(&stage.profile, 62);
    configure(&stage);
    let daemon = stage.daemon().await;
    if memory_of(daemon.id()).is_none() {
        return not_played("only root can look into the daemon's memory");
    }
    let _idle_connections = play(&stage, &daemon).await;
    let current = come_to_rest(&stage, &daemon).await;

    let issued = stage.emulator.issued();
    let (live, ended): (Vec<_>, Vec<_>) =
        issued.into_iter().partition(|set| current.contains(&set.access_key_id));
    assert!(ended.len() > RENEWALS, "{}", ended.len());
    let memory = memory_of(daemon.id()).unwrap();
    let seen: usize = memory.iter().map(|(_, content)| Search::of(&live).found_in(content).len()).sum();
    assert!(seen > 0, "not even the credentials in use are found: the search is broken");
    let (search, gives_up_at) = (Search::of(&ended), Instant::now() + PATIENCE);
    loop {
        let left = what_is_left(&search, &memory_of(daemon.id()).unwrap());
        if left.is_empty() {
            return;
        }
        // Connections to AWS stay open for some seconds, and hold what was sent last.
        assert!(Instant::now() < gives_up_at, "of {} ended sets there remain {left:?}", ended.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// By the place and the form, the numbers of the sets.
fn what_is_left(
    search: &Search,
    memory: &[(String, Vec<u8>)],
) -> BTreeMap<(String, &'static str), BTreeSet<usize>> {
    let mut left: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for (name, content) in memory {
        for (nth, what) in search.found_in(content) {
            left.entry((name.clone(), what)).or_default().insert(nth);
        }
    }
    left
}
