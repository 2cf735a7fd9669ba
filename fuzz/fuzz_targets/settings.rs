#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| anchord_identity::fuzzing::settings(text));
