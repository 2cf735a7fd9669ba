//! A run without AWS: with its emulator, a CA, a certificate and a key.

use anchord::provider::Provider;
use anchord_emulator::Authority;
use anchord_emulator::Emulator;
use anchord_emulator::KeyForm;
use anchord_emulator::KeyKind;
use anchord_emulator::LeafRequest;
use anchord_emulator::Setup;
use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls;
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_http_client::tls::TrustStore;

use crate::Outcome;
use crate::ask;

const REGION: &str = "us-east-1";
const MODEL: &str = "anthropic.claude-3-haiku-20240307-v1:0";

pub(crate) async fn run() -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("anchord-example-").tempdir()?;
    let root = Authority::root("Example root", KeyKind::P256)?;
    let leaf = root.leaf(&LeafRequest::new("example", KeyKind::P256))?;
    let setup = Setup::sample(REGION, &root);
    let arns = [setup.trust_anchor_arn(), setup.profile_arn(), setup.role_arn()];
    let emulator = Emulator::start(setup).await?;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path)
    };

    let [trust_anchor, profile, role] = &arns;
    let provider = Provider::builder()
        .certificate(write("leaf.pem", leaf.certificate_pem())?)
        .private_key(private(write("key.pem", &leaf.key_pem(KeyForm::Pkcs8)?)?)?)
        .trust_anchor_arn(trust_anchor)
        .profile_arn(profile)
        .role_arn(role)
        // Only for the emulator. A program that calls AWS needs neither of them.
        .option("endpoint", &emulator.endpoint())
        .option("ca-file", &write("tls-ca.pem", emulator.tls_ca_pem())?.to_string_lossy())
        .start()?;

    let trusted = TrustStore::empty().with_pem_certificate(emulator.tls_ca_pem());
    let https = Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .tls_context(TlsContext::builder().with_trust_store(trusted).build()?)
        .build_https();
    let settings = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(emulator.endpoint())
        .http_client(https);
    ask(provider, settings, MODEL).await?;
    println!("AWS was asked for credentials {} time.", emulator.sessions_created());
    Ok(())
}

/// Makes a key file readable for its owner only, as anchord requires.
fn private(path: std::path::PathBuf) -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}
