//! The way to AWS: trust, limits, proxy, one connection.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anchord_config::Settings;
use anchord_core::clock::Clock;
use anchord_core::credentials::Credentials;
use anchord_core::failure::Class;
use anchord_core::failure::Failure;
use anchord_core::issuer::Issuer;
use anchord_core::secret::Secret;
use anchord_emulator::Authority;
use anchord_emulator::Fault;
use anchord_emulator::KeyKind;
use anchord_runtime::assembly;
use anchord_runtime::assembly::Seams;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::outage::settings;
use crate::outage::what_blocks_ends;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process;

fn issuer(settings: &Settings) -> Arc<dyn Issuer> {
    let clock = Clock::system();
    let transport = assembly::transport(settings, &Seams::real()).unwrap();
    assembly::issuer(
        &settings.sessions[0],
        assembly::identity(&settings.sessions[0]),
        transport,
        &clock,
        None,
    )
}

pub(crate) async fn issue(stage: &Stage, change: impl FnOnce(&mut Settings)) -> Result<Credentials, Failure> {
    let mut settings = settings(stage);
    change(&mut settings);
    issuer(&settings).issue().await
}

#[tokio::test]
async fn calls_share_one_connection() {
    let stage = Stage::new().await;
    let issuer = issuer(&settings(&stage));

    for _ in 0..3 {
        issuer.issue().await.unwrap();
    }

    assert_eq!((stage.emulator.sessions_created(), stage.emulator.connections()), (3, 1));
}

/// As when a daemon with many sessions starts.
#[tokio::test]
async fn many_calls_at_once_wait_for_few_connections() {
    const CALLS: usize = 200;
    let stage = Stage::new().await;
    let settings = settings(&stage);
    let clock = Clock::system();
    let transport = assembly::transport(&settings, &Seams::real()).unwrap();
    let session = &settings.sessions[0];

    let calls = (0..CALLS).map(|_| {
        let issuer =
            assembly::issuer(session, assembly::identity(session), Arc::clone(&transport), &clock, None);
        async move { issuer.issue().await }
    });
    let made = futures_util::future::join_all(calls).await;

    assert!(made.iter().all(Result::is_ok), "{made:?}");
    // Sixteen at once; one that a call finds a moment after it began to open another is counted too.
    let connections = stage.emulator.connections();
    assert!((1..=40).contains(&connections), "{connections} connections for {CALLS} calls");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let stage = Stage::new().await;
    let issuer = issuer(&settings(&stage));

    issuer.issue().await.unwrap();
    stage.emulator.drop_connections();
    // A request that is written before the end is seen is lost with the connection.
    what_blocks_ends().await;
    issuer.issue().await.unwrap();

    assert_eq!((stage.emulator.sessions_created(), stage.emulator.connections()), (2, 2));
}

#[tokio::test]
async fn only_the_roots_of_the_ca_file_are_trusted() {
    let stage = Stage::new().await;
    stage.write("other-ca.pem", stage.root.certificate_pem());

    let failure = issue(&stage, |s| s.upstream.ca_file = Some(stage.path("other-ca.pem"))).await.unwrap_err();

    assert_eq!(failure.class(), Class::Misconfigured, "{failure}");
    assert!(
        failure.to_string().contains("no CA in the CA file `")
            && failure
                .to_string()
                .contains("other-ca.pem` issued it; hint: add the server's root to that file"),
        "{failure}"
    );
    assert_eq!(stage.emulator.requests().len(), 0);
}

/// A CA may keep its name with a new key.
#[tokio::test]
async fn a_ca_file_with_a_namesake_of_the_servers_ca_is_named_with_what_is_wrong() {
    let stage = Stage::new().await;
    let namesake = Authority::root("Emulator TLS CA", KeyKind::P256).unwrap();
    stage.write("other-ca.pem", namesake.certificate_pem());

    let failure = issue(&stage, |s| s.upstream.ca_file = Some(stage.path("other-ca.pem"))).await.unwrap_err();

    assert_eq!(failure.class(), Class::Misconfigured, "{failure}");
    let told = failure.to_string();
    assert!(told.contains("BadSignature, no CA in the CA file `"), "{told}");
    let expected =
        "other-ca.pem` issued it: the CA with the issuer's name has another key; hint: add the server's root";
    assert!(told.contains(expected), "{told}");
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_used_is_told_at_start() {
    let stage = Stage::new().await;
    for (content, expected) in
        [(None, "No such file or directory"), (Some("garbage"), "holds no certificate in PEM")]
    {
        match content {
            Some(text) => stage.write("tls-ca.pem", text),
            None => fs_err::remove_file(stage.path("tls-ca.pem")).unwrap(),
        }
        let ran = stage.run(&["run"]).await;

        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("tls-ca.pem") && ran.stderr.contains(expected), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: set `upstream.ca_file`"), "{}", ran.stderr);
    }
}

/// The root of the endpoint stands behind a damaged section, and before another one.
#[tokio::test]
async fn what_is_whole_in_a_ca_file_is_used_and_the_rest_is_told_with_its_line() {
    let stage = Stage::new().await;
    let (good, other) =
        (fs_err::read_to_string(stage.path("tls-ca.pem")).unwrap(), stage.root.certificate_pem());
    let cut = "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n";
    let joined = format!("{}{other}", other.trim_end());
    stage.write("tls-ca.pem", &format!("\u{feff}{cut}{good}{joined}"));

    let used = stage.run(&["credential-process", "--session", "bedrock", "--no-cache"]).await;
    let checked = stage.run(&["config", "check"]).await;

    assert_eq!((used.code, checked.code), (0, 0), "{}", used.stderr);
    for expected in [
        "tls-ca.pem` is not used: line 1: a section is not base64",
        "shares its line with something else; hint:",
    ] {
        assert!(checked.stdout.contains(expected), "{}", checked.stdout);
    }

    stage.write("tls-ca.pem", &format!("{cut}{other}"));
    let failed = stage.run(&["credential-process", "--session", "bedrock", "--no-cache"]).await;
    assert_eq!(failed.code, 1);
    for expected in [
        "no CA in the CA file",
        "tls-ca.pem",
        "1 certificate in the file cannot be used, the first at line 1",
    ] {
        assert!(failed.stderr.contains(expected), "{}", failed.stderr);
    }

    stage.write("tls-ca.pem", cut);
    let empty = stage.run(&["credential-process", "--session", "bedrock", "--no-cache"]).await;
    assert!(
        empty.stderr.contains("holds no certificate in PEM that can be used: line 1"),
        "{}",
        empty.stderr
    );
}

/// Nobody writes into the pipe, and the device has no end.
#[tokio::test]
async fn a_pipe_or_a_device_in_the_ca_files_place_is_not_waited_for() {
    let stage = Stage::new().await;
    let pipe = stage.path("tls-ca.pem");
    fs_err::remove_file(&pipe).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();

    for place in [pipe.to_str().unwrap(), "/dev/zero"] {
        let ran = stage.run(&["credential-process", "--session", "bedrock", "--ca-file", place]).await;

        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains("not a regular file; hint: set `upstream.ca_file`"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_with_the_read_time_out() {
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Hold]);

    let failure = issue(&stage, |s| {
        s.upstream.connect_timeout = Some(Duration::from_millis(400));
        s.upstream.read_timeout = Some(Duration::from_millis(100));
    })
    .await
    .unwrap_err();

    assert_eq!(failure.class(), Class::Transient);
    assert!(failure.to_string().contains("`upstream.read_timeout`"), "{failure}");
    assert_eq!(stage.emulator.requests().len(), 1, "it had arrived");
}

/// The limit on reading is for AWS's silence, not for the way to it.
#[tokio::test]
async fn a_short_read_time_out_does_not_shorten_connecting() {
    let stage = Stage::new().await;

    // The head may use what connecting left of its limit; whether the body's first piece is late is chance.
    let _ = issue(&stage, |s| {
        s.upstream.connect_timeout = Some(Duration::from_secs(30));
        s.upstream.read_timeout = Some(Duration::from_nanos(1));
    })
    .await;

    assert_eq!(stage.emulator.sessions_created(), 1);
}

/// TCP connects, by way of the backlog, but TLS never begins.
#[tokio::test]
async fn a_connection_that_is_not_made_ends_with_the_connect_time_out() {
    let stage = Stage::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", silent.local_addr().unwrap());

    let failure = issue(&stage, |s| {
        s.upstream.connect_timeout = Some(Duration::from_millis(100));
        s.upstream.read_timeout = None;
        if let anchord_config::CredentialSource::RolesAnywhere(source) = &mut s.sessions[0].source {
            source.first.endpoint = Some(endpoint);
        }
    })
    .await
    .unwrap_err();

    assert_eq!(failure.class(), Class::Transient);
    assert!(failure.to_string().contains("`upstream.connect_timeout`"), "{failure}");
}

#[tokio::test]
async fn without_limits_a_slow_answer_is_waited_for() {
    let stage = Stage::new().await;
    stage.emulator.script([Fault::Hold]);
    let unlimited = issue(&stage, |s| (s.upstream.connect_timeout, s.upstream.read_timeout) = (None, None));

    let release = async {
        stage.emulator.wait_for_held(1).await;
        stage.emulator.release();
    };
    let (issued, ()) = tokio::join!(unlimited, release);

    assert!(issued.is_ok());
}

#[tokio::test]
async fn an_oversized_a_truncated_and_a_broken_answer_are_transient_failures() {
    let stage = Stage::new().await;
    for fault in [Fault::Oversized, Fault::Truncated, Fault::Reset, Fault::Malformed] {
        stage.emulator.script([fault.clone()]);

        let failure = issue(&stage, |_| {}).await.unwrap_err();

        assert_eq!(failure.class(), Class::Transient, "{fault:?}: {failure}");
    }
    assert!(issue(&stage, |_| {}).await.is_ok());
}

/// A CONNECT proxy that notes what it was asked.
pub(crate) struct ConnectProxy {
    pub(crate) address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, Arc::clone(&noted)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(mut client: TcpStream, noted: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Whoever only looks whether somebody listens says nothing.
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    noted.lock().unwrap().push(head);
    let mut server = TcpStream::connect(target).await.unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

#[tokio::test]
async fn the_proxy_is_used_with_its_login_except_for_no_proxy_hosts() {
    let stage = Stage::new().await;
    let proxy = ConnectProxy::start().await;
    let url = format!("http://user:p%40ss@{}", proxy.address);
    let with = |no_proxy: Option<&str>| {
        let (url, no_proxy) = (Secret::new(url.clone()), no_proxy.map(str::to_owned));
        issue(&stage, move |s| (s.upstream.proxy, s.upstream.no_proxy) = (Some(url), no_proxy))
    };

    with(None).await.unwrap();
    with(Some("example.com,127.0.0.1")).await.unwrap();

    let [head] = proxy.heads().try_into().unwrap();
    assert!(head.starts_with(&format!("CONNECT {} ", stage.emulator.address())), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz"), "{head}");
    assert_eq!(stage.emulator.sessions_created(), 2);
}

#[tokio::test]
async fn the_proxy_variables_reach_the_transport_and_no_other_variable_does() {
    let stage = Stage::new().await;
    let proxy = ConnectProxy::start().await;
    let ask = |variables: Vec<(&'static str, String)>| {
        let mut command = process::anchord();
        command
            .args(["credential-process", "--session", "bedrock", "--config"])
            .arg(stage.path("anchord.toml"));
        // No HOME: each process makes its own call.
        command.envs(variables);
        process::to_the_end(command)
    };
    let url = || format!("http://{}", proxy.address);

    let proxied = ask(vec![("HTTPS_PROXY", url())]).await;
    let excepted = ask(vec![("HTTPS_PROXY", url()), ("NO_PROXY", "127.0.0.1".into())]).await;
    let plain_only = ask(vec![("HTTP_PROXY", url())]).await;

    assert!([&proxied, &excepted, &plain_only].iter().all(|ran| ran.code == 0), "{proxied:?} {excepted:?}");
    assert_eq!(proxy.heads().len(), 1);
    assert_eq!(stage.emulator.sessions_created(), 3);
}

#[tokio::test]
async fn a_proxy_of_an_unknown_scheme_is_refused_by_every_verb_and_not_passed_over() {
    let stage = Stage::new().await;
    for (verb, arguments) in [
        ("credential-process", &["--session", "bedrock"] as &[&str]),
        ("check", &[]),
        ("run", &[]),
        ("config check", &[]),
    ] {
        for (url, hint) in [
            ("htp://user:canary@127.0.0.1:9", "the form is http://host:port"),
            ("ftp://x:1", "the form is http://host:port"),
            ("socks5://127.0.0.1:1080", "SOCKS is not supported"),
        ] {
            let mut command = process::anchord();
            command.args(verb.split(' ')).arg("--config").arg(stage.path("anchord.toml")).args(arguments);
            command.env("HTTPS_PROXY", url);

            let ran = process::to_the_end(command).await;

            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                ran.code != 0 && told.contains("names a proxy that is neither http nor https"),
                "{verb}: {told}"
            );
            assert!(told.contains(hint) && !told.contains("canary"), "{verb}: {told}");
        }
    }
    assert_eq!(stage.emulator.requests().len(), 0);
}

#[tokio::test]
async fn a_dead_proxy_is_a_failure_that_prints_no_password() {
    let stage = Stage::new().await;

    let failure = issue(&stage, |s| {
        s.upstream.proxy = Some(Secret::new("http://user:canary@127.0.0.1:1".into()));
    })
    .await
    .unwrap_err();

    assert_eq!(failure.class(), Class::Transient);
    assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure}");
}

/// A proxy that answers each CONNECT with this head, and what it was asked.
async fn refusing_proxy(head: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = client.read(&mut request).await.unwrap();
            noted.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).to_ascii_lowercase());
            client.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_named_with_its_status_and_what_it_wants() {
    let stage = Stage::new().await;
    let cases = [
        ("", "407 Proxy Authentication Required", "hint: the proxy requires a login"),
        ("user:canary@", "407 Proxy Authentication Required", "hint: the proxy refuses this login"),
        (
            "",
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM",
            "hint: the proxy does not accept Basic authentication",
        ),
        (
            "",
            "407 Proxy Authentication Required\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=\"a\"",
            "hint: the proxy requires a login",
        ),
        (
            "user:canary@",
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate, NTLM",
            "hint: the proxy does not accept Basic authentication",
        ),
        (
            "user:canary@",
            "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"a\"",
            "hint: the proxy refuses this login",
        ),
        ("", "401 Unauthorized", "hint: the server is a web server"),
        ("", "511 Network Authentication Required", "hint: a captive portal intercepts the connection"),
        ("", "403 Forbidden", "hint: the proxy forbids this endpoint"),
        ("", "502 Bad Gateway", "hint: the proxy cannot reach the endpoint"),
        ("", "504 Gateway Timeout", "hint: the proxy cannot reach the endpoint"),
        ("", "405 Method Not Allowed", "hint: the server there does not open tunnels"),
        (
            "",
            "302 Found\r\nLocation: https://login.corp/?t=canary",
            "hint: a captive portal intercepts the connection",
        ),
    ];
    for (login, head, hint) in cases {
        let (address, _) = refusing_proxy(format!("HTTP/1.1 {head}").leak()).await;
        let url = Secret::new(format!("http://{login}{address}"));

        let failure = issue(&stage, |s| s.upstream.proxy = Some(url)).await.unwrap_err();

        assert_eq!(failure.class(), Class::Transient, "{failure}");
        let status = head.lines().next().unwrap();
        let told = format!("the proxy {address} did not open a tunnel: it answered {status}");
        let text = failure.to_string();
        assert!(text.contains(&told) && text.contains(hint) && !text.contains("canary"), "{text}");
    }
    assert_eq!(stage.emulator.requests().len(), 0);
}

/// Accounts are locked after a few wrong passwords.
#[tokio::test]
async fn a_login_that_a_proxy_refuses_is_sent_once() {
    let stage = Stage::new().await;
    let (address, asked) = refusing_proxy("HTTP/1.1 407 Proxy Authentication Required").await;
    let url = Secret::new(format!("http://user:wrong@{address}"));

    issue(&stage, |s| s.upstream.proxy = Some(url)).await.unwrap_err();

    let logins = asked.lock().unwrap().iter().filter(|head| head.contains("proxy-authorization")).count();
    assert_eq!(logins, 1);
}

/// Such as the port of SSH, or of TLS.
#[tokio::test]
async fn what_is_no_http_proxy_is_told_from_a_proxy_that_refuses() {
    let stage = Stage::new().await;
    let (address, _) = refusing_proxy("SSH-2.0-OpenSSH_9.2").await;
    let url = Secret::new(format!("http://{address}"));

    let text = issue(&stage, |s| s.upstream.proxy = Some(url)).await.unwrap_err().to_string();

    assert!(
        text.contains(&format!("the proxy {address} did not open a tunnel: its answer is not HTTP")),
        "{text}"
    );
    assert!(text.contains("hint: the server there is not an HTTP proxy"), "{text}");
}

/// `HTTPS_PROXY=user:password` without a host is no URL, and its second half is no port.
#[tokio::test]
async fn a_malformed_proxy_is_refused_by_every_verb_and_none_of_it_is_shown() {
    let stage = Stage::new().await;
    for (verb, arguments) in
        [("credential-process", &["--session", "bedrock"] as &[&str]), ("check", &[]), ("config check", &[])]
    {
        for url in ["user:canary", "http://user:canary", "htp:/canary", "http:/canary:1", "socks5h:canary:9"]
        {
            let mut command = process::anchord();
            command.args(verb.split(' ')).arg("--config").arg(stage.path("anchord.toml")).args(arguments);
            command.env("HTTPS_PROXY", url);

            let ran = process::to_the_end(command).await;

            let told = format!("{}{}", ran.stdout, ran.stderr);
            assert!(ran.code != 0 && told.contains("names a proxy w"), "{verb} {url}: {told}");
            assert!(!told.contains("canary"), "{verb} {url}: {told}");
        }
    }
}

#[tokio::test]
async fn a_proxys_password_may_hold_what_ends_a_host_in_urls() {
    let stage = Stage::new().await;
    let proxy = ConnectProxy::start().await;
    let url = Secret::new(format!("http://user:a/b?c#d@{}", proxy.address));

    issue(&stage, |s| s.upstream.proxy = Some(url)).await.unwrap();

    let [head] = proxy.heads().try_into().unwrap();
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjphl2i/yynk"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_named() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Secret::new(format!("http://{address}"));

    let text = issue(&stage, |s| s.upstream.proxy = Some(url)).await.unwrap_err().to_string();

    assert!(text.contains(&format!("through the proxy {address}")), "{text}");
    assert!(text.contains("hint: make sure that HTTPS_PROXY names the proxy's host and port"), "{text}");
}

#[tokio::test]
async fn a_domain_in_a_proxys_login_is_not_taken_for_its_host() {
    let stage = Stage::new().await;
    let proxy = ConnectProxy::start().await;
    let url = Secret::new(format!("http://DOMAIN\\user:secret@{}", proxy.address));

    issue(&stage, |s| s.upstream.proxy = Some(url)).await.unwrap();

    let [head] = proxy.heads().try_into().unwrap();
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic"), "{head}");
}

#[tokio::test]
async fn every_form_of_no_proxy_leads_past_the_proxy() {
    let stage = Stage::new().await;
    let proxy = ConnectProxy::start().await;
    let port = stage.emulator.endpoint().rsplit(':').next().unwrap().to_owned();

    for list in ["*", "127.0.0.0/8", &format!("127.0.0.1:{port}"), "a.example, 127.0.0.1"] {
        let (url, list) = (Secret::new(format!("http://{}", proxy.address)), list.to_owned());
        issue(&stage, |s| (s.upstream.proxy, s.upstream.no_proxy) = (Some(url), Some(list))).await.unwrap();
    }

    assert_eq!(proxy.heads().len(), 0);
}
