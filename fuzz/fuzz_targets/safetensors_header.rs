//! Whatever the first bytes of a weight file are: no panic, no memory beyond them, and what is accepted adds up.

#![no_main]

use awqdeploy::domain::checkpoint::safetensors::{Header, Index, PREFIX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::at_start_of(bytes) {
        accepted(&header, bytes.len());
    }
    // Without the length before it, which a fuzzer seldom hits.
    if let Ok(header) = Header::parse(bytes) {
        accepted(&header, bytes.len() + PREFIX);
        if let Ok(index) = std::str::from_utf8(bytes).map(Index::parse) {
            let _names_only = index.map(|index| index.missing_from("model.safetensors", &header).len());
        }
    }
});

fn accepted(header: &Header, length: usize) {
    let sum: u64 = header.tensors().iter().map(|tensor| tensor.bytes).sum();
    assert_eq!(sum, header.data());
    assert!(header.check_size(header.file_size()).is_ok());
    assert!(header.file_size() - header.data() <= length as u64);
    assert!(header.tensors().len() <= length);
}
