//! Any text as a name and as an ownership TXT.
#![no_main]

use handoverd::adapters::dns::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(fault) = fuzzed::name(text).and(fuzzed::ownership(text)) {
        panic!("{fault}");
    }
});
