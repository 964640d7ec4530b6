//! The methods that each contract exports, against `tests/methods.txt`: none comes or goes unnoticed.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use anyhow::{Context as _, ensure};
use starling_tests::contract_wasm;
use std::{fmt::Write as _, fs, path::PathBuf};

const EXPORTS: u8 = 7;
const FUNCTION: u8 = 0;

/// The rest of a wasm module.
struct Module<'a>(&'a [u8]);

impl<'a> Module<'a> {
    fn take(&mut self, len: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).context("the module ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// A number in LEB128.
    fn number(&mut self) -> anyhow::Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        anyhow::bail!("a number has more than five bytes")
    }
}

/// The names of all exported functions, in order.
fn exported_functions(wasm: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut module = Module(wasm);
    ensure!(module.take(8)? == b"\0asm\x01\0\0\0", "not a wasm module");
    loop {
        let (id, len) = (module.byte().context("the module exports nothing")?, module.number()?);
        let mut section = Module(module.take(len)?);
        if id != EXPORTS {
            continue;
        }
        let mut names = Vec::new();
        for _ in 0..section.number()? {
            let len = section.number()?;
            let name = String::from_utf8(section.take(len)?.to_vec())?;
            if section.byte()? == FUNCTION {
                names.push(name);
            }
            section.number()?;
        }
        names.sort();
        return Ok(names);
    }
}

#[test]
fn methods__should_be_those_in_the_file() -> anyhow::Result<()> {
    let mut exported = String::new();
    for contract in ["billing", "compute", "hub", "market"] {
        for name in exported_functions(&contract_wasm(contract)?)? {
            writeln!(exported, "{contract}.{name}")?;
        }
    }
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "methods.txt"].iter().collect();
    let kept = fs::read_to_string(&path).unwrap_or_default();
    ensure!(kept == exported, "if these are the methods that should be, write them into {}:\n{exported}", path.display());
    Ok(())
}
