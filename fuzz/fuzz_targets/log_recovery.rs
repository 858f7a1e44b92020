#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| (halley_fuzz::target("log_recovery").expect("it is listed").run)(
    input
));
