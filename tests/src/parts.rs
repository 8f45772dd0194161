//! Components with more parts: a working plugin with added core modules, as other languages' tools
//! add them. The parts have no imports, so the plugin itself is unchanged.

use anyhow::{Context as _, Result, ensure};

/// The ids of sections in a component.
const CORE_MODULE: u8 = 1;
const CORE_INSTANCE: u8 = 2;

/// A core module to be added.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// One linear memory of this many pages of 64 KiB.
    Memory(u32),
    /// One core module with this many linear memories of one page each.
    Memories(u32),
    /// One table with this many elements.
    Table(u32),
    /// A function that runs when the instance is made. It calls itself this many times in tail
    /// position, which needs the stack of one call.
    TailCalls(u32),
}

/// Returns a component with each of these modules added, and this many instances of each.
///
/// # Errors
/// Returns an error if `component` is not a component.
pub fn with(component: &[u8], parts: &[(Part, u32)]) -> Result<Vec<u8>> {
    let mut all = component.to_vec();
    let first = modules(component)?;
    for (module, (part, instances)) in (first..).zip(parts) {
        all.extend(section(CORE_MODULE, &part.module()));
        // Instantiates the module without arguments.
        let one = [vec![0], number(module), vec![0]].concat();
        let count = usize::try_from(*instances)?;
        let body = [number(*instances), one.repeat(count)].concat();
        all.extend(section(CORE_INSTANCE, &body));
    }
    Ok(all)
}

/// Returns the number of core modules at the top level of a component.
fn modules(component: &[u8]) -> Result<u32> {
    let header = component.split_at_checked(8).context("no header")?;
    let (header, mut rest) = header;
    ensure!(header == b"\0asm\x0d\0\x01\0", "no component");
    let mut modules = 0;
    while let Some((id, after)) = rest.split_first() {
        let (length, after) = read(after).context("a section without a length")?;
        let (_, after) = after.split_at_checked(length).context("half a section")?;
        modules += u32::from(*id == CORE_MODULE);
        rest = after;
    }
    Ok(modules)
}

impl Part {
    fn module(self) -> Vec<u8> {
        let sections = match self {
            Self::Memory(pages) => section(5, &[vec![1, 0], number(pages)].concat()),
            Self::Memories(count) => {
                let one = [0, 1].repeat(usize::try_from(count).unwrap_or_default());
                section(5, &[number(count), one].concat())
            }
            // The elements are function references, and there is no maximum.
            Self::Table(elements) => section(4, &[vec![1, 0x70, 0], number(elements)].concat()),
            Self::TailCalls(times) => tail_calls(times),
        };
        [b"\0asm\x01\0\0\0".to_vec(), sections].concat()
    }
}

/// Makes the function `f(n) = n == 0 ? return : return_call f(n - 1)`, and a start function that
/// calls it.
fn tail_calls(times: u32) -> Vec<u8> {
    // Types: from an i32 to nothing, and from nothing to nothing.
    let types = section(1, &[2, 0x60, 1, 0x7f, 0, 0x60, 0, 0]);
    let functions = section(3, &[2, 0, 1]);
    let start = section(8, &[1]);
    // No locals; local.get 0, if, local.get 0, i32.const 1, i32.sub, return_call 0, end, end.
    let counts = [
        0, 0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x12, 0, 0x0b, 0x0b,
    ];
    // No locals; i32.const, call 0, end.
    let begins = [vec![0, 0x41], signed(times), vec![0x10, 0, 0x0b]].concat();
    let code = |body: &[u8]| [number(body.len()), body.to_vec()].concat();
    let code = section(10, &[vec![2], code(&counts), code(&begins)].concat());
    [types, functions, start, code].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], number(content.len()), content.to_vec()].concat()
}

/// Encodes a number as LEB128.
fn number(value: impl TryInto<u64>) -> Vec<u8> {
    let mut value = value.try_into().unwrap_or_default();
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Encodes a number as signed LEB128. It may take one more group of bits, so that the sign is plus.
fn signed(value: u32) -> Vec<u8> {
    let mut bytes = number(value);
    if let Some(last) = bytes.last_mut().filter(|last| **last & 0x40 != 0) {
        *last |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// Reads a LEB128 number.
fn read(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(end + 1)?;
    let groups = number.iter().rev();
    let value = groups.fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, rest))
}
