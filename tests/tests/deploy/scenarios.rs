//! What the deployed system is used for, each part by itself, so that each needs certain rights.

use bridge::returning::SENT_ANEW_AT;
use cloud::clock;
use e2e::world::number;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{Bridge, PASSWORD, Site, USER};

/// A use of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A token.
    Token,
    /// A call is recorded and queued. Nobody dials it.
    Place,
    /// A call that cannot be queued ends as `not_queued`, and its client is told.
    NotQueued,
    /// The calls of a day, and what one is.
    List,
    /// The calls to a number.
    ListByNumber,
    /// A call that nobody has yet is canceled.
    Cancel,
    /// The database and the queue are well, with a call that waits.
    Health,
    /// The sweeper ends what has waited for too long.
    Sweep,
    /// A bridge makes itself known.
    Heartbeat,
    /// A bridge dials, and the call is completed.
    Call,
    /// A bridge is asked to hang up.
    HangUp,
    /// A message that cannot be read is given back.
    Unreadable,
    /// The message of a call that has waited for its trunk for long is sent anew.
    SentAnew,
    /// An administrator pauses all calls, and resumes them.
    Pause,
    /// A bridge is killed and started again, and follows its call.
    Restart,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Token,
        Self::Place,
        Self::List,
        Self::ListByNumber,
        Self::Cancel,
        Self::Health,
        Self::Heartbeat,
        Self::Call,
        Self::HangUp,
        Self::Unreadable,
        Self::SentAnew,
        Self::Pause,
        Self::Restart,
        Self::Sweep,
    ];

    /// Goes through it.
    pub async fn run(self, site: &mut Site) -> Result<(), String> {
        match self {
            Self::Token => token(site).await.map(|_| ()),
            Self::Place => place(site).await,
            Self::NotQueued => not_queued(site).await,
            Self::List => list(site).await,
            Self::ListByNumber => list_by_number(site).await,
            Self::Cancel => cancel(site).await,
            Self::Health => health(site).await,
            Self::Sweep => sweep(site).await,
            Self::Heartbeat => heartbeat(site).await,
            Self::Call => call(site).await,
            Self::HangUp => hang_up(site).await,
            Self::Unreadable => unreadable(site).await,
            Self::SentAnew => sent_anew(site).await,
            Self::Pause => pause(site).await,
            Self::Restart => restart(site).await,
        }
    }
}

/// A token of the API.
pub async fn token(site: &Site) -> Result<String, String> {
    let form = [("username", USER), ("password", PASSWORD)];
    let request = site
        .api
        .anonymous(Method::POST, "/api/v2/token")
        .form(&form);
    let granted = site.expect(200, request).await?;
    let token = granted["access_token"].as_str();
    token
        .map(str::to_owned)
        .ok_or_else(|| "no token".to_owned())
}

/// A call that a bridge that comes later does not dial.
async fn place_for_nobody(site: &Site) -> Result<(String, String), String> {
    let to = number("486");
    let id = site.place(&to, json!({"queue_timeout": 1_000})).await?;
    Ok((to, id))
}

async fn place(site: &mut Site) -> Result<(), String> {
    place_for_nobody(site).await.map(|_| ())
}

async fn calls_to(site: &Site, number: &str) -> Result<Vec<Value>, String> {
    let request = site.api.request(Method::GET, "/api/v2/calls");
    let listed = site
        .expect(200, request.query(&[("phone_number", number)]))
        .await?;
    Ok(listed["calls"].as_array().cloned().unwrap_or_default())
}

async fn not_queued(site: &mut Site) -> Result<(), String> {
    let to = number("486");
    let request = site.api.request(Method::POST, "/api/v2/calls");
    site.expect(503, request.json(&json!({"phone_number": to})))
        .await?;
    match calls_to(site, &to).await?.as_slice() {
        [call] if call["failure_reason"] == "not_queued" => Ok(()),
        calls => Err(format!("a call that was not queued: {calls:?}")),
    }
}

async fn list(site: &mut Site) -> Result<(), String> {
    let (_, id) = place_for_nobody(site).await?;
    let request = site
        .api
        .request(Method::GET, "/api/v2/calls?status=pending");
    let listed = site.expect(200, request).await?;
    let calls = listed["calls"].as_array().cloned().unwrap_or_default();
    if !calls.iter().any(|call| call["call_id"] == id.as_str()) {
        return Err(format!("the call is not in the list: {listed}"));
    }
    let path = format!("/api/v2/calls/{id}/events");
    site.expect(200, site.api.request(Method::GET, &path))
        .await?;
    site.call(&id).await.map(|_| ())
}

async fn list_by_number(site: &mut Site) -> Result<(), String> {
    let (to, id) = place_for_nobody(site).await?;
    match calls_to(site, &to).await?.as_slice() {
        [call] if call["call_id"] == id.as_str() => Ok(()),
        calls => Err(format!("the calls to one number: {calls:?}")),
    }
}

async fn cancel(site: &mut Site) -> Result<(), String> {
    let (_, id) = place_for_nobody(site).await?;
    let answer = site.hang_up(&id).await?;
    if answer["status"] == "canceled" {
        Ok(())
    } else {
        Err(format!("a pending call was not canceled: {answer}"))
    }
}

/// How the system says that it is.
async fn report(site: &Site) -> Result<Value, String> {
    let (_, report) = site
        .send(site.api.anonymous(Method::GET, "/health"))
        .await?;
    for part in ["database", "queue"] {
        if report[part]["status"] != "healthy" {
            return Err(format!("the {part}: {report}"));
        }
    }
    Ok(report)
}

async fn health(site: &mut Site) -> Result<(), String> {
    place_for_nobody(site).await?;
    report(site).await.map(|_| ())
}

/// A call that has waited for too long, though it was asked for just now.
pub async fn place_overdue(site: &mut Site) -> Result<String, String> {
    let (_, id) = place_for_nobody(site).await?;
    let past = clock::now().as_millis() - 3_600_000;
    let past = json!({"N": past.to_string()});
    let change = json!({
        "TableName": site.cloud.outputs["CallsTable"],
        "Key": {"call_id": {"S": id}},
        "UpdateExpression": "SET due = :past, dial_before = :past",
        "ExpressionAttributeValues": {":past": past},
    });
    site.cloud.ask("dynamodb", "update_item", change).await;
    Ok(id)
}

async fn sweep(site: &mut Site) -> Result<(), String> {
    let id = place_overdue(site).await?;
    let which = json!({"FunctionName": site.cloud.id("SweeperFunction")});
    let answer = site.cloud.ask("lambda", "invoke", which).await;
    if answer.get("FunctionError").is_some() {
        return Err(format!("the sweeper: {answer}"));
    }
    let call = site.call(&id).await?;
    if call["failure_reason"] == "expired" {
        Ok(())
    } else {
        Err(format!("the sweeper left {call}"))
    }
}

/// Waits until the API says that the bridge is well.
async fn wait_for_heartbeat(site: &mut Site, bridge: &Bridge) -> Result<(), String> {
    site.wait_until(bridge, "a bridge that is well", async |site| {
        let report = report(site).await?;
        let bridges = report["bridges"].as_array().cloned().unwrap_or_default();
        Ok(bridges.iter().any(|bridge| bridge["status"] == "healthy"))
    })
    .await
}

async fn heartbeat(site: &mut Site) -> Result<(), String> {
    site.forget_bridges().await;
    let bridge = site.start_bridge().await;
    wait_for_heartbeat(site, &bridge).await?;
    let metrics = site.api.anonymous(Method::GET, "/metrics");
    let metrics = site.expect(200, metrics).await?;
    let metrics = metrics.as_str().unwrap_or_default();
    if metrics.contains("bridge_heartbeat_age_seconds{bridge_id=\"bridge1\"}") {
        Ok(())
    } else {
        Err(format!("the metrics do not tell of the bridge: {metrics}"))
    }
}

/// Waits until no message is left.
async fn wait_for_empty(site: &mut Site, bridge: &Bridge, queue: &str) -> Result<(), String> {
    site.wait_until(bridge, "an empty queue", async |site| {
        Ok(site.messages(queue).await == (0, 0))
    })
    .await
}

async fn call(site: &mut Site) -> Result<(), String> {
    let bridge = site.start_bridge().await;
    let to = number("201");
    let body = json!({"phone_number": to, "media": ["sound:beep", "digits:42"]});
    let request = || {
        let request = site.api.request(Method::POST, "/api/v2/calls");
        request.header("idempotency-key", &to).json(&body)
    };
    let placed = site.expect(202, request()).await?;
    let again = site.expect(202, request()).await?;
    if placed["call_id"] != again["call_id"] {
        return Err(format!("two calls: {placed} {again}"));
    }
    let id = placed["call_id"].as_str().unwrap_or_default().to_owned();
    let call = site
        .wait_for_status(Some(&bridge), &id, "completed")
        .await?;
    if !call["failure_reason"].is_null() {
        return Err(format!("{call}"));
    }
    let rang = site.pbx.invites_to(&to);
    if rang != 1 {
        return Err(format!("the phone rang {rang} times"));
    }
    let path = format!("/api/v2/calls/{id}/events");
    let timeline = site
        .expect(200, site.api.request(Method::GET, &path))
        .await?;
    let events = timeline["events"].as_array().cloned().unwrap_or_default();
    for wanted in ["created", "answered", "ended"] {
        if !events.iter().any(|event| event["event"] == wanted) {
            return Err(format!("no {wanted} in {timeline}"));
        }
    }
    wait_for_empty(site, &bridge, "CallsQueueUrl").await
}

async fn hang_up(site: &mut Site) -> Result<(), String> {
    let bridge = site.start_bridge().await;
    let id = site.place(&number("200"), json!({})).await?;
    site.wait_for_status(Some(&bridge), &id, "answered").await?;
    site.hang_up(&id).await?;
    let call = site
        .wait_for_status(Some(&bridge), &id, "completed")
        .await?;
    let path = format!("/api/v2/calls/{id}/events");
    let timeline = site
        .expect(200, site.api.request(Method::GET, &path))
        .await?;
    if !timeline.to_string().contains("\"hangup_requested\"") {
        return Err(format!("nobody hung up: {call} {timeline}"));
    }
    wait_for_empty(site, &bridge, "ControlQueueUrlbridge1").await
}

async fn unreadable(site: &mut Site) -> Result<(), String> {
    let bridge = site.start_bridge().await;
    site.send_nonsense("CallsQueueUrl").await;
    // Unless it is given back it is away for a minute.
    let back = site
        .wait_until(&bridge, "a message that comes back", async |_| {
            Ok(bridge.said("a message cannot be read") > 1)
        })
        .await;
    site.purge("CallsQueueUrl").await;
    back
}

async fn sent_anew(site: &mut Site) -> Result<(), String> {
    site.pbx.remove_trunk(true).await;
    let ended = sent_anew_without_trunk(site).await;
    site.pbx.remove_trunk(false).await;
    site.purge("CallsQueueUrl").await;
    ended
}

async fn sent_anew_without_trunk(site: &mut Site) -> Result<(), String> {
    const QUEUE: &str = "CallsQueueUrl";
    site.empty_queues().await;
    place_for_nobody(site).await?;
    // As if bridges had given the message back before.
    for _ in 1..SENT_ANEW_AT {
        let which = json!({"QueueUrl": site.cloud.outputs[QUEUE], "VisibilityTimeout": 0});
        let received = site.cloud.ask("sqs", "receive_message", which).await;
        if received["Messages"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("the message did not come: {received}"));
        }
    }
    let bridge = site.start_bridge_on_waiting_messages();
    // What was received is deleted then, and what was sent is delayed: neither is counted here.
    site.wait_until(&bridge, "a message that is sent anew", async |site| {
        Ok(bridge.said("circuit opened") > 0 && site.messages(QUEUE).await == (0, 0))
    })
    .await
}

async fn pause(site: &mut Site) -> Result<(), String> {
    site.cloud.admin(&["pause"], "").await?;
    let waited = paused(site).await;
    site.cloud.admin(&["resume"], "").await?;
    let (bridge, id) = waited?;
    site.wait_for_status(Some(&bridge), &id, "busy")
        .await
        .map(|_| ())
}

async fn paused(site: &mut Site) -> Result<(Bridge, String), String> {
    let bridge = site.start_bridge().await;
    let to = number("486");
    let id = site.place(&to, json!({})).await?;
    site.wait_until(&bridge, "a bridge that is paused", async |_| {
        Ok(bridge.said("circuit opened") > 0)
    })
    .await?;
    if site.pbx.invites_to(&to) > 0 {
        return Err("a call was dialled although calls are paused".to_owned());
    }
    Ok((bridge, id))
}

async fn restart(site: &mut Site) -> Result<(), String> {
    let bridge = site.start_bridge().await;
    let id = site
        .place(&number("000"), json!({"timeout": 60_000}))
        .await?;
    site.wait_for_status(Some(&bridge), &id, "ringing").await?;
    drop(bridge);
    let bridge = site.start_bridge().await;
    site.hang_up(&id).await?;
    site.wait_for_status(Some(&bridge), &id, "canceled").await?;
    wait_for_empty(site, &bridge, "ControlQueueUrlbridge1").await
}
