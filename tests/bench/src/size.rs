//! How large the functions are, packed as they are uploaded.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::figures::{Table, verdict};
use crate::functions::FUNCTIONS;
use crate::shipped::path;

/// A zip may have so many bytes.
const MOST: usize = 2_500_000;

/// Prints it. The folder of a zip with one file adds about a hundred bytes.
pub fn run() {
    println!("\n## Size\n");
    let mut table = Table::new(&["function", "program", "deflated", "≤ 2.5 MB"]);
    for name in ["hello"].into_iter().chain(FUNCTIONS).chain(["sweeper"]) {
        let program = fs::read(path(name)).expect("a program");
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&program).expect("memory");
        let packed = packed.finish().expect("memory").len();
        table.row(&[
            name.to_owned(),
            megabytes(program.len()),
            megabytes(packed),
            verdict(packed <= MOST).to_owned(),
        ]);
    }
    table.print();
}

fn megabytes(bytes: usize) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}
