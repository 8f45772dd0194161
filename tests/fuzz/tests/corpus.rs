//! Runs every input of the corpus, including every input that once broke a promise, through its
//! target.

use std::panic::catch_unwind;
use std::path::Path;

/// All promises of all targets hold for the whole corpus.
#[test]
fn the_corpus_breaks_no_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in spandrel_fuzz::TARGETS {
        let mut inputs = 0;
        for entry in corpus.join(target.name).read_dir().unwrap() {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            let held = catch_unwind(|| (target.run)(&input));
            assert!(held.is_ok(), "{}", path.display());
            inputs += 1;
        }
        assert!(inputs > 10, "{}: {inputs} inputs", target.name);
    }
}
