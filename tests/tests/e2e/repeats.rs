//! Requests that are repeated with the same `Idempotency-Key` while calls cannot be queued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud::aws::{Clients, Patience};
use domain::QueueMessage;
use e2e::client::read;
use e2e::proxy::{Mode, Proxy};
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use functions::placing::QUEUED_AGAIN_AFTER;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario(
        "repeats::a_call_that_was_refused_is_made_when_its_request_is_repeated",
        refused,
    );
    suite.add_scenario(
        "repeats::a_client_that_repeats_all_the_time_sends_few_messages",
        hammering,
    );
    suite.add("repeats::racing_repeats_make_one_call", racing);
    suite.add("repeats::a_key_is_used_up_after_sixteen_calls", used_up);
    suite.add_scenario(
        "repeats::a_send_that_fails_late_does_not_undo_a_repetition",
        late_failure,
    );
}

/// A system whose API can be cut off from the queue.
struct Cut {
    world: World,
    /// An API that always reaches the queue.
    good: Client,
    /// An API behind the proxy.
    behind: Client,
    proxy: Proxy,
}

impl Cut {
    async fn on(mut world: World) -> Self {
        let good = world.api(Line::Trunk).await;
        let proxy = Proxy::before(world.embedded.sqs_url()).await;
        let direct = world.clients.clone();
        let sqs = proxy.instead_of(world.embedded.sqs_url());
        world.clients =
            Clients::local(Patience::FUNCTION, world.embedded.dynamodb_url(), &sqs).await;
        let behind = world.api(Line::Trunk).await;
        world.clients = direct;
        Self {
            world,
            good,
            behind,
            proxy,
        }
    }
}

/// An answer to a request with a key.
#[derive(Debug)]
struct Answer {
    status: u16,
    replayed: bool,
    retry_after: bool,
    body: Value,
}

impl Answer {
    fn id(&self) -> &str {
        self.body["call_id"].as_str().unwrap()
    }
}

async fn post(api: &Client, key: &str, to: &str) -> Answer {
    let request = api
        .request(Method::POST, "/api/v2/calls")
        .header("idempotency-key", key)
        .json(&json!({"phone_number": to}));
    let response = request.send().await.unwrap();
    let replayed = response.headers().contains_key("idempotent-replayed");
    let retry_after = response.headers().contains_key("retry-after");
    let (status, body) = read(response).await;
    Answer {
        status,
        replayed,
        retry_after,
        body,
    }
}

/// The calls to a number.
async fn calls_to(api: &Client, number: &str) -> Vec<Value> {
    let request = api
        .request(Method::GET, "/api/v2/calls")
        .query(&[("phone_number", number)]);
    let (_, page) = read(request.send().await.unwrap()).await;
    page["calls"].as_array().unwrap().clone()
}

async fn refused(pbx: Arc<Pbx>) {
    let cut = Cut::on(World::start(&pbx).await).await;
    let to = number("486");
    cut.proxy.set(Mode::Cut);
    let first = post(&cut.behind, "order-1", &to).await;
    assert_eq!((first.status, first.retry_after), (503, true), "{first:?}");
    let again = post(&cut.behind, "order-1", &to).await;
    assert_eq!(again.status, 503, "{again:?}");

    cut.proxy.set(Mode::Open);
    let made = post(&cut.behind, "order-1", &to).await;
    assert_eq!((made.status, made.replayed), (202, false), "{made:?}");
    let replayed = post(&cut.behind, "order-1", &to).await;
    assert_eq!((replayed.status, replayed.replayed), (202, true));
    assert_eq!(replayed.body, made.body);
    let call = cut.good.wait_until_over(made.id()).await;
    assert_eq!(call["status"], "busy");
    assert_eq!(pbx.invites_to(&to), 1);

    // What was refused stays as it was told.
    let calls = calls_to(&cut.good, &to).await;
    assert_eq!(calls.len(), 3, "{calls:?}");
    for call in calls.iter().filter(|call| call["call_id"] != made.id()) {
        assert_eq!(call["failure_reason"], "not_queued", "{call}");
    }
    // A key belongs to its request, whichever of its calls was made.
    let other = post(&cut.good, "order-1", &number("486")).await;
    assert_eq!(other.status, 422, "{other:?}");
}

async fn racing(pbx: Arc<Pbx>) {
    let cut = Cut::on(World::without_bridge(&pbx).await).await;
    let to = number("486");
    cut.proxy.set(Mode::Cut);
    assert_eq!(post(&cut.behind, "order-2", &to).await.status, 503);
    let repeats = join_all((0..20).map(|_| post(&cut.good, "order-2", &to))).await;
    let made = repeats[0].id();
    assert!(
        repeats
            .iter()
            .all(|one| one.status == 202 && one.id() == made),
        "{repeats:?}"
    );
    assert_eq!(repeats.iter().filter(|one| !one.replayed).count(), 1);
    assert_eq!(cut.world.recorded().await, 2);
}

async fn used_up(pbx: Arc<Pbx>) {
    let cut = Cut::on(World::without_bridge(&pbx).await).await;
    let to = number("486");
    cut.proxy.set(Mode::Cut);
    for number_of_try in 0..16 {
        let answer = post(&cut.behind, "order-3", &to).await;
        assert_eq!(answer.status, 503, "{number_of_try}: {answer:?}");
    }
    let last = post(&cut.good, "order-3", &to).await;
    assert_eq!(last.status, 422, "{last:?}");
    let detail = last.body["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("another"), "{detail}");
    assert_eq!(cut.world.recorded().await, 16);
    assert_eq!(cut.world.queued().await, 0);
}

async fn late_failure(pbx: Arc<Pbx>) {
    let mut cut = Cut::on(World::without_bridge(&pbx).await).await;
    let to = number("486");
    // The first request records its call and waits for the queue.
    cut.proxy.set(Mode::Stalled);
    let first = tokio::spawn({
        let (behind, to) = (cut.behind.clone(), to.clone());
        async move { post(&behind, "order-4", &to).await }
    });
    let recorded = async {
        while cut.world.recorded().await == 0 {
            tokio::task::yield_now().await;
        }
    };
    let recorded = tokio::time::timeout(Duration::from_mins(1), recorded).await;
    recorded.expect("a record");
    let repeated = post(&cut.good, "order-4", &to).await;
    assert_eq!((repeated.status, repeated.replayed), (202, true));
    // Its own message is lost in the end. Whether somebody is called is not its to say.
    let first = first.await.unwrap();
    assert_eq!(
        (first.status, first.body["type"].as_str()),
        (500, Some("urn:problem:outcome-unknown")),
        "{first:?}"
    );
    assert_eq!(first.id(), repeated.id());
    assert_eq!(cut.good.status(repeated.id()).await["status"], "pending");
    cut.world.add_bridge(&[]).await;
    let call = cut.good.wait_until_over(repeated.id()).await;
    assert_eq!(call["status"], "busy", "{call}");
    assert_eq!(pbx.invites_to(&to), 1);
}

/// Each message would cost a bridge a channel, a slot and a turn.
async fn hammering(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("000");
    let begun = Instant::now();
    let first = post(&api, "order-9", &to).await;
    for _ in 0..20 {
        let again = post(&api, "order-9", &to).await;
        assert_eq!((again.status, again.replayed), (202, true), "{again:?}");
        assert_eq!(again.id(), first.id());
    }
    let most = 2 + begun.elapsed().as_secs() / QUEUED_AGAIN_AFTER.as_secs();
    let queued = u64::try_from(world.queued().await).unwrap();
    assert!((2..=most).contains(&queued), "{queued} messages");

    // One that comes when the call is on its way is read, and makes no channel.
    world.add_bridge(&[]).await;
    let id = first.id().to_owned();
    api.wait_until(&id, |call| call["status"] == "ringing")
        .await;
    let call = world.calls().get(id.parse().unwrap()).await.unwrap();
    let repeat = QueueMessage::DialAgain(call.expect("a record").request);
    world.queue().send(&repeat).await.unwrap();
    let drained = async {
        while world.queued().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), drained)
        .await
        .expect("an empty queue");
    assert_eq!(api.status(&id).await["status"], "ringing");
    assert_eq!(pbx.invites_to(&to), 1);
    assert!(world.bridge().hang_up(id.parse().unwrap()));
    api.wait_until_over(&id).await;
}
