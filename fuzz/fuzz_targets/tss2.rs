#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anchord_identity::fuzzing::tss2(bytes));
