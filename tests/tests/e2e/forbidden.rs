//! What may not be called, or not so, whoever asks for it: a client, or whoever may send to the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloud::call_item::Item;
use domain::asterisk_variables::is_read_by_asterisk;
use domain::{Call, CallRequest, DialplanTarget, QueueMessage, Variables};
use e2e::asterisk::modules::variables_read;
use e2e::released::{self, Moved};
use e2e::world::{SECRET_KEY, call_of, jwt, number, source};
use e2e::{Client, Line, Pbx, World};
use functions::jwt::Scope;
use local::embedded::CALLS_TABLE;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;
use crate::lambda::{body, start_with};
use crate::outages::own_asterisk;

/// A variable that Asterisk writes into the INVITE's From as it is, in each way it is handed on to other channels.
const SPELLINGS: [&str; 3] = ["SIPFROMDOMAIN", "_SIPFROMDOMAIN", "__SIPFROMDOMAIN"];
const INJECTED: &str = "bank.example>;injected=yes";

pub fn add(suite: &mut Suite) {
    suite.add_asterisk(
        "forbidden::asterisk_obeys_what_a_client_may_not_set",
        obeyed,
    );
    suite.add_asterisk(
        "forbidden::every_name_that_a_module_reads_is_known",
        modules,
    );
    suite.add_scenario(
        "forbidden::a_variable_that_asterisk_obeys_reaches_no_phone",
        variables,
    );
    suite.add_scenario(
        "forbidden::a_record_with_a_forbidden_variable_is_dealt_with",
        records,
    );
    suite.add_scenario(
        "forbidden::a_bridge_calls_only_its_allowed_numbers",
        numbers,
    );
    suite.add_scenario(
        "forbidden::a_message_calls_only_whom_its_record_names",
        forged,
    );
    suite.add(
        "forbidden::the_api_names_the_number_and_the_variable",
        refused_by_the_api,
    );
}

/// Why the list is there: without it this would be a request of the API.
async fn obeyed(pbx: Arc<Pbx>) {
    let asterisk = pbx.asterisk();
    for name in SPELLINGS {
        let to = number("486");
        let (url, username, password) = pbx.ari();
        let request = reqwest::Client::new()
            .post(format!("{url}/channels"))
            .basic_auth(username, Some(password))
            .query(&[
                ("endpoint", format!("PJSIP/{to}@trunk").as_str()),
                ("callerId", "+15550000100"),
                ("context", "outbound-ivr"),
                ("extension", "s"),
                ("priority", "1"),
            ])
            .json(&json!({"variables": {name: INJECTED}}));
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        let invited = async {
            loop {
                let mut invites = asterisk.invites().into_iter();
                if let Some(invite) = invites.find(|invite| invite.to == to) {
                    return invite.from;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let from = tokio::time::timeout(Duration::from_secs(30), invited).await;
        let from = from.expect("an INVITE");
        assert!(from.contains(";injected=yes"), "{name}: {from}");
    }
}

async fn modules(_: Arc<Pbx>) {
    let pbx = own_asterisk().await;
    let root = pbx.asterisk().instance().root().to_owned();
    let names = tokio::task::spawn_blocking(move || variables_read(&root));
    let names = names.await.expect("names");
    // All that reads them is found, whatever a later release adds.
    for known in [
        "CONNECTED_LINE_SEND_SUB",
        "MONITOR_EXEC",
        "SIPFROMDOMAIN",
        "TRANSFER_CONTEXT",
    ] {
        assert!(names.contains(known), "{known} is not among {names:?}");
    }
    let plain = |name: &&String| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        name.bytes().all(is_plain)
    };
    let unknown: Vec<_> = names
        .iter()
        .filter(plain)
        .filter(|name| !is_read_by_asterisk(name))
        .collect();
    assert!(unknown.is_empty(), "Asterisk's modules read {unknown:?}");
}

/// A request as an API of an earlier release took it.
fn request_with(to: &str, name: &str) -> CallRequest {
    let created_at = cloud::clock::now();
    let given = BTreeMap::from([(name.to_owned(), INJECTED.to_owned())]);
    let recorded = call_of(to, created_at).request;
    CallRequest {
        endpoint: format!("PJSIP/{to}@trunk").parse().expect("an endpoint"),
        variables: Variables::read_back(given).expect("variables"),
        target: DialplanTarget {
            context: "outbound-ivr".parse().expect("a context"),
            ..recorded.target
        },
        dial_before: created_at.plus(Duration::from_mins(5)),
        ..recorded
    }
}

/// Records a call and queues it, as the API does.
async fn queue(world: &World, recorded: CallRequest, sent: CallRequest) -> String {
    let id = recorded.id.to_string();
    world.record(&[Call::new(recorded)]).await;
    let message = QueueMessage::Dial(sent);
    world.queue().send(&message).await.expect("it is queued");
    id
}

async fn fails(api: &Client, pbx: &Pbx, id: &str, reason: &str, numbers: &[&str]) {
    let call = api.wait_until_over(id).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("failed"), Some(reason)),
        "{call}"
    );
    for to in numbers {
        assert_eq!(pbx.invites_to(to), 0, "{to}");
    }
    let left = pbx.channels_among(&[id.to_owned()]).await;
    assert_eq!(left, Vec::<String>::new());
}

async fn variables(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for name in SPELLINGS {
        let to = number("486");
        let body = json!({"variables": {name: INJECTED, "IVR_NAME": "Zoë"}});
        let (status, answer) = api.try_place(&to, body).await;
        assert_eq!(status, 422, "{answer}");
        let error = &answer["errors"][0];
        assert_eq!(error["field"], "variables", "{answer}");
        assert!(error["detail"].as_str().unwrap().contains(name), "{answer}");

        let request = request_with(&to, name);
        let id = queue(&world, request.clone(), request).await;
        fails(&api, &pbx, &id, "variable_forbidden", &[&to]).await;
    }
}

/// Writes an item as it is.
async fn put(world: &World, item: Item) {
    let put = world.clients.dynamodb.put_item().table_name(CALLS_TABLE);
    put.set_item(Some(item))
        .send()
        .await
        .expect("it is written");
}

/// What the release before the ban had written: a call that waits, one that a bridge had claimed, which is gone,
/// and one whose message is still in the queue.
async fn records(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("486");
    let environment = world.bridge_environment();
    let bridge_id = environment["BRIDGE_ID"].as_str();
    let ids = [(); 3].map(|()| uuid::Uuid::new_v4().to_string());
    let [waits, claimed, queued] = &ids;
    let moved = |id| Moved {
        id,
        number: &to,
        owner: bridge_id,
        created_at: cloud::clock::now(),
    };
    put(&world, moved(waits).item(released::PENDING)).await;
    put(&world, moved(claimed).item(released::CLAIMED)).await;

    let listed = api.request(Method::GET, "/api/v2/calls");
    let listed = listed.query(&[("phone_number", &to)]).send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(
        listed["calls"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    assert_eq!(api.status(waits).await["status"], "pending");

    let later = cloud::clock::now().plus(Duration::from_mins(30));
    world.sweeper().sweep(later).await.unwrap();
    let swept = api.status(waits).await;
    assert_eq!(swept["failure_reason"], "expired", "{swept}");

    let moved = moved(queued);
    put(&world, moved.item(released::PENDING)).await;
    let sqs = world.clients.sqs.send_message();
    let sent = sqs
        .queue_url(&world.embedded.calls_queue_url)
        .message_body(moved.text(released::MESSAGE));
    sent.send().await.expect("it is queued");
    world.add_bridge(&[("BRIDGE_ID", bridge_id)]).await;
    fails(&api, &pbx, claimed, "outcome_unknown", &[&to]).await;
    fails(&api, &pbx, queued, "variable_forbidden", &[&to]).await;
}

async fn numbers(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    world
        .add_bridge(&[("ALLOWED_NUMBERS", "+1415, +4930")])
        .await;
    let api = world.api(Line::Trunk).await;
    let to = number("486");
    let id = api.place(&to, json!({})).await;
    fails(&api, &pbx, &id, "number_not_allowed", &[&to]).await;

    let prefix = &to[..6];
    let mut world = World::without_bridge(&pbx).await;
    world.add_bridge(&[("ALLOWED_NUMBERS", prefix)]).await;
    let api = world.api(Line::Trunk).await;
    let id = api.place(&to, json!({})).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["status"], "busy", "{call}");
}

async fn forged(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let (to, another) = (number("486"), number("486"));
    let recorded = request_with(&to, "IVR_NAME");
    let endpoint = format!("PJSIP/{another}@trunk");
    for sent in [
        CallRequest {
            endpoint: endpoint.parse().unwrap(),
            ..recorded.clone()
        },
        CallRequest {
            variables: Variables::default(),
            ..recorded.clone()
        },
        CallRequest {
            caller_id: "+15550000100".parse().ok(),
            ..recorded.clone()
        },
    ] {
        let id = uuid::Uuid::new_v4().into();
        let recorded = CallRequest {
            id,
            ..recorded.clone()
        };
        let id = queue(&world, recorded, CallRequest { id, ..sent }).await;
        fails(&api, &pbx, &id, "message_mismatch", &[&to, &another]).await;
    }
    // As it was recorded, it is dialled.
    let id = queue(&world, recorded.clone(), recorded).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["status"], "busy", "{call}");
    assert_eq!((pbx.invites_to(&to), pbx.invites_to(&another)), (1, 0));
}

async fn refused_by_the_api(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let settings = source(&[
        ("ALLOWED_NUMBERS", "+1415,+49"),
        ("ALLOWED_VARIABLES", "ORDER,IVR_*"),
    ]);
    let (_program, mut originate) = start_with("originate", &world, &settings).await;
    let token = jwt(SECRET_KEY);
    let token = token
        .issue("alice", &Scope::ALL, cloud::clock::now())
        .unwrap();
    let headers =
        json!({"authorization": format!("Bearer {token}"), "content-type": "application/json"});
    let cases = [
        (
            "/api/v2/calls",
            json!({"phone_number": "+4930123456"}),
            None,
        ),
        (
            "/api/v2/calls",
            json!({"phone_number": "+18765550200"}),
            Some("phone_number"),
        ),
        (
            "/api/v2/calls",
            json!({"phone_number": "004930123456"}),
            Some("phone_number"),
        ),
        (
            "/api/v2/interaction/+18765550200",
            json!({}),
            Some("number"),
        ),
        (
            "/api/v2/interaction/+14155550200",
            json!({"variables": {"ORDER": 7}}),
            None,
        ),
        (
            "/api/v2/interaction/+14155550200",
            json!({"variables": {"ORDERS": 7}}),
            Some("variables"),
        ),
        (
            "/api/v2/interaction/+14155550200",
            json!({"variables": {"_QUEUE_PRIO": 7}}),
            Some("variables"),
        ),
    ];
    for (path, request, field) in cases {
        let answer = originate
            .invoke("POST", path, headers.clone(), &request.to_string())
            .await;
        let told = body(&answer);
        assert_eq!(
            told["errors"][0]["field"].as_str(),
            field,
            "{request}: {answer}"
        );
        let expected = if field.is_some() { 422 } else { 202 };
        assert_eq!(answer["statusCode"], expected, "{request}: {answer}");
    }
}
