//! HTTP as plain as it gets, over TCP or a Unix socket, so that what is sent is what is written here.

use std::path::Path;

use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

const TREE: &str = "/latest/meta-data/iam/security-credentials/";

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The body, as it was sent.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.body))
    }

    /// The access key id in the credentials of the body.
    pub fn key_id(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()["AccessKeyId"].as_str().unwrap().to_owned()
    }
}

/// Sends one request, with a header of its own, and reads the answer.
pub async fn tcp(address: &str, method: &str, path: &str, header: &str) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, &request(address, method, path, header)).await
}

fn request(host: &str, method: &str, path: &str, header: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{header}\r\n\r\n")
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Reply {
    exchange_noting(stream, request, || ()).await
}

async fn exchange_noting(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
    sent: impl FnOnce(),
) -> Reply {
    stream.write_all(request.as_bytes()).await.unwrap();
    sent();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {reply:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, body: body.to_owned() }
}

/// An IMDSv2 token.
pub async fn imds_token(address: &str) -> String {
    let reply = tcp(address, "PUT", "/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 21600").await;
    assert_eq!(reply.status, 200);
    reply.body
}

/// The list of roles, with a token.
pub async fn imds_list(address: &str, token: &str) -> Reply {
    tcp(address, "GET", TREE, &format!("x-aws-ec2-metadata-token: {token}")).await
}

/// The document of a role, with a token.
pub async fn imds_role(address: &str, token: &str, role: &str) -> Reply {
    tcp(address, "GET", &format!("{TREE}{role}"), &format!("x-aws-ec2-metadata-token: {token}")).await
}

/// Token, list and credentials, as an SDK asks for them; the list's refusal if there is one.
pub async fn imds(address: &str) -> Reply {
    let token = imds_token(address).await;
    let list = imds_list(address, &token).await;
    if list.status != 200 {
        return list;
    }
    imds_role(address, &token, &list.body).await
}

/// The document of a session, as a container's SDK asks for it.
pub async fn container(address: &str, session: &str, bearer: &str) -> Reply {
    tcp(address, "GET", &format!("/v1/credentials/{session}"), &format!("authorization: {bearer}")).await
}

/// What `credential-process` asks the daemon.
pub async fn socket(path: &Path, session: &str) -> Reply {
    socket_noting(path, session, || ()).await
}

/// The same; `sent` is called when the question has left.
pub async fn socket_noting(path: &Path, session: &str, sent: impl FnOnce()) -> Reply {
    let stream = UnixStream::connect(path).await.unwrap();
    let path = format!("/v1/sessions/{session}/credential-process");
    exchange_noting(stream, &request("localhost", "GET", &path, "accept: */*"), sent).await
}
