//! Any changes, made of any bytes, as an UPDATE message that is read back.
#![no_main]

use handoverd::adapters::dns::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(fault) = fuzzed::update(bytes) {
        panic!("{fault}");
    }
});
