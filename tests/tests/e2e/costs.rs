//! What a call costs in requests to `DynamoDB` and SQS, counted at the wire. It may only become less.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::control::LOOKED_AT_EVERY;
use bridge::{Bridge, BridgeSettings};
use cloud::ports::Calls;
use domain::CallStatus;
use e2e::ledger::{Bill, Ledger};
use e2e::world::{number, read_settings};
use e2e::{Client, Line, Pbx, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;
use crate::outages::own_asterisk;

pub fn add(suite: &mut Suite) {
    suite.add(
        "costs::what_has_ended_tokens_is_read_once_in_ten_seconds",
        standing_costs,
    );
    suite.add_asterisk("costs::no_call_costs_more_than_it_did", call_costs);
}

/// At most this, in the order of [`Bill`]: writes, their units, reads, their units, requests to SQS.
const fn at_most(
    writes: u32,
    write_units: f64,
    reads: u32,
    read_units: f64,
    queue_requests: u32,
) -> Bill {
    Bill {
        writes,
        write_units,
        reads,
        read_units,
        queue_requests,
        // Once in ten seconds.
        standings: 1,
        standing_units: 2.0,
        counts: 0,
    }
}

/// What it costs to look whether a token was ended, and to count the calls of a day, for requests that
/// find the functions warm.
async fn standing_costs(pbx: Arc<Pbx>) {
    const REQUESTS: u32 = 20;
    let costs = Costs::on(&pbx).await;
    for (limit, counts) in [(None, 0), (Some(1_000), REQUESTS)] {
        let api = costs.world.api_with_daily_calls(Line::Trunk, limit).await;
        costs.ledger.forget();
        let asked_at = Instant::now();
        for _ in 0..REQUESTS {
            api.place(&number("200"), json!({})).await;
        }
        let bill = costs.ledger.take().0;
        println!("{REQUESTS} calls, limited to {limit:?}: {bill}");
        let windows = 1 + u32::try_from(asked_at.elapsed().as_secs() / 10).unwrap();
        assert!(
            (1..=windows).contains(&bill.standings)
                && bill.standing_units <= 2.0 * f64::from(windows),
            "{bill}"
        );
        assert_eq!(bill.counts, counts, "{bill}");
    }
}

struct Costs {
    world: World,
    ledger: Ledger,
    api: Client,
    direct: Arc<dyn Calls>,
}

impl Costs {
    async fn on(pbx: &Arc<Pbx>) -> Self {
        let mut world = World::without_bridge(pbx).await;
        let direct = world.calls();
        let ledger = Ledger::before(&world.embedded).await;
        world.clients = ledger.clients.clone();
        let api = world.api(Line::Trunk).await;
        Self {
            world,
            ledger,
            api,
            direct,
        }
    }

    /// A bridge, and its control queue.
    async fn start_bridge(&self) -> (Bridge, String) {
        let mut environment = self.world.bridge_environment();
        let id = environment["BRIDGE_ID"].parse().unwrap();
        let control = self.world.embedded.create_control_queue(&id).await.unwrap();
        environment.insert("CONTROL_QUEUE_URL".to_owned(), control.clone());
        let settings = read_settings(&environment, BridgeSettings::read);
        let clients = self.ledger.clients.signed_as(settings.bridge_id.as_str());
        let bridge = Bridge::start(settings, &clients).unwrap();
        bridge.wait_until_up().await;
        (bridge, control)
    }

    /// Waits, without a request that is counted, until the call is over and its message gone.
    async fn wait_until_over(&self, id: &str) {
        let calls = &self.world.embedded.calls_queue_url;
        self.wait_until(id, calls, CallStatus::is_terminal).await;
    }

    /// Waits, without a request that is counted, for the call's status and an empty queue.
    async fn wait_until(&self, id: &str, queue: &str, wanted: fn(CallStatus) -> bool) {
        let id = id.parse().unwrap();
        let waiting = async {
            while !wanted(self.direct.get(id).await.unwrap().unwrap().status)
                || self.world.in_queue(queue).await > 0
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), waiting)
            .await
            .expect("the call's status and an empty queue");
    }

    /// Notes what has been asked for.
    fn settle(&self, what: &str, most: Bill, over: &mut Vec<String>) {
        let (bill, lines) = self.ledger.take();
        println!("{what}: {bill}");
        let dearer = bill.writes > most.writes
            || bill.write_units > most.write_units
            || bill.reads > most.reads
            || bill.read_units > most.read_units
            || bill.standings > most.standings
            || bill.standing_units > most.standing_units
            || bill.counts > most.counts
            || bill.queue_requests > most.queue_requests;
        if dearer {
            over.push(format!(
                "{what}: {bill}; it was {most}\n  {}",
                lines.join("\n  ")
            ));
        }
    }
}

async fn call_costs(_: Arc<Pbx>) {
    // A bridge that starts looks up the channels of others once; here are none.
    let pbx = own_asterisk().await;
    let costs = Costs::on(&pbx).await;
    let (bridge, control) = costs.start_bridge().await;
    let mut over = Vec::new();
    for (what, digits, body, most) in [
        (
            "answered, sent on into the dialplan",
            "200",
            json!({}),
            at_most(5, 11.0, 0, 0.0, 3),
        ),
        (
            "answered, played to",
            "200",
            json!({"media": ["sound:hello-world"]}),
            at_most(6, 12.0, 0, 0.0, 3),
        ),
        ("busy", "486", json!({}), at_most(4, 10.0, 0, 0.0, 3)),
        (
            "not answered",
            "480",
            json!({}),
            at_most(4, 10.0, 0, 0.0, 3),
        ),
        ("rejected", "404", json!({}), at_most(4, 10.0, 0, 0.0, 3)),
    ] {
        costs.ledger.forget();
        let id = costs.api.place(&number(digits), body).await;
        costs.wait_until_over(&id).await;
        costs.settle(what, most, &mut over);
    }

    let id = costs.api.place(&number("000"), json!({})).await;
    let calls = &costs.world.embedded.calls_queue_url;
    let rings = |status| status == CallStatus::Ringing;
    costs.wait_until(&id, calls, rings).await;
    costs.ledger.forget();
    let path = format!("/api/v2/calls/{id}/hangup");
    let asked_at = Instant::now();
    let asked = costs.api.request(Method::POST, &path).send().await.unwrap();
    assert_eq!(asked.status(), 202);
    // What asks for it comes back, for the bridge to see that it was obeyed: a call that it does not follow is read.
    costs
        .wait_until(&id, &control, CallStatus::is_terminal)
        .await;
    // It is sent, looked at, looked at again and deleted; one look more for a call that takes longer to end.
    let looks = asked_at.elapsed().as_secs() / LOOKED_AT_EVERY.as_secs();
    costs.settle(
        "hung up while it rings, from the request on",
        at_most(2, 3.0, 2, 2.0, 3 + u32::try_from(looks).unwrap()),
        &mut over,
    );

    for (what, path, most) in [
        (
            "its status",
            format!("/api/v2/calls/{id}"),
            at_most(0, 0.0, 1, 1.0, 0),
        ),
        (
            "its events",
            format!("/api/v2/calls/{id}/events"),
            at_most(0, 0.0, 1, 1.0, 0),
        ),
    ] {
        let answer = costs.api.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        costs.settle(what, most, &mut over);
    }
    assert!(bridge.stop().await);
    costs.ledger.forget();

    replays_and_lists(&costs, &mut over).await;
    assert!(over.is_empty(), "{}", over.join("\n"));
}

/// What needs no bridge.
async fn replays_and_lists(costs: &Costs, over: &mut Vec<String>) {
    let api = &costs.api;
    let to = number("200");
    let keyed = || {
        let request = api
            .request(Method::POST, "/api/v2/calls")
            .header("idempotency-key", "the-same");
        request.json(&json!({"phone_number": to}))
    };
    assert_eq!(keyed().send().await.unwrap().status(), 202);
    costs.settle("asked for", at_most(1, 4.0, 0, 0.0, 1), over);
    assert_eq!(keyed().send().await.unwrap().status(), 202);
    // Whoever queues a call again writes its own id into the record first, and then that it was done.
    costs.settle(
        "asked for again with the same key, while it waits",
        at_most(3, 3.0, 0, 0.0, 1),
        over,
    );
    assert_eq!(keyed().send().await.unwrap().status(), 202);
    costs.settle(
        "asked for again once more, within seconds",
        at_most(2, 2.0, 0, 0.0, 0),
        over,
    );
    let id = costs.api.place(&number("200"), json!({})).await;
    costs.ledger.forget();
    let asked = api.request(Method::POST, &format!("/api/v2/calls/{id}/hangup"));
    assert_eq!(asked.send().await.unwrap().status(), 202);
    costs.settle("canceled while it waits", at_most(1, 2.0, 1, 1.0, 0), over);
    let list = api
        .request(Method::GET, "/api/v2/calls")
        .query(&[("phone_number", &to)]);
    let page: Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!(page["calls"].as_array().unwrap().len(), 1);
    costs.settle("a number's calls, one", at_most(0, 0.0, 2, 1.0, 0), over);
}
