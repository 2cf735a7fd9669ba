#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| anchord_aws::access_keys::fuzzing::access_keys(text));
