//! A limit is kept, whoever is gone.

use std::sync::Arc;
use std::time::Duration;

use cloud::clock;
use e2e::program::Program;
use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::{Value, json};

use crate::Suite;
use crate::recovery::{place_until, wait_for_channel};
use crate::two_legs::{is_as_long_as_the_talk, is_over};

pub fn add(suite: &mut Suite) {
    suite.add_asterisk("limits::a_restart_of_the_bridge_grants_nothing", restarted);
    suite.add_scenario(
        "limits::without_a_bridge_asterisk_keeps_the_limit",
        bridge_gone,
    );
    suite.add_scenario(
        "limits::an_end_that_nobody_saw_is_no_later_than_the_limit",
        unseen_end,
    );
    suite.add_asterisk(
        "limits::a_dialplan_that_clears_the_limit_does_not_outlive_it",
        cleared,
    );
}

/// What Asterisk is given beyond the limit, so that the bridge is first, in seconds.
const GRACE: u64 = 5;
/// How exact Asterisk and the callee's log are.
const SLACK: Duration = Duration::from_secs(1);

/// Waits until the phone at `number` has talked for so long.
async fn has_talked_for(pbx: &Pbx, number: &str, lasting: Duration) {
    let answered = async {
        while pbx.talk_with(number).is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), answered).await;
    assert!(in_time.is_ok(), "{number} did not answer");
    tokio::time::sleep(lasting).await;
}

/// The end was not seen, and the record does not say that the call went on until it was noticed.
fn ended_unseen(call: &Value, limit: u64) {
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("completed"), Some("end_not_seen")),
        "{call}"
    );
    assert!(call["duration"].is_null(), "{call}");
    let time = |name: &str| -> domain::Timestamp {
        let text = call[name].as_str().expect("a time");
        text.parse().expect("a time")
    };
    let lasting = time("ended_at").since(time("answered_at"));
    assert!(lasting <= Duration::from_secs(limit + GRACE), "{call}");
}

async fn restarted(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let mut bridge = Program::start("bridge", &[], &environment);
    let to = number("200");
    let body = json!({"max_duration": 12, "context": "hold"});
    let id = place_until(&api, &to, body, "answered").await;
    for _ in 0..3 {
        has_talked_for(&pbx, &to, Duration::from_secs(3)).await;
        bridge.kill().await;
        bridge = Program::start("bridge", &[], &environment);
    }
    let call = api.wait_until_over(&id).await;
    is_over(&pbx, &to).await;
    let lasting = pbx.talk_with(&to).and_then(|talk| talk.lasting());
    let lasting = lasting.expect("an end");
    assert!(lasting >= Duration::from_secs(12), "{lasting:?}: {call}");
    // Asterisk itself would have ended it then.
    let latest = Duration::from_secs(12 + GRACE) + SLACK;
    assert!(lasting <= latest, "{lasting:?}: {call}");
    let events = api.events(&id).await;
    assert!(
        events.contains(&"hangup_requested".to_owned()),
        "{events:?}"
    );
    assert_eq!(call["status"], "completed", "{call}");
    is_as_long_as_the_talk(&pbx, &call);
    bridge.kill().await;
}

async fn bridge_gone(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let mut bridge = Program::start("bridge", &[], &environment);
    // One goes on in the dialplan, one is played to and waits for more when that is over.
    let (talks, listens) = (number("200"), number("200"));
    let context = pbx.lasting_context();
    let body = json!({"max_duration": 3, "context": context});
    let talking = place_until(&api, &talks, body, "answered").await;
    let body = json!({"max_duration": 3, "media": ["digits:0123456789"]});
    let listening = place_until(&api, &listens, body, "answered").await;
    // The limit is given to Asterisk before the call goes on.
    let events = async {
        while pbx
            .get(&format!("channels/{talking}"))
            .await
            .is_some_and(|channel| channel["dialplan"]["app_name"] == "Stasis")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), events).await;
    assert!(in_time.is_ok(), "the call did not go on");
    bridge.kill().await;
    for (to, id) in [(&talks, &talking), (&listens, &listening)] {
        wait_for_channel(&pbx, id, None).await;
        is_over(&pbx, to).await;
        let lasting = pbx.talk_with(to).and_then(|talk| talk.lasting());
        let latest = Duration::from_secs(3 + GRACE) + SLACK;
        assert!(
            lasting.is_none_or(|lasting| lasting <= latest),
            "{lasting:?}"
        );
    }
    // Its records are closed by the next life of the bridge.
    let mut bridge = Program::start("bridge", &[], &environment);
    for id in [&talking, &listening] {
        ended_unseen(&api.wait_until_over(id).await, 3);
    }
    bridge.kill().await;
}

async fn unseen_end(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let mut bridge = Program::start("bridge", &[], &environment);
    // The callee hangs up after a second.
    let to = number("201");
    let id = place_until(&api, &to, json!({"max_duration": 2}), "answered").await;
    bridge.kill().await;
    wait_for_channel(&pbx, &id, None).await;
    // Long after the limit, by which the record's end is bounded.
    tokio::time::sleep(Duration::from_secs(2 + GRACE + 2)).await;
    let mut bridge = Program::start("bridge", &[], &environment);
    let call = api.wait_until_over(&id).await;
    ended_unseen(&call, 2);
    bridge.kill().await;
}

/// The sweeper closes the record meanwhile, so that the channel is known by its id only.
async fn cleared(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let mut bridge = Program::start("bridge", &[], &environment);
    let (swept, kept) = (number("200"), number("200"));
    let limited = json!({"max_duration": 2, "context": "unlimited"});
    let long = json!({"max_duration": 600, "context": "unlimited"});
    let over = place_until(&api, &swept, limited, "answered").await;
    let goes_on = place_until(&api, &kept, long, "answered").await;
    bridge.kill().await;
    has_talked_for(&pbx, &swept, Duration::from_secs(2 + GRACE + 2)).await;
    assert_eq!(pbx.talk_with(&swept).and_then(|talk| talk.until), None);
    // An hour later the bridge is taken for gone, and the calls that are past their deadline are ended.
    let later = clock::now().plus(Duration::from_mins(5));
    let done = world.sweeper().sweep(later).await.expect("a sweep");
    assert_eq!(done.lost, 1, "{done:?}");
    ended_unseen(&api.status(&over).await, 2);
    let mut bridge = Program::start("bridge", &[], &environment);
    is_over(&pbx, &swept).await;
    assert_eq!(api.status(&goes_on).await["status"], "answered");
    assert_eq!(pbx.talk_with(&kept).and_then(|talk| talk.until), None);
    bridge.kill().await;
}
