//! Lists the files of `assets/`, so that all of them are part of the program.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=assets");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    let assets = Path::new(&variable("CARGO_MANIFEST_DIR")).join("assets");
    let entries = fs::read_dir(&assets).expect("assets/ holds what web/ builds");
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.expect("a directory that can be read").file_name();
            name.into_string().expect("names in UTF-8")
        })
        .collect();
    // Any order would do, but not a different one each time.
    names.sort();
    let mut list = String::from("&[\n");
    for name in &names {
        // Relative to wherever the package is when it is compiled: a target directory may serve several checkouts.
        writeln!(
            list,
            "    ({name:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?}))),",
            format!("/assets/{name}")
        )
        .expect("text");
    }
    list.push_str("]\n");
    fs::write(Path::new(&variable("OUT_DIR")).join("assets.rs"), list).expect("OUT_DIR can be written");
}
