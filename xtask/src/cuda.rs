//! Type-checks the code that only builds with CUDA, on machines that have neither a GPU nor its toolkit.
//!
//! Kernels are compiled by `nvcc`, which a type-check needs the outputs of but not their contents: xtask stands in for it and
//! leaves empty files. Nothing that is linked from them would run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{command, run},
    paths, tools,
};

/// The name under which xtask stands in for the compiler of CUDA's kernels.
pub(crate) const NVCC: &str = "nvcc";
/// The toolkit whose bindings are checked: 13.0, in cudarc's spelling.
const TOOLKIT: &str = "13000";
/// The least architecture that has the bf16 arithmetic of all kernels.
const COMPUTE_CAPABILITY: &str = "80";

/// Runs clippy with CUDA switched on.
///
/// # Errors
/// The code does not compile with CUDA, or has lints.
pub(crate) fn check() -> Result<()> {
    // Where nvcc is, its toolkit is expected to be two folders up.
    let nvcc = tools::stand_in(&paths::target().join("tools/cuda/bin"), NVCC)?;
    let mut cargo = command("cargo");
    // Of all members, so that what does not depend on CUDA is taken from the clippy run without it.
    cargo.args(["clippy", "--quiet", "--all-targets", "--features", "starling-gpu-node/cuda", "--", "--deny", "warnings"]);
    cargo.env("NVCC", nvcc).env("CUDARC_CUDA_VERSION", TOOLKIT).env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY);
    run(&mut cargo)
}

/// Does what a build script sees of nvcc.
///
/// # Errors
/// Arguments that name no output, or an output that cannot be written.
pub(crate) fn nvcc(args: &[String]) -> Result<()> {
    match args {
        [arg] if arg == "--version" => println!("Cuda compilation tools, release 13.0, V13.0.0"),
        [arg] if arg == "--list-gpu-code" => println!("sm_{COMPUTE_CAPABILITY}"),
        _ => {
            let output = output(args)?;
            fs::write(&output, "").with_context(|| format!("cannot write {}", output.display()))?;
        }
    }
    Ok(())
}

/// The file that these arguments ask for.
fn output(args: &[String]) -> Result<PathBuf> {
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|place| args.get(place + 1));
    if let Some(file) = after("-o") {
        return Ok(file.into());
    }
    match (after("--output-directory"), args.last()) {
        (Some(folder), Some(source)) if args.iter().any(|arg| arg == "--ptx") => {
            let name = Path::new(source).with_extension("ptx");
            Ok(Path::new(folder).join(name.file_name().context("the source has no name")?))
        }
        _ => bail!("xtask stands in for {NVCC} and finds no output in its arguments"),
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn output_of(line: &str) -> Option<PathBuf> {
        output(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn output__should_be_the_file_that_the_arguments_name() {
        assert_eq!(output_of("--gencode=x -c -o /out/a.o src/a.cu"), Some("/out/a.o".into()));
        assert_eq!(output_of("--lib -o /out/libmoe.a /out/a.o"), Some("/out/libmoe.a".into()));
        assert_eq!(output_of("--ptx --output-directory /out -O3 src/b.cu"), Some("/out/b.ptx".into()));
        assert_eq!(output_of("-c src/a.cu"), None);
    }
}
