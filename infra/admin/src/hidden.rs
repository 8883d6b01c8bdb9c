//! What nobody may see: read from a prompt that shows nothing, or from standard input.

use std::io::{self, BufRead, IsTerminal};

use crate::Outcome;

/// Reads `what`: a line of standard input, or what is typed where that is a terminal.
pub fn read(what: &str) -> Outcome<String> {
    let failed = |error: io::Error| format!("no {what} was read: {error}");
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("The {what}: ")).map_err(failed);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The same of something new. It has to be typed twice, so that no mistake is kept.
pub fn read_new(what: &str) -> Outcome<String> {
    let text = read(what)?;
    if io::stdin().is_terminal() && read(&format!("{what} again"))? != text {
        return Err("the two differ".to_owned());
    }
    Ok(text)
}
