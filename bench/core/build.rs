//! Passes the version of the compiler to the benchmark.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").expect("Cargo names the compiler");
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    println!("cargo:rustc-env=BENCH_RUSTC={version}");
    println!("cargo:rerun-if-changed=build.rs");
}
