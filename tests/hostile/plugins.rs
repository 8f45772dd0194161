//! Any bytes as a plugin are refused with a reason, or run within their limits; the host continues.
//!
//! wasm-smith makes the random ones: components of any shape, and modules of random code in a
//! component with the exports of the contract. Mutants are derived from working plugins: a small
//! one of 2 KiB, of which compilers make hundreds a second, and real guests.

mod host;
mod mutant;
mod smith;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use spandrel_tests::artifacts::guest;
use spandrel_tests::until::say;

use crate::number;
use host::{Fate, Host, Tally};
use smith::Smith;

/// The small plugin works, so a mutant of it fails only because of its change.
#[tokio::test]
async fn the_small_plugin_works() {
    let host = Host::new();
    assert_eq!(
        host.fate(&Smith::start(0, 0, 0).small).await,
        Fate::Answered
    );
}

/// Random components are refused or run, and the host continues.
#[tokio::test]
async fn random_components_are_refused_or_run() {
    let host = Host::new();
    let (seed, first) = (number("SPANDREL_SEED", 1), number("SPANDREL_FIRST", 0));
    let count = number("SPANDREL_COMPONENTS", 300);
    let mut smith = Smith::start(seed, first, count);
    let mut tally = Tally::default();
    for index in first..count {
        let bytes = smith.next();
        tally.add(host.run(index, &bytes).await);
        tally.progress("random components", index + 1 - first, count);
    }
    say(&format!("\nrandom components\n{tally}"));
    assert!(tally.of(Fate::Invalid) < count / 2, "{tally}");
    assert!(tally.of(Fate::Contract) > 0, "{tally}");
    assert!(tally.of(Fate::FaultedAtStart) > 0, "{tally}");
}

/// Mutants of working plugins are refused or run, and the host continues.
#[tokio::test]
async fn mutants_are_refused_or_run() {
    let host = Host::new();
    let small = Smith::start(0, 0, 0).small.clone();
    let real: Vec<Vec<u8>> = ["hold_all", "stateful"]
        .iter()
        .map(|name| std::fs::read(guest(name).unwrap()).unwrap())
        .collect();
    let (seed, first) = (number("SPANDREL_SEED", 1), number("SPANDREL_FIRST", 0));
    let count = number("SPANDREL_MUTANTS", 1_500);
    let mut tally = Tally::default();
    for index in first..count {
        let mut rng = StdRng::seed_from_u64(seed << 40 | index);
        // One mutant in a hundred is of a real guest, which takes a hundred times as long to
        // compile.
        let which = usize::try_from(index / 100).unwrap() % real.len();
        let good = if index % 100 == 0 {
            &real[which]
        } else {
            &small
        };
        let bytes = mutant::of(&mut rng, good);
        tally.add(host.run(index, &bytes).await);
        tally.progress("mutants", index + 1 - first, count);
    }
    say(&format!("\nmutants\n{tally}"));
    assert!(tally.of(Fate::Invalid) > 0, "{tally}");
    assert!(tally.of(Fate::Faulted) > 0, "{tally}");
    assert!(tally.of(Fate::Answered) > 0, "{tally}");
}
