#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anchord::identity::fuzzing::key(bytes));
