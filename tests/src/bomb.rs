//! A component that is expensive to compile: very long functions, in which every step depends on
//! the one before.

/// The code size of one function, below WebAssembly's limit of 7,654,321 bytes.
const BODY_BYTES: usize = 7_000_000;

/// Makes a component with this many such functions.
pub fn component(functions: usize) -> Vec<u8> {
    let module = module(functions);
    // The component has a single section: section 1 is a core module.
    [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, &module)].concat()
}

fn module(functions: usize) -> Vec<u8> {
    // local.get 0, i32.load, local.set 0: seven bytes that no compiler can optimize away.
    let step = [0x20, 0, 0x28, 2, 0, 0x21, 0];
    let code = step.repeat(BODY_BYTES / step.len());
    // No locals; the end is local.get 0, end.
    let body = [&[0], code.as_slice(), &[0x20, 0, 0x0b]].concat();
    let body = [number(body.len()), body].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        // One type: from an i32 to an i32.
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[number(functions), vec![0; functions]].concat()),
        // One memory of one page.
        section(5, &[1, 0, 1]),
        section(10, &[number(functions), body.repeat(functions)].concat()),
    ]
    .concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], number(content.len()).as_slice(), content].concat()
}

/// Encodes a number as LEB128.
fn number(mut value: usize) -> Vec<u8> {
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
