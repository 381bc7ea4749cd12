//! Any bytes as a server's answer, to a question that is signed and to one that is not.
#![no_main]

use handoverd::adapters::dns::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(fault) = fuzzed::answer(bytes) {
        panic!("{fault}");
    }
});
