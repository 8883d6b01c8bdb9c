//! What must be true once everything works again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloud::dead_letters::DeadLetters;
use cloud::{Heartbeats, clock};
use domain::{Call, FailureReason};
use e2e::client::read;
use functions::sweeper::{BUDGET, Sweeper, Swept};
use local::embedded::STATE_TABLE;
use reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::faults::{Faults, Trouble};
use crate::load::{Answer, Placed};
use crate::site::Site;

/// How long the last call may take to end once everything works: its message may have to come back a few times.
const PATIENCE: Duration = Duration::from_mins(5);

/// Waits for the end of every call, prints what became of all, and returns what should not be.
pub async fn violations(site: &Site, placed: Vec<Placed>, faults: &Faults) -> Vec<String> {
    let mut violations = Vec::new();
    let until = Instant::now() + PATIENCE;
    let mut calls = Vec::new();
    for placed in placed {
        let call = match find(site, &placed).await {
            Some(id) => ended(site, &id, &placed, until).await,
            None => None,
        };
        calls.push((placed, call));
    }
    violations.extend(sweep(site, &mut calls).await);
    violations.extend(left_behind(site).await);
    let invites = site.pbx.invites_by_number();
    for (placed, call) in &calls {
        let rung = invites.get(&placed.number).copied().unwrap_or(0);
        if let Err(problem) = judge(placed, call.as_ref(), rung, &faults.troubles) {
            violations.push(format!("{problem}: {placed:?}, {rung} INVITEs, {call:?}"));
        }
    }
    summarize(&calls, &invites, faults);
    violations
}

/// The id of a call whose client may not have been told it.
async fn find(site: &Site, placed: &Placed) -> Option<String> {
    if placed.id.is_some() {
        return placed.id.clone();
    }
    let request = site.api.request(Method::GET, "/api/v2/calls");
    let request = request.query(&[("phone_number", &placed.number)]);
    let (status, page) = read(request.send().await.expect("an answer")).await;
    assert_eq!(status, 200, "{page}");
    page["calls"][0]["call_id"].as_str().map(str::to_owned)
}

/// The call once it is over, or as it is when nobody waits any longer. One that the client was not promised may wait
/// for the sweeper: its message was perhaps never sent.
async fn ended(site: &Site, id: &str, placed: &Placed, until: Instant) -> Option<Call> {
    let id = id.parse().expect("a call's id");
    loop {
        let call = site.world.calls().get(id).await.expect("an answer");
        let waiting = match &call {
            Some(call) if placed.answer == Answer::Accepted => !call.status.is_terminal(),
            _ => false,
        };
        if !waiting || Instant::now() > until {
            return call;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Ends the calls that no client was promised and that were never sent, as the sweeper will in time.
async fn sweep(site: &Site, calls: &mut [(Placed, Option<Call>)]) -> Option<String> {
    let sweeper = Sweeper {
        calls: site.world.calls(),
        heartbeats: Arc::new(Heartbeats::new(
            site.direct.dynamodb.clone(),
            STATE_TABLE.to_owned(),
        )),
        budget: BUDGET,
    };
    let later = clock::now().plus(Duration::from_hours(3));
    let swept = sweeper.sweep(later).await.expect("a sweep");
    for (_, call) in calls {
        if let Some(call) = call
            && !call.status.is_terminal()
            && let Some(now) = site
                .world
                .calls()
                .get(call.request.id)
                .await
                .expect("an answer")
        {
            *call = now;
        }
    }
    println!("swept at the end: {swept:?}");
    let Swept { lost, failed, .. } = swept;
    (lost + failed > 0).then(|| format!("a live call was left to the sweeper: {swept:?}"))
}

/// No channel, no message.
async fn left_behind(site: &Site) -> Vec<String> {
    let until = Instant::now() + Duration::from_mins(2);
    let mut left = Vec::new();
    loop {
        let (channels, messages) = (site.pbx.channels().await, site.world.queued().await);
        if channels.is_empty() && messages == 0 {
            break;
        }
        if Instant::now() > until {
            left.push(format!(
                "left behind: {messages} messages, channels {channels:?}"
            ));
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    let embedded = &site.world.embedded;
    let (dead, queue) = (&embedded.dead_letter_queue_url, &embedded.calls_queue_url);
    let dead = DeadLetters::new(site.direct.sqs.clone(), dead.clone(), queue.clone());
    let letters = dead.take(10).await.expect("the dead letters");
    left.extend(
        letters
            .iter()
            .map(|letter| format!("a dead letter: {}", letter.body)),
    );
    left
}

/// Whether a call became what it should.
fn judge(
    placed: &Placed,
    call: Option<&Call>,
    rung: usize,
    troubles: &[Trouble],
) -> Result<(), &'static str> {
    if rung > 1 {
        return Err("it rang twice");
    }
    if placed.answer == Answer::Refused && rung > 0 {
        return Err("the client was refused, and it rang");
    }
    let Some(call) = call else {
        return match placed.answer {
            Answer::Accepted => Err("accepted and not recorded"),
            Answer::Refused | Answer::Unclear if rung > 0 => Err("it rang without a record"),
            Answer::Refused | Answer::Unclear => Ok(()),
        };
    };
    let (status, reason) = (call.status.as_str(), call.failure_reason);
    if !call.status.is_terminal() {
        return Err("it never ended");
    }
    let never_dialled = [FailureReason::Expired, FailureReason::NotQueued];
    if let Some(reason) = reason
        && never_dialled.contains(&reason)
    {
        return match placed.answer {
            Answer::Accepted => Err("accepted and never dialled"),
            _ if rung > 0 => Err("it rang, and its record says that it was never dialled"),
            _ => Ok(()),
        };
    }
    if placed.answer == Answer::Refused {
        return Err("the client was refused, and it was dialled");
    }
    if ["completed", "busy", "no_answer"].contains(&status) && rung != 1 {
        return Err("it did not ring");
    }
    if status == placed.status && reason_fits(placed, reason) {
        return Ok(());
    }
    if placed.hung_up && ["canceled", "completed"].contains(&status) {
        return Ok(());
    }
    // What else it may be, it may be only if something went wrong during the call.
    let ended_at = call.ended_at.unwrap_or(call.request.created_at);
    let overlapping: Vec<_> = troubles
        .iter()
        .filter(|trouble| trouble.from <= ended_at && call.request.created_at <= trouble.until)
        .collect();
    if overlapping.is_empty() {
        return Err("not what its callee stands for");
    }
    let restarted = overlapping.iter().any(|trouble| trouble.asterisk);
    match reason {
        Some(FailureReason::OutcomeUnknown) => Ok(()),
        Some(FailureReason::AsteriskRestarted) if restarted => Ok(()),
        // The channel was gone before the dial.
        Some(FailureReason::NotDialled) if rung == 0 => Ok(()),
        // It was answered, and what ended it was not seen, or what it was played was cut short.
        _ if status == "completed" && placed.status == "completed" => Ok(()),
        _ => Err("no trouble explains it"),
    }
}

fn reason_fits(placed: &Placed, reason: Option<FailureReason>) -> bool {
    match placed.status {
        "failed" => matches!(
            reason,
            Some(FailureReason::Rejected | FailureReason::UnallocatedNumber)
        ),
        _ => reason.is_none(),
    }
}

fn summarize(calls: &[(Placed, Option<Call>)], invites: &BTreeMap<String, usize>, faults: &Faults) {
    let answered = |answer| {
        calls
            .iter()
            .filter(|(placed, _)| placed.answer == answer)
            .count()
    };
    let accepted = answered(Answer::Accepted);
    println!(
        "{} calls asked for: {accepted} accepted, {} refused, {} unclear; {} INVITEs, at most {} to a number",
        calls.len(),
        answered(Answer::Refused),
        answered(Answer::Unclear),
        invites.values().sum::<usize>(),
        invites.values().max().unwrap_or(&0)
    );
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    for (_, call) in calls {
        let ending = call.as_ref().map_or_else(
            || "not recorded".to_owned(),
            |call| match call.failure_reason {
                Some(reason) => format!("{}, {reason}", call.status.as_str()),
                None => call.status.as_str().to_owned(),
            },
        );
        *endings.entry(ending).or_default() += 1;
    }
    for (ending, count) in &endings {
        println!("{count:>9}  {ending}");
    }
    let unknown = endings.get("failed, outcome_unknown").unwrap_or(&0);
    println!(
        "{unknown} of {accepted} accepted calls ended as outcome_unknown ({} in 10,000)",
        unknown * 10_000 / accepted.max(1)
    );
    let counts = faults.counts.iter();
    let counts: Vec<_> = counts
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    println!("faults: {}", counts.join(", "));
}
