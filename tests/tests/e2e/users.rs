//! The administrator's tool, run as an administrator runs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::password;
use e2e::program::{Ended, Program};
use e2e::world::source;
use e2e::{Pbx, World};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("users::the_tool_adds_changes_disables_and_lists", manage);
}

fn environment(world: &World) -> BTreeMap<String, String> {
    source(&[
        ("USERS_TABLE", "users"),
        ("AWS_ENDPOINT_URL_DYNAMODB", world.embedded.dynamodb_url()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "admin"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ])
}

async fn admin(world: &World, arguments: &[&str], input: &str) -> Ended {
    let mut program = Program::start("admin", arguments, &environment(world));
    program.feed(input).await;
    program.wait().await
}

async fn manage(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let added = admin(&world, &["user", "add", "alice"], "correct horse\n").await;
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

    let again = admin(&world, &["user", "add", "alice"], "another one\n").await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("already"), "{again:?}");
    let short = admin(&world, &["user", "add", "bob"], "short\n").await;
    assert_eq!(short.code, Some(1));
    let unknown = admin(&world, &["user", "passwd", "bob"], "correct horse\n").await;
    assert!(unknown.stderr.contains("no user bob"), "{unknown:?}");

    assert_eq!(
        admin(&world, &["user", "passwd", "alice"], "battery staple\n")
            .await
            .code,
        Some(0)
    );
    assert!(password::verify(
        "battery staple",
        &alice().await.password_hash
    ));
    assert_eq!(
        admin(&world, &["user", "disable", "alice"], "").await.code,
        Some(0)
    );
    assert!(alice().await.disabled);
    assert_eq!(
        admin(&world, &["user", "list"], "").await.stdout,
        "alice\tdisabled\n"
    );
    assert_eq!(
        admin(&world, &["user", "enable", "alice"], "").await.code,
        Some(0)
    );
    assert!(!alice().await.disabled);
    assert_eq!(
        admin(&world, &["user", "add", "alice", "password"], "")
            .await
            .code,
        Some(64)
    );
}
