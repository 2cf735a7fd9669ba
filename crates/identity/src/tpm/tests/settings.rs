//! What is written in settings.

use std::path::PathBuf;

use crate::tpm::Device;
use crate::tpm::MalformedAddress;
use crate::tpm::handle;
use anchord_core::failure::Classify as _;

#[test]
fn addresses_are_those_of_tpm2_tss_and_print_as_they_are_written() {
    for text in [
        "device:/dev/tpmrm0",
        "device:/dev/tpm1",
        "swtpm:host=localhost,port=2322",
        "swtpm:host=::1,port=2321",
        "swtpm:path=/run/x.sock",
    ] {
        assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
    }
}

#[test]
fn what_an_address_leaves_out_has_its_usual_value() {
    let device = |text: &str| text.parse::<Device>().unwrap();

    assert_eq!(Device::default(), Device::Character("/dev/tpmrm0".into()));
    assert_eq!(device("device"), Device::default());
    assert_eq!(device("/dev/tpm0"), Device::Character(PathBuf::from("/dev/tpm0")));
    assert_eq!(device("swtpm").to_string(), "swtpm:host=127.0.0.1,port=2321");
    assert_eq!(device("swtpm:port=7").to_string(), "swtpm:host=127.0.0.1,port=7");
}

#[test]
fn an_address_that_cannot_be_used_says_why_and_how_it_is_written() {
    for (text, why) in [
        ("", "begins with neither"),
        ("tabrmd:bus_type=session", "tpm2-abrmd"),
        ("mssim:host=x", "simulator"),
        ("device:tpm0", "not absolute"),
        ("swtpm:path=x.sock", "not absolute"),
        ("swtpm:path=/x,port=1", "either"),
        ("swtpm:port=70000", "not a number up to 65535"),
        ("swtpm:socket=/x", "after `swtpm:` come"),
    ] {
        let error = text.parse::<Device>().unwrap_err();

        assert!(error.to_string().contains(why), "{text}: {error}");
        assert!(error.hint().unwrap().contains("device:/dev/tpmrm0"));
    }
}

#[test]
fn a_handle_is_persistent_or_refused() {
    assert_eq!(handle("0x81000001").unwrap(), 0x8100_0001);
    assert_eq!(handle("81FFFFFF").unwrap(), 0x81ff_ffff);
    for text in ["", "0x", "0x80000001", "0x40000001", "0x+1000001", "0x8100000100", "key"] {
        assert!(matches!(handle(text), Err(MalformedAddress::Handle { .. })), "{text}");
    }
}
