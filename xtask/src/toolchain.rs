//! Which compiler builds for wasm32: the default one where it has the library, else Debian's packaged Rust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::{command::command, paths};

pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

const PACKAGED_BIN: &str = "/usr/bin";

/// A compiler that has the wasm32 library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WasmToolchain {
    /// The one that `cargo` on the path uses.
    Default,
    /// Debian's package, beside the default one: every program must be named by its path.
    Packaged,
}

impl WasmToolchain {
    /// The first compiler that has the library.
    ///
    /// # Errors
    /// No compiler has it; the message says what to run.
    pub(crate) fn find() -> Result<Self> {
        let packaged = Path::new(PACKAGED_BIN).join("rustc");
        if has_library(Path::new("rustc")) {
            Ok(Self::Default)
        } else if packaged.exists() && has_library(&packaged) {
            Ok(Self::Packaged)
        } else {
            bail!("no compiler here has the {WASM_TARGET} library: run `./bootstrap setup`")
        }
    }

    /// Cargo for wasm32, in a target directory of its own.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = command(self.program("cargo"));
        self.environment(&mut cargo);
        cargo
    }

    /// Clippy of the same compiler: another version could not read what this one built.
    pub(crate) fn clippy(&self) -> Command {
        let mut clippy = command(self.program("cargo-clippy"));
        self.environment(&mut clippy);
        clippy.arg("clippy");
        clippy
    }

    /// What any program that calls cargo by itself needs to build for wasm32.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env("CARGO_TARGET_DIR", paths::wasm_target());
        if *self == Self::Packaged {
            for (variable, program) in [("CARGO", "cargo"), ("RUSTC", "rustc"), ("RUSTDOC", "rustdoc")] {
                command.env(variable, self.program(program));
            }
        }
    }

    fn program(&self, name: &str) -> PathBuf {
        match self {
            Self::Default => name.into(),
            Self::Packaged => Path::new(PACKAGED_BIN).join(name),
        }
    }
}

/// Whether `rustc` has a core library for wasm32.
fn has_library(rustc: &Path) -> bool {
    let asked = command(rustc).args(["--print", "target-libdir", "--target", WASM_TARGET]).stderr(Stdio::null()).output();
    let Ok(answer) = asked else { return false };
    let folder = String::from_utf8_lossy(&answer.stdout);
    let Ok(files) = fs::read_dir(folder.trim()) else {
        return false;
    };
    files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}
