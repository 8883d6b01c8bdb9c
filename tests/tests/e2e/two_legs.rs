//! Answered calls that the dialplan bridges with a second phone, with audio in both directions.

use std::sync::Arc;
use std::time::Duration;

use e2e::client::read;
use e2e::phone::Speech;
use e2e::program::Program;
use e2e::world::number;
use e2e::{Client, Line, Pbx, Phone, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;

/// The lines over which a call is placed.
const LINES: [(&str, Line); 2] = [("trunk", Line::Trunk), ("local", Line::Local)];

pub fn add(suite: &mut Suite) {
    for (name, line) in LINES {
        let mut add = |what: &str, test: fn(Arc<Pbx>, Line) -> Test| {
            suite.add_scenario(&format!("two_legs::{name}_{what}"), move |pbx| {
                test(pbx, line)
            });
        };
        add("lasts_until_the_second_phone_hangs_up", |pbx, line| {
            Box::pin(second_hangs_up(pbx, line))
        });
        add("is_hung_up_over_the_api", |pbx, line| {
            Box::pin(hung_up(pbx, line))
        });
        add("ends_at_its_limit", |pbx, line| {
            Box::pin(limited(pbx, line))
        });
        add("goes_on_over_a_restart_of_the_bridge", |pbx, line| {
            Box::pin(restarted(pbx, line))
        });
        add("is_not_ended_by_a_busy_second_phone", |pbx, line| {
            Box::pin(second_is_busy(pbx, line))
        });
    }
}

type Test = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// How many packets make sure that two phones hear each other.
const ENOUGH: usize = 25;

/// Two phones that talk, and the call that brought them together.
struct Conversation {
    id: String,
    first: Phone,
    second: Phone,
}

impl Conversation {
    /// Places a call that the dialplan bridges, and waits until both phones hear each other.
    async fn begin(pbx: &Arc<Pbx>, api: &Client, body: Value) -> Self {
        let first = Phone::saying(Speech::Positive, pbx).await;
        let second = Phone::saying(Speech::Negative, pbx).await;
        let mut body = body;
        body["context"] = json!("bridged");
        body["extension"] = json!(second.number);
        let id = api.place(&first.number, body).await;
        api.wait_until(&id, |call| !call["answered_at"].is_null())
            .await;
        let conversation = Self { id, first, second };
        conversation.goes_on(pbx).await;
        conversation
    }

    /// Waits until more of both has been heard.
    async fn goes_on(&self, pbx: &Pbx) {
        if let Pbx::Asterisk(_) = pbx {
            tokio::join!(
                self.first.hears(&self.second, ENOUGH),
                self.second.hears(&self.first, ENOUGH)
            );
        } else {
            self.wait_until_dialled(pbx).await;
        }
    }

    /// The simulator has no audio.
    async fn wait_until_dialled(&self, pbx: &Pbx) {
        let dialled = async {
            while pbx.invites_to(&self.second.number) == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), dialled).await;
        assert!(in_time.is_ok(), "the second phone was never dialled");
    }

    /// Each phone was rung once, both are hung up, and the record says how long they talked.
    async fn has_ended(&self, pbx: &Pbx, api: &Client) -> Value {
        let call = api.wait_until_over(&self.id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some("completed"), None),
            "{call}"
        );
        for phone in [&self.first, &self.second] {
            is_over(pbx, &phone.number).await;
            was_rung_once(pbx, &phone.number);
        }
        is_as_long_as_the_talk(pbx, &call);
        assert_eq!(
            pbx.channels_among(std::slice::from_ref(&self.id)).await,
            Vec::<String>::new()
        );
        call
    }
}

/// Waits until the phone at `number` has heard the end of its call.
pub async fn is_over(pbx: &Pbx, number: &str) {
    if let Pbx::Simulator { .. } = pbx {
        return;
    }
    let over = async {
        while pbx
            .talk_with(number)
            .is_none_or(|talk| talk.until.is_none())
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), over).await;
    assert!(
        in_time.is_ok(),
        "{number} was not hung up: {:?}",
        pbx.talk_with(number)
    );
}

/// The record's duration is that of the callee's own log, to the second.
pub fn is_as_long_as_the_talk(pbx: &Pbx, call: &Value) {
    let number = call["phone_number"].as_str().expect("a number");
    let Some(lasting) = pbx.talk_with(number).and_then(|talk| talk.lasting()) else {
        return;
    };
    let told = call["duration"].as_u64().expect("a duration");
    let lasting = lasting.as_millis();
    let told_millis = u128::from(told) * 1_000;
    assert!(
        told_millis.abs_diff(lasting) <= 1_500,
        "{lasting} ms: {call}"
    );
}

/// The simulator does not count the phones behind a `Local` channel.
fn was_rung_once(pbx: &Pbx, number: &str) {
    if let Pbx::Asterisk(_) = pbx {
        assert_eq!(pbx.invites_to(number), 1, "{number}");
    }
}

async fn answered_still(api: &Client, id: &str) {
    let call = api.status(id).await;
    assert_eq!(call["status"], "answered", "{call}");
}

async fn second_hangs_up(pbx: Arc<Pbx>, line: Line) {
    let world = World::start(&pbx).await;
    let api = world.api(line).await;
    let first = Phone::saying(Speech::Positive, &pbx).await;
    // It answers at once, and hangs up after a second.
    let second = number("201");
    let body = json!({"context": "bridged", "extension": second});
    let id = api.place(&first.number, body).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("completed"), None),
        "{call}"
    );
    is_over(&pbx, &first.number).await;
    is_over(&pbx, &second).await;
    is_as_long_as_the_talk(&pbx, &call);
    assert!(call["duration"].as_u64() >= Some(1), "{call}");
    was_rung_once(&pbx, &first.number);
    assert_eq!(pbx.invites_to(&second), 1);
}

async fn hung_up(pbx: Arc<Pbx>, line: Line) {
    let world = World::start(&pbx).await;
    let api = world.api(line).await;
    let conversation = Conversation::begin(&pbx, &api, json!({})).await;
    answered_still(&api, &conversation.id).await;
    conversation.goes_on(&pbx).await;
    answered_still(&api, &conversation.id).await;
    let path = format!("/api/v2/calls/{}/hangup", conversation.id);
    let request = api.request(Method::POST, &path).send();
    let (status, body) = read(request.await.expect("an answer")).await;
    assert_eq!(status, 202, "{body}");
    conversation.has_ended(&pbx, &api).await;
}

async fn limited(pbx: Arc<Pbx>, line: Line) {
    let world = World::start(&pbx).await;
    let api = world.api(line).await;
    let conversation = Conversation::begin(&pbx, &api, json!({"max_duration": 3})).await;
    let call = conversation.has_ended(&pbx, &api).await;
    assert!(call["duration"].as_u64() >= Some(3), "{call}");
    let events = api.events(&conversation.id).await;
    assert!(
        events.contains(&"hangup_requested".to_owned()),
        "{events:?}"
    );
}

async fn restarted(pbx: Arc<Pbx>, line: Line) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(line).await;
    let environment = world.bridge_environment();
    let mut bridge = Program::start("bridge", &[], &environment);
    let conversation = Conversation::begin(&pbx, &api, json!({})).await;
    bridge.kill().await;
    conversation.goes_on(&pbx).await;
    let mut bridge = Program::start("bridge", &[], &environment);
    // What comes now is dialled by the bridge once it has looked after its calls.
    let next = api.place(&number("486"), json!({})).await;
    api.wait_until_over(&next).await;
    conversation.goes_on(&pbx).await;
    answered_still(&api, &conversation.id).await;
    pbx.end_channel(&conversation.id).await;
    conversation.has_ended(&pbx, &api).await;
    bridge.kill().await;
}

/// `Dial BUSY` then names our channel as the caller, and is no end of ours.
async fn second_is_busy(pbx: Arc<Pbx>, line: Line) {
    let world = World::start(&pbx).await;
    let api = world.api(line).await;
    for digits in ["486", "9503", "9404"] {
        let (first, second) = (Phone::saying(Speech::Positive, &pbx).await, number(digits));
        let body = json!({"context": "bridged", "extension": second});
        let id = api.place(&first.number, body).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some("completed"), None),
            "{digits}: {call}"
        );
        assert!(call["answered_at"].is_string(), "{digits}: {call}");
        is_over(&pbx, &first.number).await;
        is_as_long_as_the_talk(&pbx, &call);
        assert_eq!(pbx.invites_to(&second), 1, "{digits}");
    }
}
