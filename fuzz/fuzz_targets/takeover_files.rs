#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (halley_fuzz::target("takeover_files")
    .expect("it is listed")
    .run)(input));
