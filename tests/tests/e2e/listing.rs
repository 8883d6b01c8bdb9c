//! Lists of calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::{Call, FailureReason};
use e2e::client::read;
use e2e::world::{SECRET_KEY, call_of, jwt, number};
use e2e::{Client, Line, Pbx, World};
use functions::jwt::Scope;
use reqwest::Method;
use serde_json::Value;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("listing::pages_hold_every_call_once_newest_first", pages);
    suite.add("listing::filters_leave_out_the_others", filters);
    suite.add("listing::a_cursor_is_good_for_its_list_only", cursors);
    suite.add("listing::what_is_wrong_is_named", wrong);
}

/// Records a call that was asked for this long ago.
async fn record(world: &World, number: &str, ago: Duration) -> Call {
    let call = call_of(number, cloud::clock::now().minus(ago));
    world.record(std::slice::from_ref(&call)).await;
    call
}

async fn get(api: &Client, query: &[(&str, &str)]) -> (u16, Value) {
    let request = api.request(Method::GET, "/api/v2/calls").query(query);
    read(request.send().await.unwrap()).await
}

/// All calls of a list, and how many pages it took.
async fn all(api: &Client, query: &[(&str, &str)]) -> (Vec<Value>, usize) {
    let (mut calls, mut pages, mut cursor) = (Vec::new(), 0, None::<String>);
    loop {
        let mut query = query.to_vec();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let (status, body) = get(api, &query).await;
        assert_eq!(status, 200, "{body}");
        calls.extend(body["calls"].as_array().unwrap().iter().cloned());
        pages += 1;
        cursor = body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return (calls, pages);
        }
    }
}

fn ids(calls: &[Value]) -> Vec<String> {
    let id = |call: &Value| call["call_id"].as_str().unwrap().to_owned();
    calls.iter().map(id).collect()
}

async fn pages(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let mut expected = Vec::new();
    // Some today, some at the very same time, some on other days with empty ones between, one forgotten.
    let day = 24 * 3600;
    for seconds in [5, 5, 5, 60, day, 3 * day, 30 * day, 60 * day, 89 * day] {
        let ago = Duration::from_secs(seconds);
        expected.push(record(&world, &number("200"), ago).await);
    }
    record(&world, &number("200"), Duration::from_secs(100 * day)).await;
    let wanted: BTreeSet<_> = expected
        .iter()
        .map(|call| call.request.id.to_string())
        .collect();
    for limit in ["1", "2", "4", "100"] {
        let (calls, pages) = all(&api, &[("limit", limit)]).await;
        let times: Vec<_> = calls
            .iter()
            .map(|call| call["created_at"].as_str().unwrap())
            .collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        assert_eq!(calls.len(), expected.len(), "limit {limit}");
        assert_eq!(ids(&calls).into_iter().collect::<BTreeSet<_>>(), wanted);
        assert!(pages > 1, "89 days are too many for one page");
    }
}

async fn filters(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let (ours, other) = (number("200"), number("486"));
    let mut to_us = Vec::new();
    for days in [0, 1, 2, 50] {
        to_us.push(record(&world, &ours, Duration::from_hours(24 * days)).await);
        record(&world, &other, Duration::from_hours(24 * days)).await;
    }
    let failed = &to_us[1];
    world
        .calls()
        .fail_pending(failed, FailureReason::Expired, cloud::clock::now())
        .await
        .unwrap();
    let newest_first: Vec<_> = to_us
        .iter()
        .map(|call| call.request.id.to_string())
        .collect();

    let (calls, pages) = all(&api, &[("phone_number", &ours)]).await;
    assert_eq!((ids(&calls), pages), (newest_first.clone(), 1));
    // As a person types it, without escaping the `+`.
    let path = format!("/api/v2/calls?phone_number={ours}&limit=2");
    let answer = api.request(Method::GET, &path).send().await.unwrap();
    let (_, body) = read(answer).await;
    assert_eq!(
        ids(body["calls"].as_array().unwrap()),
        newest_first[..2],
        "{body}"
    );
    let (calls, _) = all(&api, &[("phone_number", &ours), ("limit", "1")]).await;
    assert_eq!(ids(&calls), newest_first);
    let (calls, _) = all(&api, &[("status", "failed"), ("limit", "1")]).await;
    assert_eq!(ids(&calls), [failed.request.id.to_string()]);
    let (calls, _) = all(&api, &[("status", "busy")]).await;
    assert!(calls.is_empty());

    let at = failed.request.created_at;
    let (from, until) = (
        at.to_string(),
        at.plus(Duration::from_millis(1)).to_string(),
    );
    let window = [
        ("created_after", &*from),
        ("created_before", &*until),
        ("phone_number", &*ours),
    ];
    let (calls, _) = all(&api, &window).await;
    assert_eq!(ids(&calls), [failed.request.id.to_string()]);
    let before = [("created_before", &*from), ("phone_number", &*ours)];
    let (calls, _) = all(&api, &before).await;
    assert_eq!(ids(&calls), newest_first[2..]);
}

async fn cursors(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for _ in 0..2 {
        record(&world, &number("200"), Duration::ZERO).await;
    }
    let (_, body) = get(&api, &[("limit", "1")]).await;
    let cursor = body["next_cursor"].as_str().unwrap();
    // The size of a page may change on the way.
    assert_eq!(get(&api, &[("cursor", cursor)]).await.0, 200);
    let somebody = jwt(SECRET_KEY)
        .issue("somebody", &Scope::ALL, cloud::clock::now())
        .unwrap();
    let path = format!("/api/v2/calls?cursor={cursor}");
    let stolen = api
        .anonymous(Method::GET, &path)
        .bearer_auth(somebody)
        .send();
    let altered = cursor.replace(|c: char| c.is_ascii_uppercase(), "A");
    for (status, body) in [
        read(stolen.await.unwrap()).await,
        get(&api, &[("cursor", cursor), ("status", "busy")]).await,
        get(&api, &[("cursor", &altered)]).await,
        get(&api, &[("cursor", "eyJ4IjoxfQ")]).await,
        get(&api, &[("cursor", "")]).await,
    ] {
        assert_eq!(
            (status, body["errors"][0]["field"].as_str()),
            (422, Some("cursor")),
            "{body}"
        );
    }
}

async fn wrong(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for (name, value) in [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("status", "BUSY"),
        ("phone_number", "1555&x"),
        ("created_after", "yesterday"),
        ("created_before", "2026-11-21"),
    ] {
        let (status, body) = get(&api, &[(name, value)]).await;
        assert_eq!(
            (status, body["errors"][0]["field"].as_str()),
            (422, Some(name)),
            "{body}"
        );
    }
    let (status, body) = get(&api, &[("limit", "1"), ("limit", "2")]).await;
    assert_eq!(status, 422, "{body}");
    let (status, body) = get(&api, &[("created_before", "0001-01-01T00:00:00Z")]).await;
    assert_eq!(
        (status, body["calls"].as_array().map(Vec::len)),
        (200, Some(0))
    );
}
