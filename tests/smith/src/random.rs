//! Components that wasm-smith makes.

use arbitrary::Unstructured;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _};
use wasm_smith::{Component, Config, Module};
use wit_component::dummy_module;
use wit_parser::{LiftLowerAbi, ManglingAndAbi};

use crate::Contract;
use crate::small::wrapped;

pub(crate) struct Random {
    contract: Contract,
    /// An empty module with the imports and exports of the contract.
    hollow: Vec<u8>,
}

impl Random {
    pub(crate) fn new(contract: Contract) -> Self {
        let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
        let hollow = dummy_module(&contract.0, contract.1, mangling);
        Self { contract, hollow }
    }

    /// Makes a component. One in four has any shape; the others have the contract's exports.
    pub(crate) fn component(&self, rng: &mut StdRng) -> Vec<u8> {
        loop {
            let mut bytes = vec![0; rng.random_range(200..6_000)];
            rng.fill_bytes(&mut bytes);
            let mut choices = Unstructured::new(&bytes);
            let made = if rng.random_ratio(1, 4) {
                let component = Component::new(config(), &mut choices);
                component.ok().map(|component| component.to_bytes())
            } else {
                self.of_the_contract(rng, &mut choices)
            };
            if let Some(made) = made {
                return made;
            }
        }
    }

    fn of_the_contract(&self, rng: &mut StdRng, choices: &mut Unstructured<'_>) -> Option<Vec<u8>> {
        let config = Config {
            available_imports: Some(self.hollow.clone()),
            exports: Some(self.hollow.clone()),
            ..config()
        };
        let mut module = Module::new(config, choices).ok()?;
        if rng.random_ratio(9, 10) {
            // The others may run into their deadline.
            module.ensure_termination(10_000).ok()?;
        }
        wrapped(module.to_bytes(), &self.contract).ok()
    }
}

/// Returns a config with only the features that the engine has switched on: a component with others
/// would be refused at once.
fn config() -> Config {
    Config {
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        max_memory32_bytes: 32 << 20,
        max_table_elements: 5_000,
        ..Config::default()
    }
}
