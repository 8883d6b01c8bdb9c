//! Messages that nobody can do anything with, and the tool that shows them.

use std::sync::Arc;
use std::time::Duration;

use cloud::DeadLetters;
use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::json;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add(
        "dead_letters::poison_gets_out_of_the_way_and_is_shown",
        poison,
    );
    suite.add("dead_letters::one_that_is_sent_again_is_dialled", redrive);
}

async fn send(world: &World, url: &str, body: &str) {
    let message = world
        .clients
        .sqs
        .send_message()
        .queue_url(url)
        .message_body(body);
    message.send().await.unwrap();
}

async fn poison(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let calls = &world.embedded.calls_queue_url;
    for body in ["garbage", "{}", r#"{"type":"dial.v9"}"#] {
        send(&world, calls, body).await;
    }
    // They are in nobody's way.
    let id = api.place(&number("486"), json!({})).await;
    assert_eq!(api.wait_until_over(&id).await["status"], "busy");

    let dead = DeadLetters::new(
        world.clients.sqs.clone(),
        world.embedded.dead_letter_queue_url.clone(),
        calls.clone(),
    );
    let all_there = async {
        loop {
            let letters = dead.take(10).await.unwrap();
            for letter in &letters {
                dead.put_back(letter).await.unwrap();
            }
            if letters.len() == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all_there)
        .await
        .expect("all of them in the dead-letter queue");
    assert!(world.bridge().counts().bad_messages >= 3);

    let listed = world.admin(&["dlq", "list"], "").await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let lines: Vec<_> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{listed:?}");
    assert!(
        lines.iter().all(|line| line.contains("unreadable")),
        "{listed:?}"
    );
    let first = lines[0].split('\t').next().unwrap();
    let shown = world.admin(&["dlq", "show", first], "").await;
    let bodies = ["garbage\n", "{}\n", "{\"type\":\"dial.v9\"}\n"];
    assert!(bodies.contains(&shown.stdout.as_str()), "{shown:?}");
    let missing = world.admin(&["dlq", "show", "nosuch"], "").await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("no message nosuch"), "{missing:?}");
}

async fn redrive(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("486");
    let id = api.place(&to, json!({})).await;
    // As if it had failed too often: out of the queue of calls, into the other.
    let minute = Duration::from_mins(1);
    let taken = world.queue().receive(1, Duration::ZERO, minute).await;
    let taken = taken.unwrap().remove(0);
    world
        .queue()
        .delete(std::slice::from_ref(&taken.receipt))
        .await
        .unwrap();
    let dead = world.embedded.dead_letter_queue_url.clone();
    send(&world, &dead, &taken.body).await;
    send(&world, &dead, "garbage").await;

    world.add_bridge(&[]).await;
    let listed = world.admin(&["dlq", "list"], "").await;
    let line = listed.stdout.lines().find(|line| line.contains(&id));
    let letter = line.expect("the call's message").split('\t').next();
    let sent = world.admin(&["dlq", "redrive", letter.unwrap()], "").await;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(api.wait_until_over(&id).await["status"], "busy");
    assert_eq!(pbx.invites_to(&to), 1);
    // The other one is still there.
    let listed = world.admin(&["dlq", "list"], "").await;
    assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
}
