//! The model of the table is the table: both are asked the same, at random, and answer the same.

#![expect(clippy::unwrap_used, reason = "a test panics when it cannot go on")]

use std::collections::HashSet;
use std::time::Duration;

use cloud::aws::Patience;
use cloud::calls::{Saved, SenderId};
use cloud::lease::{Lease, LeaseClaim, LeaseRefusal};
use cloud::ports::{BeatOutcome, Calls, SignsOfLife};
use cloud::tables::{PENDING, held_by};
use cloud::{CallStore, Heartbeat, Heartbeats};
use domain::{
    BridgeId, Call, CallEvent, CallId, CallRequest, ClaimId, DialplanTarget, FailureReason,
    HangupOrigin, Priority, Timestamp, Variables, WaitingReason, When,
};
use local::Embedded;
use local::embedded::{CALLS_TABLE, STATE_TABLE};
use simulation::table::{Signs, Table};
use uuid::Uuid;

/// Questions that are asked.
const QUESTIONS: usize = 8_000;
/// Calls that they are about.
const CALLS: u128 = 60;

fn request(number: u128, dial_before: i64) -> CallRequest {
    CallRequest {
        id: Uuid::from_u128(number).into(),
        phone_number: "+15550000200".parse().unwrap(),
        endpoint: "PJSIP/15550000200@trunk".parse().unwrap(),
        target: DialplanTarget {
            context: "outbound-ivr".parse().unwrap(),
            extension: "s".parse().unwrap(),
            priority: Priority::try_from(1).unwrap(),
        },
        media: None,
        dial_timeout: Duration::from_secs(30),
        max_duration: None,
        variables: Variables::default(),
        caller_id: None,
        created_at: Timestamp::from_millis(1_000),
        dial_before: Timestamp::from_millis(dial_before),
        request_id: "r".to_owned(),
        fingerprint: None,
    }
}

fn event() -> CallEvent {
    match fastrand::u32(..6) {
        0 => CallEvent::Progressed,
        1 => CallEvent::Rang,
        2 => CallEvent::Answered,
        3 => CallEvent::HangupRequested(HangupOrigin::Client),
        4 => CallEvent::Ended {
            ending: domain::Ending {
                cause: 16.into(),
                sip_code: None,
            },
            dialled: domain::Dialled::Yes,
        },
        _ => CallEvent::Failed(FailureReason::OutcomeUnknown),
    }
}

/// Both are told the same heartbeats of three processes on two Asterisks, and answer the same.
#[tokio::test]
async fn both_lease_a_name_alike() {
    fastrand::seed(7);
    let embedded = Embedded::start(None).await.unwrap();
    let clients = embedded.clients(Patience::FUNCTION).await;
    let store = Heartbeats::new(clients.dynamodb, STATE_TABLE.to_owned());
    let mut model = Signs::default();
    let names = ["one", "two"].map(|name| name.parse::<BridgeId>().unwrap());
    let mut last = Lease::default();
    let (mut written, mut refused) = (0, 0);
    for question in 0..2_000 {
        let bridge_id = &names[fastrand::usize(..names.len())];
        let at = Timestamp::from_millis(fastrand::i64(1..5));
        if fastrand::u32(..8) == 0 {
            let refusal = LeaseRefusal::AnotherAsterisk;
            store.note_refusal(bridge_id, refusal, at).await.unwrap();
            model.note_refusal(bridge_id, refusal, at);
            continue;
        }
        let heartbeat = Heartbeat {
            bridge_id: bridge_id.clone(),
            at,
            started_at: at,
            version: String::new(),
            events_up: true,
            ari_up: true,
            waiting: None,
            live_calls: 0,
            clock_ahead_ms: None,
            metrics: String::new(),
            refused: fastrand::bool().then_some((LeaseRefusal::AnotherProcess, at)),
        };
        let claim = LeaseClaim {
            process: fastrand::u32(..3).to_string(),
            place: fastrand::bool().then(|| "here".to_owned()),
            asterisk: [None, Some("a"), Some("b")][fastrand::usize(..3)].map(str::to_owned),
            instead_of: last.holder.clone().filter(|_| fastrand::bool()),
            moves: fastrand::u32(..4) == 0,
            gives_up: fastrand::u32(..4) == 0,
        };
        let stored = store.beat(&heartbeat, &claim).await.unwrap().outcome;
        let modelled = model.beat(heartbeat, &claim, at).outcome;
        assert_eq!(stored, modelled, "{question}: {claim:?}");
        match stored {
            BeatOutcome::Written { .. } => written += 1,
            BeatOutcome::Refused(lease) => {
                refused += 1;
                last = lease;
            }
        }
    }
    assert!(written > 200 && refused > 200, "{written}, {refused}");
}

#[tokio::test]
async fn both_answer_the_same() {
    fastrand::seed(7);
    let embedded = Embedded::start(None).await.unwrap();
    let clients = embedded.clients(Patience::FUNCTION).await;
    let store = CallStore::new(clients.dynamodb, CALLS_TABLE.to_owned());
    let mut model = Table::default();
    // What programs have in hand: perhaps old, perhaps somebody else's.
    let mut hand: Vec<Call> = Vec::new();
    let mut kinds = HashSet::new();
    for question in 0..QUESTIONS {
        let number = fastrand::u128(..CALLS);
        let id = CallId::from(Uuid::from_u128(number));
        let now = Timestamp::from_millis(fastrand::i64(2_000..4_000));
        let sender = SenderId::from(Uuid::from_u128(fastrand::u128(..4)));
        match fastrand::u32(..14) {
            13 => {
                store.note_queued_again(id, now).await.unwrap();
                model.note_queued_again(id, now);
            }
            12 => {
                let reason = WaitingReason::ALL[fastrand::usize(..WaitingReason::ALL.len())];
                store.note_waiting(id, reason).await.unwrap();
                model.note_waiting(id, reason);
            }
            0 => {
                let call = Call::new(request(number, fastrand::i64(2_500..4_500)));
                let stored = store.create(&call, sender, now).await.unwrap();
                assert_eq!(stored, model.create(&call, sender), "create, {question}");
                hand.push(call);
            }
            1 => {
                let stored = store.get(id).await.unwrap();
                assert_eq!(stored.as_ref(), model.get(id), "get, {question}");
                hand.extend(stored);
            }
            2 | 3 => {
                let owner = ["one", "two"][fastrand::usize(..2)].parse().unwrap();
                let claim = ClaimId::from(Uuid::from_u128(fastrand::u128(..4)));
                let deadline = now.plus(Duration::from_mins(1));
                let claimed = store.claim(id, &owner, claim, deadline, now).await.unwrap();
                let modelled = model.claim(id, &owner, claim, deadline, now);
                assert_eq!(claimed, modelled, "claim, {question}");
                if let cloud::calls::Claim::Claimed(call) = claimed {
                    hand.push(*call);
                }
            }
            4..7 if !hand.is_empty() => {
                let index = fastrand::usize(..hand.len());
                let held = &mut hand[index];
                if let Some((next, _)) = held.next(&event(), When::ours(now)) {
                    *held = next;
                }
            }
            7 if !hand.is_empty() => {
                let call = &hand[fastrand::usize(..hand.len())];
                let saved: Saved = store.save(call).await.unwrap();
                assert_eq!(saved, model.save(call), "save, {question}");
            }
            8 if !hand.is_empty() => {
                let pending = Call::new(hand[fastrand::usize(..hand.len())].request.clone());
                let reason = FailureReason::Expired;
                let ended = store.fail_pending(&pending, reason, now).await.unwrap();
                let modelled = model.end_pending(&pending, &CallEvent::Failed(reason), now);
                assert_eq!(ended, modelled, "fail, {question}");
            }
            9 => {
                let taken = store.take_over_sending(id, sender).await.unwrap();
                let modelled = model.take_over_sending(id, sender);
                assert_eq!(taken, modelled, "take over, {question}");
            }
            10 if !hand.is_empty() => {
                let pending = Call::new(hand[fastrand::usize(..hand.len())].request.clone());
                let marked = store.fail_unsent(&pending, sender, now).await.unwrap();
                let modelled = model.fail_unsent(&pending, sender, now);
                assert_eq!(marked, modelled, "fail unsent, {question}");
                kinds.insert(std::mem::discriminant(&marked));
            }
            _ => {
                let holder = match fastrand::u32(..3) {
                    0 => PENDING.to_owned(),
                    1 => held_by(&"one".parse().unwrap()),
                    _ => held_by(&"two".parse().unwrap()),
                };
                let due = Timestamp::from_millis(fastrand::i64(2_000..80_000));
                let most = fastrand::usize(1..20);
                let mut held = store.held(&holder, due, most).await.unwrap();
                held.sort_unstable();
                let modelled = model.held(&holder, due, most, now);
                assert_eq!(held, modelled, "held, {question}");
            }
        }
        hand.truncate(200);
    }
    assert_eq!(kinds.len(), 3, "marked, taken over, and not pending");
    assert!(model.calls().count() > 5 && model.calls().any(|call| call.status.is_terminal()));
}
