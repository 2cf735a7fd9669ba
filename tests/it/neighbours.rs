//! Clients of other network namespaces: a neighbour on the same link, and a client whose packets this host redirects.

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;

use anchord_core::event;
use anchord_testing::stage::Stage;
use anchord_testing::stage::not_played;
use anchord_testing::stage::process;
use anchord_testing::stage::process::Daemon;

/// A network namespace that a process holds.
struct Namespace(Child);

impl Namespace {
    /// A namespace in which `script` prepares the network. `None` if this host does not allow one.
    fn new(script: &str) -> Option<Self> {
        let hold = format!("{script} && echo ready && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &hold]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().ok()?;
        let mut said = [0; 6];
        let is_ready = child.stdout.take()?.read_exact(&mut said).is_ok();
        let namespace = Self(child);
        is_ready.then_some(namespace)
    }

    /// Runs a command line in it. Returns whether it succeeded.
    fn run(&self, script: &str) -> bool {
        let (id, script) = (self.0.id().to_string(), script.to_owned());
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &id, "sh", "-c", &script]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// The daemon of a stage, in this namespace.
    async fn daemon(&self, stage: &Stage) -> Daemon {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string()]).arg(process::program());
        command.args(["run", "--config"]).arg(stage.path("anchord.toml"));
        command.env_clear().envs(process::home(stage.path("")));
        let daemon = Daemon::of(command);
        daemon.wait_for(event::LISTENER_STARTED).await;
        daemon
    }

    /// Asks for an IMDS token from within. Returns the status; `None` if the connection ended without an answer.
    fn asks(&self, address: SocketAddr, host: &str) -> Option<u16> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let request = format!(
            "PUT /latest/api/token HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             x-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
        );
        let asked = std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
            let _ = stream.write_all(request.as_bytes());
            let mut reply = String::new();
            let _ = stream.read_to_string(&mut reply);
            reply.split(' ').nth(1).and_then(|status| status.parse().ok())
        });
        asked.join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LINK: &str = "ip link set lo up && ip link add near type veth peer name far && ip addr add 10.9.9.1/24 dev near \
                    && ip link set near up && echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";

/// A host, and a neighbour whose packets to 127.0.0.1 the host takes. `None` if this host cannot play them.
fn host_and_neighbour() -> Option<(Namespace, Namespace)> {
    let (host, neighbour) = (Namespace::new(LINK)?, Namespace::new("true")?);
    let moved = host.run(&format!("ip link set far netns {}", neighbour.0.id()));
    let reaches = neighbour.run(
        "ip addr add 10.9.9.2/24 dev far && ip link set far up \
         && echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet && ip route add 127.0.0.0/8 via 10.9.9.1 dev far",
    );
    (moved && reaches).then_some((host, neighbour))
}

fn open_to_everybody(stage: &Stage) {
    stage.configure(&format!("[imds]\nallow = \"any\"\n{}", stage.session("bedrock")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_whose_packets_reach_loopback_gets_no_answer_although_imds_is_open() {
    let Some((host, neighbour)) = host_and_neighbour() else {
        return not_played("a neighbour on the same link: it needs root, unshare, nsenter and ip");
    };
    let stage = Stage::new().await;
    open_to_everybody(&stage);
    let daemon = host.daemon(&stage).await;
    let address: SocketAddr = daemon.http().await.parse().unwrap();

    assert_eq!(host.asks(address, "127.0.0.1"), Some(200), "a client of the host");
    assert_eq!(neighbour.asks(address, "127.0.0.1"), None);
    let refused = daemon.wait_for(event::CONNECTION_REFUSED).await;
    assert!(refused["peer"].as_str().unwrap().starts_with("10.9.9.2:"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_packets_to_ec2s_address_are_redirected_to_loopback_is_served() {
    let redirected = format!(
        "{LINK} && iptables -t nat -A OUTPUT -d 169.254.169.254 -p tcp --dport 80 -j DNAT --to 127.0.0.1:9911 \
         && ip route add default via 10.9.9.2 dev near"
    );
    let Some(host) = Namespace::new(&redirected) else {
        return not_played(
            "a redirection of 169.254.169.254: it needs root, unshare, nsenter, ip and iptables",
        );
    };
    let stage = Stage::new().await;
    stage.configure(&stage.session("bedrock"));
    let text = fs_err::read_to_string(stage.path("anchord.toml")).unwrap();
    // In a namespace of its own, a port of a well-known number is free.
    stage.write("anchord.toml", &text.replace("127.0.0.1:0", "127.0.0.1:9911"));
    let _daemon = host.daemon(&stage).await;
    let ec2 = SocketAddr::from(([169, 254, 169, 254], 80));

    assert_eq!(host.asks(ec2, "169.254.169.254"), Some(200), "root, by the socket that the kernel finds");
}
