//! The variables that Asterisk and its modules read, as their machine code says: the strings that are handed to
//! `pbx_builtin_getvar_helper`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The function of Asterisk's that reads a variable of a channel; the name is its second argument.
const READ: &str = "pbx_builtin_getvar_helper";

/// Part of a program: where it is in memory and in the file.
struct Section {
    address: u64,
    length: u64,
    offset: u64,
}

/// The names that are written out in the programs under `root`, an Asterisk for x86-64.
///
/// # Panics
/// If there is no Asterisk, or `objdump` (of binutils, which a C compiler comes with) is missing.
#[must_use]
pub fn variables_read(root: &Path) -> BTreeSet<String> {
    let modules = root.join("usr/lib/x86_64-linux-gnu/asterisk/modules");
    let modules = fs::read_dir(&modules).expect("Asterisk's modules");
    let modules = modules.map(|entry| entry.expect("an entry").path());
    let programs = modules.chain([root.join("usr/sbin/asterisk")]);
    programs.flat_map(|program| read_by(&program)).collect()
}

fn read_by(program: &PathBuf) -> BTreeSet<String> {
    let bytes = fs::read(program).expect("a program");
    let mut names = BTreeSet::new();
    if !bytes
        .windows(READ.len())
        .any(|part| part == READ.as_bytes())
    {
        return names;
    }
    let sections = constants(&objdump(&["--section-headers"], program));
    let code = objdump(&["--disassemble", "--no-show-raw-insn"], program);
    let mut name = None;
    for line in code.lines() {
        if let Some(address) = second_argument(line) {
            name = text_at(address, &sections, &bytes);
        } else if line.contains(&format!("<{READ}"))
            && (line.contains("call") || line.contains("jmp"))
        {
            names.extend(name.take());
        } else if line.contains("call") || line.ends_with(",%rsi") || line.ends_with(",%esi") {
            name = None;
        }
    }
    names
}

fn objdump(arguments: &[&str], program: &Path) -> String {
    let output = Command::new("objdump")
        .args(arguments)
        .arg(program)
        .output();
    String::from_utf8_lossy(&output.expect("objdump, of binutils").stdout).into_owned()
}

/// The sections of constants, in lines such as `15 .rodata 00001a2b 000…4000 000…4000 00004000 2**5`.
fn constants(headers: &str) -> Vec<Section> {
    let section = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |word: usize| u64::from_str_radix(words.get(word)?, 16).ok();
        words.get(1).filter(|name| name.starts_with(".rodata"))?;
        Some(Section {
            length: number(2)?,
            address: number(3)?,
            offset: number(5)?,
        })
    };
    headers.lines().filter_map(section).collect()
}

/// The address in `lea 0x…(%rip),%rsi # 4321 <…>`, which prepares the second argument of a call.
fn second_argument(line: &str) -> Option<u64> {
    let (code, address) = line.split_once('#')?;
    let code = code.trim_end();
    if !code.contains("lea ") || !code.ends_with("(%rip),%rsi") {
        return None;
    }
    u64::from_str_radix(address.split_whitespace().next()?, 16).ok()
}

fn text_at(address: u64, sections: &[Section], bytes: &[u8]) -> Option<String> {
    let holds =
        |section: &&Section| (section.address..section.address + section.length).contains(&address);
    let section = sections.iter().find(holds)?;
    let start = usize::try_from(section.offset + address - section.address).ok()?;
    let text = bytes.get(start..)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}
