//! Runs the program that makes components.

use std::io::{BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use spandrel_tests::artifacts::{root, target_dir};

pub(super) struct Smith {
    /// The small plugin that works.
    pub(super) small: Vec<u8>,
    out: BufReader<ChildStdout>,
    child: Child,
}

impl Smith {
    /// Builds the program if needed, and starts it to make the components with these numbers.
    pub(super) fn start(seed: u64, first: u64, end: u64) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut child = Command::new(cargo)
            .args(["run", "--quiet", "--locked", "--manifest-path"])
            .arg(root().join("tests/smith/Cargo.toml"))
            .arg("--target-dir")
            .arg(target_dir().unwrap().join("smith"))
            .arg("--")
            .arg(root().join("wit/v0.1"))
            .args([seed, first, end].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut smith = Self {
            small: Vec::new(),
            out,
            child,
        };
        smith.small = smith.next();
        smith
    }

    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.out
            .read_exact(&mut length)
            .expect("the smith makes what it was asked for");
        let mut component = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        self.out.read_exact(&mut component).unwrap();
        component
    }
}

impl Drop for Smith {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
