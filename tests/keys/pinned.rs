//! A pinned certificate under load: whatever turns up in its place is refused, and no client notices.

use anchord_core::event;
use anchord_emulator::Leaf;

use crate::load::Load;
use anchord_testing::stage::Stage;

fn fingerprint(leaf: &Leaf) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, leaf.certificate_der());
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}:")).collect();
    format!("sha256:{}", digits.trim_end_matches(':'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_pinned_never_takes_the_place_of_one_that_is() {
    let stage = Stage::new().await;
    let [first, second, stranger] = [(); 3].map(|()| stage.leaf());
    let pins =
        format!("certificate_fingerprint = [\"{}\", \"{}\"]\n", fingerprint(&first), fingerprint(&second));
    stage.configure(&format!("{}{pins}", stage.session("bedrock")));
    stage.install(&first);
    let daemon = stage.daemon().await;
    let mut load = Load::start(&stage, &daemon).await;

    stage.install(&stranger);
    let refused = daemon
        .wait_for_line("not pinned", 1, |line| {
            line["error"].as_str().is_some_and(|error| error.contains("is not pinned"))
        })
        .await;
    assert_eq!(refused["event"], event::CERTIFICATE_REFUSED);
    assert!(refused["hint"].as_str().unwrap().contains("certificate_fingerprint"), "{refused}");
    load.answered(100).await;
    stage.emulator.set_clock_offset(time::Duration::seconds(2));
    stage.install(&second);
    daemon.wait_for_nth(event::CREDENTIALS_RENEWED, 2).await;
    load.answered(100).await;

    load.end().await;
    let used: Vec<_> =
        stage.emulator.requests().iter().map(|request| request.credential.clone().unwrap()).collect();
    assert_eq!(used.len(), 2, "nobody asked with the stranger: {used:?}");
}

#[tokio::test]
async fn the_key_of_a_certificate_that_is_not_pinned_does_not_start_a_session() {
    let stage = Stage::new().await;
    let pin = format!("certificate_fingerprint = [\"{}\"]\n", fingerprint(&stage.leaf()));
    stage.configure(&format!("{}{pin}", stage.session("bedrock")));

    let ran = stage.run(&["credential-process"]).await;

    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("which is not pinned"), "{}", ran.stderr);
    assert!(stage.emulator.requests().is_empty());
}
