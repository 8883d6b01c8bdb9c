//! What Asterisk says of itself.

use crate::ari::{APP, Ari};

#[tokio::test]
async fn the_release_is_a_real_one() {
    let ari = Ari::start(APP).await;
    let (status, info) = ari.send("GET", "/asterisk/info", &[]).await;
    assert_eq!(status, 200);
    let version = info["system"]["version"].as_str().expect("a version");
    let numbers = version.split(['-', '+']).next().expect("numbers");
    let numbers: Vec<u32> = numbers
        .split('.')
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert!(numbers.as_slice() >= [22, 10, 1].as_slice(), "{version}");
}
