#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (halley_fuzz::target("backup_manifest")
    .expect("it is listed")
    .run)(input));
