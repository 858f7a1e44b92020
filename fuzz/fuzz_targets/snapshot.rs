#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (halley_fuzz::target("snapshot").expect("it is listed").run)(
    input
));
