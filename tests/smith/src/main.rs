//! Writes components to stdout, each after its length in four bytes: first a small plugin that
//! works, then as many random ones as requested. Usage: `spandrel-smith WIT-FOLDER SEED FIRST END`;
//! the same numbers make the same components.

mod random;
mod small;

use std::io::{BufWriter, Write};

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use wit_parser::{Resolve, WorldId};

/// The contract, and its world.
type Contract = (Resolve, WorldId);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("which folder of WIT?")?;
    let mut number = || -> Result<u64> {
        let number = arguments.next().context("a seed, the first, the end")?;
        Ok(number.parse()?)
    };
    let (seed, first, end) = (number()?, number()?, number()?);
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder)?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    let contract = (resolve, world);

    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&mut out, &small::component(&contract)?)?;
    let random = random::Random::new(contract);
    for index in first..end {
        let mut rng = StdRng::seed_from_u64(seed << 40 | index);
        write(&mut out, &random.component(&mut rng))?;
    }
    out.flush()?;
    Ok(())
}

fn write(out: &mut impl Write, component: &[u8]) -> Result<()> {
    let length = u32::try_from(component.len())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(component)?;
    Ok(())
}
