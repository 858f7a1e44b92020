#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (halley_fuzz::target("takeover_records")
    .expect("it is listed")
    .run)(input));
