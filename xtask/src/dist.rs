//! The word `dist`: the programs as they are shipped, statically linked against glibc and stripped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{cargo, output, run as run_command, target};

/// Static against glibc, still at a random address; relocations packed (glibc 2.36 and later apply them), which saves 0.4 MB.
/// Stripped by a flag of its own: cargo leaves the profile's `strip` out where a package of it has its own `opt-level`.
const LINK_FLAGS: &str =
    "-C target-feature=+crt-static -C strip=symbols -C link-arg=-Wl,-z,pack-relative-relocs";

/// The agent packs at zstd's level 1 alone: the ways of higher levels than 3 are left out, which saves 0.3 MB. A higher level would work
/// and pack as 3 does; unpacking knows everything.
const AGENT_C_FLAGS: &str = "-DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR \
     -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR \
     -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR";

/// Both programs.
pub(crate) const PROGRAMS: [&str; 2] = ["pantau-agent", "pantau-collector"];

/// The folder that holds them.
pub(crate) fn folder() -> PathBuf {
    target().join("dist")
}

/// Builds programs and returns the folder that holds them.
pub(crate) fn run(programs: &[&str]) -> Result<PathBuf> {
    let host = host()?;
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for program in programs {
        build(program, &host, &folder)?;
    }
    Ok(folder)
}

fn build(program: &str, host: &str, folder: &Path) -> Result<()> {
    // The agent has a profile of its own: small before fast.
    let profile = if program == "pantau-agent" { "dist-agent" } else { "dist" };
    // A target named by hand keeps the flag away from build scripts and procedural macros, which cannot be static.
    let words = ["build", "--profile", profile, "--target", host, "--package", program, "--bins"];
    let mut build = cargo(&words);
    build.env("RUSTFLAGS", LINK_FLAGS);
    if program == "pantau-agent" {
        // For the target alone, by the name that C compilers' flags have in build scripts.
        // A packager's own flags (hardening) stand in the name without the target, which this one would hide.
        let given = std::env::var("CFLAGS").unwrap_or_default();
        build.env(format!("CFLAGS_{}", host.replace('-', "_")), format!("{given} {AGENT_C_FLAGS}"));
    }
    run_command(&mut build)?;
    let built = target().join(host).join(profile).join(program);
    let bytes = fs::copy(&built, folder.join(program))
        .with_context(|| format!("cannot copy {} to {}", built.display(), folder.display()))?;
    println!("{} {bytes} bytes", folder.join(program).display());
    Ok(())
}

fn host() -> Result<String> {
    let version = output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
