//! The process that holds a module, without a module.

use std::os::unix::net::UnixStream;
use std::path::Path;

use proptest::prelude::*;

use crate::pkcs11::host::serve;
use crate::pkcs11::protocol;
use crate::pkcs11::protocol::HostReply;
use crate::pkcs11::protocol::HostRequest;
use crate::pkcs11::protocol::ModuleFault;
use crate::pkcs11::protocol::PinOutcome;
use crate::pkcs11::protocol::TokenOperation;
use crate::support::Folder;

fn asked() -> Vec<u8> {
    let mut frame = Vec::new();
    protocol::write(
        &mut frame,
        &HostRequest { number: 7, task: TokenOperation::Tokens, careful: false },
        None,
    )
    .unwrap();
    frame
}

#[test]
fn a_file_that_is_no_module_is_an_answer() {
    let folder = Folder::new();
    let path = folder.write("module.so", "no library");
    let (mut ours, theirs) = UnixStream::pair().unwrap();

    serve(&path, asked().as_slice(), theirs).unwrap();

    let (reply, _) = protocol::read::<HostReply>(&mut ours).unwrap().unwrap();
    assert_eq!((reply.number, reply.pin), (7, PinOutcome::Untried));
    assert!(matches!(reply.result, Err(ModuleFault::NotAModule(_))), "{reply:?}");
}

#[test]
fn it_ends_with_its_connection_and_with_what_it_cannot_read() {
    let nowhere = Path::new("/nowhere/module.so");
    let cut_off = &asked()[..20];

    assert!(serve(nowhere, b"".as_slice(), Vec::new()).is_ok());
    assert!(serve(nowhere, cut_off, Vec::new()).is_err());
    assert!(serve(nowhere, [0xff; 64].as_slice(), Vec::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_request_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), at in 0..200_usize, with: u8) {
        let nowhere = Path::new("/nowhere/module.so");
        let _ = serve(nowhere, bytes.as_slice(), Vec::new());
        let mut request = asked();
        let at = at % request.len();
        request[at] = with;
        let _ = serve(nowhere, request.as_slice(), Vec::new());
    }
}
