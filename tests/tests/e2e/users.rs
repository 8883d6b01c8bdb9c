//! The administrator's tool, run as an administrator runs it.

use std::sync::Arc;

use cloud::password;
use e2e::{Pbx, World};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("users::the_tool_adds_changes_disables_and_lists", manage);
}

async fn manage(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let added = world
        .admin(&["user", "add", "alice"], "correct horse\n")
        .await;
    assert_eq!(
        (added.code, added.stdout.as_str()),
        (Some(0), "alice was added\n"),
        "{added:?}"
    );
    let alice = async || world.users().get("alice").await.unwrap().unwrap();
    assert!(password::verify(
        "correct horse",
        &alice().await.password_hash
    ));

    let again = world
        .admin(&["user", "add", "alice"], "another one\n")
        .await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("already"), "{again:?}");
    let short = world.admin(&["user", "add", "bob"], "short\n").await;
    assert_eq!(short.code, Some(1));
    let unknown = world
        .admin(&["user", "passwd", "bob"], "correct horse\n")
        .await;
    assert!(unknown.stderr.contains("no user bob"), "{unknown:?}");

    assert_eq!(
        world
            .admin(&["user", "passwd", "alice"], "battery staple\n")
            .await
            .code,
        Some(0)
    );
    assert!(password::verify(
        "battery staple",
        &alice().await.password_hash
    ));
    assert_eq!(
        world.admin(&["user", "disable", "alice"], "").await.code,
        Some(0)
    );
    assert!(alice().await.disabled);
    assert_eq!(
        world.admin(&["user", "list"], "").await.stdout,
        "alice\tdisabled\n"
    );
    assert_eq!(
        world.admin(&["user", "enable", "alice"], "").await.code,
        Some(0)
    );
    assert!(!alice().await.disabled);
    assert_eq!(
        world
            .admin(&["user", "add", "alice", "password"], "")
            .await
            .code,
        Some(64)
    );
}
