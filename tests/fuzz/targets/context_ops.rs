#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::bodies::context_ops::check(data));
