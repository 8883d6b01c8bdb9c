//! What the fuzz targets share.

/// Replaces, removes and inserts characters of a good text, so that what is nearly right is tried: three bytes
/// each say what, where and which.
#[must_use]
pub fn change(good: &str, changes: &[u8]) -> String {
    let mut text = good.as_bytes().to_vec();
    for change in changes.chunks_exact(3) {
        let [what, at, byte] = [change[0], change[1], change[2] & 0x7f];
        let at = usize::from(at) * text.len() / 256;
        match what % 3 {
            0 if at < text.len() => text[at] = byte,
            1 if at < text.len() => drop(text.remove(at)),
            _ => text.insert(at, byte),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
