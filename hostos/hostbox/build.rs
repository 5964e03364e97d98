//! Links the static program to a fixed address.
//!
//! At an address of the kernel's choice each process would first write all its tables of pointers, and
//! so have 2 MB of its own; as it is, every program of a machine shares them with all others.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo:rustc-link-arg-bins=-static");
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
