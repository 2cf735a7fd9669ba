#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| anchord::identity::fuzzing::access_keys(text));
