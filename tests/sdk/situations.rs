//! What happens to an SDK and to the daemon that it asks, and what must come of it.

use anchord_core::event;
use std::net::TcpListener;

use anchord_emulator::IssuedCredentials;
use futures_util::FutureExt as _;
use time::OffsetDateTime;

use crate::channels::Channel;
use crate::host::Host;
use crate::host::Log;
use crate::host::answered;
use crate::pipe::Pipe;
use crate::programs::Clock;
use crate::programs::Program;
use crate::programs::Shown;
use crate::programs::Variables;
use crate::relay::Relay;
use crate::sdks::Sdk;
use anchord_testing::stage::Stage;
use anchord_testing::stage::process::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Situation {
    Cold,
    Window,
    Gap,
    Restart,
    Outage,
    Late,
    Slash,
    Localhost,
    Ipv6,
    Proxy,
    BareProxy,
    Alone,
}

impl Situation {
    pub(crate) const ALL: [Self; 12] = [
        Self::Cold,
        Self::Window,
        Self::Gap,
        Self::Restart,
        Self::Outage,
        Self::Late,
        Self::Slash,
        Self::Localhost,
        Self::Ipv6,
        Self::Proxy,
        Self::BareProxy,
        Self::Alone,
    ];
}

/// One cell of the table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) sdk: Sdk,
    pub(crate) channel: Channel,
    pub(crate) situation: Situation,
    pub(crate) log: Log,
}

impl Cell {
    /// Plays the situation; `Err` says what the SDK did instead of what it should.
    pub(crate) async fn play(&self) -> Result<(), String> {
        match self.situation {
            Situation::Cold => self.cold(&Host::new(&self.log).await, "127.0.0.1", "").await,
            Situation::Slash => self.cold(&Host::new(&self.log).await, "127.0.0.1", "/").await,
            // The daemon listens as it does by default: if the name stands for ::1 first, SDKs have to go on.
            Situation::Localhost => self.cold(&Host::new(&self.log).await, "localhost", "").await,
            Situation::Ipv6 => self.cold(&Host::on_ipv6(&self.log).await?, "[::1]", "").await,
            Situation::Window => self.window().await,
            Situation::Gap => self.gap().await,
            Situation::Restart => self.restart().await,
            Situation::Outage => self.outage().await,
            Situation::Late => self.late().await,
            Situation::Proxy => self.proxy(Some("127.0.0.1,localhost")).await,
            Situation::BareProxy => self.proxy(None).await,
            Situation::Alone => self.alone().await,
        }
    }

    async fn start(&self, stage: &Stage, variables: Variables) -> Result<Program, String> {
        let clock = match self.situation {
            Situation::Window | Situation::Restart | Situation::Outage | Situation::Alone => Clock::Movable,
            _ => Clock::Real,
        };
        Program::start(self.sdk, clock, variables, &stage.path("sdk")).await
    }

    /// A program that has asked `host`, by way of `authority`, and holds the first credentials.
    async fn started(&self, host: &Host, authority: &str) -> Result<Program, String> {
        let variables = self.channel.variables(&host.stage, authority, "");
        let mut program = self.start(&host.stage, variables).await?;
        expect(&program.get().await?, &host.first(), "the first credentials")?;
        Ok(program)
    }

    /// A program that has just started asks a daemon that has credentials.
    async fn cold(&self, host: &Host, name: &str, tail: &str) -> Result<(), String> {
        let authority = format!("{name}:{}", host.address().port());
        let variables = self.channel.variables(&host.stage, &authority, tail);

        let mut program = self.start(&host.stage, variables).await?;

        expect(&program.get().await?, &host.first(), "the first credentials")
    }

    /// A program asks again when its credentials near their end, and gets those that the daemon has renewed.
    async fn window(&self) -> Result<(), String> {
        let host = Host::new(&self.log).await;
        let mut program = self.started(&host, &host.address().to_string()).await?;
        host.renew_certificate();
        let renewed = host.renewed(2).await;
        if self.sdk.remembers() {
            expect(&program.get().await?, &host.first(), "what it holds, before its window")?;
        }

        program.move_clock_to(host.first().expires_at - self.sdk.asks_again_with(self.channel));

        get_until(&mut program, &renewed, &host.first()).await
    }

    /// The daemon is killed when the SDK's token has been answered; its successor meets the next request.
    async fn gap(&self) -> Result<(), String> {
        let mut host = Host::new(&self.log).await;
        let mut relay = Relay::to(host.address()).await;
        let variables = self.channel.variables(&host.stage, &relay.authority(), "");
        let mut program = self.start(&host.stage, variables).await?;

        let (shown, ()) = tokio::try_join!(program.get(), async {
            let _held = relay.first_get().await?;
            host.kill();
            host.start();
            Ok(())
        })?;

        expect(&shown, &host.first(), "what the successor goes on with")?;
        let asks = self.sdk.asks_at_first(self.channel);
        let passed = relay.passed();
        if passed == asks { once(&host.stage) } else { Err(format!("{passed:?} passed instead of {asks:?}")) }
    }

    /// The daemon is restarted in the middle of a program's life, which asks again with the token that it may have.
    async fn restart(&self) -> Result<(), String> {
        let mut host = Host::new(&self.log).await;
        let pipe = Pipe::to(host.address()).await;
        let mut program = self.started(&host, &pipe.authority()).await?;
        host.stop().await;
        if self.sdk.lets_go_of_ended_connections() {
            pipe.wait_until_empty().await?;
        }
        host.start();

        program.move_clock_to(host.first().expires_at - self.sdk.asks_again_with(self.channel));

        expect(&program.get().await?, &host.first(), "what the successor goes on with")?;
        host.wait_for_handed_out(1).await;
        let answers = answered(&host.stop().await);
        if let Some(refusal) = answers.iter().find(|answer| answer["status"] != 200) {
            return Err(format!("the successor refused: {refusal}"));
        }
        if self.sdk.keeps_imds_tokens() && answers.iter().any(|answer| answer["method"] == "PUT") {
            return Err("its IMDS token was not kept".to_owned());
        }
        once(&host.stage)
    }

    /// AWS is gone when credentials are due and a program asks for them; then AWS is there again.
    async fn outage(&self) -> Result<(), String> {
        let mut host = Host::new(&self.log).await;
        let mut program = self.started(&host, &host.address().to_string()).await?;
        host.stage.emulator.stop().await;
        host.renew_certificate();
        host.daemon().wait_for(event::CREDENTIALS_RENEWAL_FAILED).await;

        program.move_clock_to(host.first().expires_at - self.sdk.asks_again_with(self.channel));
        expect(&program.get().await?, &host.first(), "what is still valid")?;
        host.wait_for_handed_out(2).await;

        host.stage.emulator.restart().await.unwrap();
        let renewed = host.renewed(2).await;
        program.move_clock_to(host.first().expires_at - self.sdk.asks_once_more_with(self.channel));
        get_until(&mut program, &renewed, &host.first()).await
    }

    /// AWS is gone when daemon and program start: an error, and credentials as soon as there are any.
    async fn late(&self) -> Result<(), String> {
        let mut host = Host::asleep(&self.log).await;
        host.stage.emulator.stop().await;
        host.start();
        host.daemon().wait_for(event::LISTENER_STARTED).await;
        let variables = self.channel.variables(&host.stage, &host.address().to_string(), "");
        let mut program = self.start(&host.stage, variables).await?;
        if let Ok(shown) = program.get().await {
            return Err(format!("{} came from nowhere", shown.id()));
        }

        host.stage.emulator.restart().await.unwrap();
        let first = host.renewed(1).await;

        expect(&program.get().await?, &first, "the first credentials")
    }

    /// Variables name a proxy for everything but `exceptions`.
    async fn proxy(&self, exceptions: Option<&str>) -> Result<(), String> {
        let host = Host::new(&self.log).await;
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", proxy.local_addr().unwrap());
        let mut variables = self.channel.variables(&host.stage, &host.address().to_string(), "");
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            variables.push((name, url.clone()));
        }
        for name in ["NO_PROXY", "no_proxy"] {
            variables.extend(exceptions.map(|exceptions| (name, exceptions.to_owned())));
        }
        let mut program = self.start(&host.stage, variables).await?;

        proxy.set_nonblocking(true).unwrap();
        let proxy = tokio::net::TcpListener::from_std(proxy).unwrap();
        let asked = || "the proxy was asked".to_owned();
        let shown = tokio::select! {
            biased;
            _ = proxy.accept() => return Err(asked()),
            shown = program.get() => shown,
        };
        if proxy.accept().now_or_never().is_some() {
            return Err(asked());
        }
        expect(&shown?, &host.first(), "the first credentials")
    }

    /// There is no daemon: the helper asks AWS itself, once for all that ask it.
    async fn alone(&self) -> Result<(), String> {
        let stage = Stage::new().await;
        let mut program = self.start(&stage, self.channel.variables(&stage, "", "")).await?;
        let first = program.get().await?;
        let issued = stage.emulator.issued().remove(0);
        expect(&first, &issued, "the first credentials")?;

        program.move_clock_to(issued.expires_at - self.sdk.asks_again_with(self.channel));

        expect(&program.get().await?, &issued, "what the helper has kept")?;
        once(&stage)
    }
}

fn expect(shown: &Shown, issued: &IssuedCredentials, what: &str) -> Result<(), String> {
    if shown.are(issued) {
        return Ok(());
    }
    Err(format!("{} instead of {what}, {}", shown.id(), issued.access_key_id))
}

fn once(stage: &Stage) -> Result<(), String> {
    match stage.emulator.sessions_created() {
        1 => Ok(()),
        many => Err(format!("{many} sessions were created")),
    }
}

/// Asks until the SDK shows `wanted`: some show `old` once more while they fetch in the background.
async fn get_until(
    program: &mut Program,
    wanted: &IssuedCredentials,
    old: &IssuedCredentials,
) -> Result<(), String> {
    let give_up_at = OffsetDateTime::now_utc() + PATIENCE;
    loop {
        let shown = program.get().await?;
        if shown.are(wanted) {
            return Ok(());
        }
        expect(&shown, old, "what it held or the newer")?;
        if OffsetDateTime::now_utc() > give_up_at {
            return Err(format!("{} for ever, though {} is served", shown.id(), wanted.access_key_id));
        }
    }
}
