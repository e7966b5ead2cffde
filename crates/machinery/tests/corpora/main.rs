//! What fuzzers found worth keeping, tried again: `fuzz/corpus` holds a directory for each decoder.
#![allow(clippy::unwrap_used, reason = "a test of files of this repository")]

use std::path::Path;

#[path = "../../../../fuzz/src/lib.rs"]
mod decoders;

#[test]
fn every_decoder_takes_its_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, decoder) in decoders::TARGETS {
        let files: Vec<_> = std::fs::read_dir(corpora.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| decoder(&bytes)) {
                panic!("{name} fails on {}: {panic:?}", file.display());
            }
        }
    }
    let directories = std::fs::read_dir(corpora).unwrap().count();
    assert_eq!(directories, decoders::TARGETS.len(), "a corpus has no decoder");
}
