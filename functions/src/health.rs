//! How the system is: the database, the queue and each bridge, put together into one word.

use std::time::Duration;

use cloud::heartbeats::GONE_AFTER;
use cloud::lease::LeaseRefusal;
use cloud::ports::{Calls, SignsOfLife};
use cloud::queue::Depth;
use cloud::{CallQueue, CallStore, Heartbeat, Heartbeats, StoreError, clock, error, tables};
use domain::Timestamp;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

/// What health is told from.
#[derive(Clone)]
pub struct Health {
    /// The table of calls.
    pub calls: CallStore,
    /// The queue of calls.
    pub queue: CallQueue,
    /// The bridges' heartbeats.
    pub heartbeats: Heartbeats,
}

/// Longest that one check may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// A call that has waited for longer than this says that the bridges do not keep up.
const TOO_OLD: Duration = Duration::from_mins(1);

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All is well.
    Healthy,
    /// Calls are placed, but not all is well.
    Degraded,
    /// No call can be placed.
    Unhealthy,
}

/// How the whole system is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HealthReport {
    /// The worst of what follows that matters.
    pub status: Condition,
    /// The API's release.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The database.
    pub database: Check,
    /// The queue.
    pub queue: QueueHealth,
    /// Each bridge that is known.
    pub bridges: Vec<BridgeHealth>,
}

/// Whether something answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// How it is.
    pub status: Condition,
}

/// How the queue is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct QueueHealth {
    /// How it is.
    pub status: Condition,
    /// About how many calls wait for a bridge.
    pub depth: Option<u64>,
    /// About how many are being started.
    pub in_flight: Option<u64>,
    /// Seconds since the call was asked for that is due first.
    pub oldest_age_seconds: Option<u64>,
}

/// How a bridge is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BridgeHealth {
    /// The bridge's name.
    #[schema(example = "bridge-1")]
    pub bridge_id: String,
    /// How it is.
    pub status: Condition,
    /// Seconds since it was heard of.
    pub heartbeat_age_seconds: u64,
    /// Whether ARI's events reach it.
    pub websocket_up: bool,
    /// Whether ARI answers it.
    pub ari_reachable: bool,
    /// Why it takes no calls from the queue now: `trunk_unavailable`, `asterisk_refuses`,
    /// `asterisk_unreachable`, `paused` or `clock_wrong`. New reasons may be added.
    #[schema(example = "trunk_unavailable")]
    pub waiting_reason: Option<String>,
    /// Calls it is working on.
    pub live_calls: u64,
    /// How many seconds its clock is ahead of AWS's (negative: behind), if that is known. A bridge that
    /// is more than 20 s away takes no calls.
    pub clock_ahead_seconds: Option<i64>,
    /// Why another process with the name of this bridge takes no calls, if there is one. It is
    /// `another_process` if this bridge holds the lease of the name, and `another_asterisk` if the
    /// calls of the name are on another Asterisk. New reasons may be added.
    #[schema(example = "another_process")]
    pub lease_refused: Option<String>,
    /// Its release.
    #[schema(example = "0.1.0")]
    pub version: String,
}

/// What the checks brought; `None` where one failed.
struct Findings {
    heartbeats: Option<Vec<Heartbeat>>,
    depth: Option<Depth>,
    /// When the calls were asked for that are due first: one, or none.
    oldest: Option<Vec<Timestamp>>,
}

impl Health {
    /// Checks everything at once, each for no longer than two seconds.
    pub async fn check(&self) -> HealthReport {
        let (heartbeats, depth, oldest) = tokio::join!(
            bounded("heartbeats", self.heartbeats.read()),
            bounded("queue", self.queue.depth()),
            bounded("calls", self.oldest_pending()),
        );
        let findings = Findings {
            heartbeats,
            depth,
            oldest,
        };
        judge(&findings, clock::now())
    }

    /// When the pending call was asked for that is due first.
    async fn oldest_pending(&self) -> Result<Vec<Timestamp>, StoreError> {
        let end_of_time = Timestamp::from_millis(i64::MAX);
        let first = self.calls.held(tables::PENDING, end_of_time, 1).await?;
        let Some((_, id)) = first.first() else {
            return Ok(Vec::new());
        };
        let call = self.calls.get(*id).await?;
        Ok(call
            .map(|call| call.request.created_at)
            .into_iter()
            .collect())
    }

    /// The metrics of all bridges in Prometheus' text format.
    ///
    /// # Errors
    /// If the heartbeats cannot be read.
    pub async fn metrics(&self) -> Result<String, StoreError> {
        let heartbeats = self.heartbeats.read().await?;
        Ok(merge_metrics(&heartbeats, clock::now()))
    }
}

async fn bounded<T>(
    what: &'static str,
    check: impl Future<Output = Result<T, StoreError>>,
) -> Option<T> {
    match timeout(PATIENCE, check).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::warn!(what, error = %error::chain(&error), "a health check failed");
            None
        }
        Err(_) => {
            tracing::warn!(what, "a health check took too long");
            None
        }
    }
}

fn judge(findings: &Findings, now: Timestamp) -> HealthReport {
    use Condition::{Degraded, Healthy, Unhealthy};

    let database = if findings.heartbeats.is_some() && findings.oldest.is_some() {
        Healthy
    } else {
        Unhealthy
    };
    let oldest = findings.oldest.iter().flatten().next();
    let oldest = oldest.map(|at| now.since(*at));
    let queue = match findings.depth {
        None => Unhealthy,
        Some(_) if oldest.is_some_and(|age| age > TOO_OLD) => Degraded,
        Some(_) => Healthy,
    };
    let bridges: Vec<_> = findings
        .heartbeats
        .iter()
        .flatten()
        .map(|heartbeat| bridge_health(heartbeat, now))
        .collect();
    // One bridge is enough to place calls; one that is down is worth a look.
    let best = bridges.iter().map(|bridge| bridge.status).min();
    let worst = bridges.iter().map(|bridge| bridge.status).max();
    let of_bridges = match (best, worst) {
        (None | Some(Unhealthy), _) => Unhealthy,
        (Some(_), Some(Healthy)) => Healthy,
        (Some(_), _) => Degraded,
    };
    HealthReport {
        status: database.max(queue).max(of_bridges),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database: Check { status: database },
        queue: QueueHealth {
            status: queue,
            depth: findings.depth.map(|depth| depth.waiting),
            in_flight: findings.depth.map(|depth| depth.in_flight),
            oldest_age_seconds: oldest.map(|age| age.as_secs()),
        },
        bridges,
    }
}

fn bridge_health(heartbeat: &Heartbeat, now: Timestamp) -> BridgeHealth {
    let age = now.since(heartbeat.at);
    let status = if age > GONE_AFTER || !heartbeat.events_up {
        Condition::Unhealthy
    } else if heartbeat.ari_up && heartbeat.waiting.is_none() && refusal(heartbeat, now).is_none() {
        Condition::Healthy
    } else {
        Condition::Degraded
    };
    BridgeHealth {
        bridge_id: heartbeat.bridge_id.to_string(),
        status,
        heartbeat_age_seconds: age.as_secs(),
        websocket_up: heartbeat.events_up,
        ari_reachable: heartbeat.ari_up,
        waiting_reason: heartbeat.waiting.map(|reason| reason.to_string()),
        live_calls: heartbeat.live_calls,
        clock_ahead_seconds: heartbeat.clock_ahead_ms.map(|ahead| ahead / 1_000),
        lease_refused: refusal(heartbeat, now).map(|refusal| refusal.to_string()),
        version: heartbeat.version.clone(),
    }
}

/// Why another process of the bridge's name was refused, if that process still tries.
pub(crate) fn refusal(heartbeat: &Heartbeat, now: Timestamp) -> Option<LeaseRefusal> {
    let (refusal, at) = heartbeat.refused?;
    (now.since(at) <= GONE_AFTER).then_some(refusal)
}

/// One text from those of all bridges: each family once, with the samples of all of them.
fn merge_metrics(heartbeats: &[Heartbeat], now: Timestamp) -> String {
    use std::collections::BTreeMap;
    use std::fmt::Write;

    let mut families: BTreeMap<String, (String, String)> = BTreeMap::new();
    for heartbeat in heartbeats {
        let mut family = String::new();
        for line in heartbeat.metrics.lines() {
            let described = line
                .strip_prefix("# HELP ")
                .or_else(|| line.strip_prefix("# TYPE "));
            if let Some(described) = described {
                let name = described.split(' ').next().unwrap_or_default();
                name.clone_into(&mut family);
            }
            let (head, samples) = families.entry(family.clone()).or_default();
            if described.is_none() {
                samples.push_str(line);
                samples.push('\n');
            } else if !head.contains(line) {
                head.push_str(line);
                head.push('\n');
            }
        }
    }
    let mut text = String::from(
        "# HELP bridge_heartbeat_age_seconds Since the bridge was heard of.\n\
         # TYPE bridge_heartbeat_age_seconds gauge\n",
    );
    for heartbeat in heartbeats {
        let age = now.since(heartbeat.at).as_secs();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "bridge_heartbeat_age_seconds{{bridge_id=\"{}\"}} {age}",
            heartbeat.bridge_id
        );
    }
    for (head, samples) in families.values() {
        text.push_str(head);
        text.push_str(samples);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn beat(id: &str, seconds_ago: u64, events_up: bool, ari_up: bool) -> Heartbeat {
        Heartbeat {
            bridge_id: id.parse().unwrap(),
            at: NOW.minus(Duration::from_secs(seconds_ago)),
            started_at: Timestamp::from_millis(0),
            version: "0.1.0".to_owned(),
            events_up,
            ari_up,
            waiting: None,
            live_calls: 3,
            clock_ahead_ms: Some(-1_500),
            refused: None,
            metrics: format!(
                "# HELP a_total A.\n# TYPE a_total counter\na_total{{bridge_id=\"{id}\"}} 1\n"
            ),
        }
    }

    fn status(heartbeats: Vec<Heartbeat>, age: Option<u64>) -> Condition {
        let findings = Findings {
            heartbeats: Some(heartbeats),
            depth: Some(Depth {
                waiting: 1,
                in_flight: 0,
            }),
            oldest: Some(
                age.map(|seconds| NOW.minus(Duration::from_secs(seconds)))
                    .into_iter()
                    .collect(),
            ),
        };
        judge(&findings, NOW).status
    }

    #[test]
    fn the_whole_is_as_good_as_what_it_needs() {
        use Condition::{Degraded, Healthy, Unhealthy};
        let good = || beat("good", 5, true, true);
        let gone = || beat("gone", 46, true, true);
        let deaf = || beat("deaf", 5, false, true);
        let no_ari = || beat("no-ari", 5, true, false);
        let wanted = |seconds_ago| Heartbeat {
            refused: Some((
                LeaseRefusal::AnotherProcess,
                NOW.minus(Duration::from_secs(seconds_ago)),
            )),
            ..good()
        };
        for (expected, bridges, age) in [
            (Healthy, vec![good()], None),
            (Healthy, vec![good()], Some(60)),
            (Degraded, vec![good()], Some(61)),
            (Degraded, vec![good(), gone()], None),
            (Degraded, vec![good(), deaf()], None),
            (Degraded, vec![no_ari()], None),
            (Degraded, vec![wanted(45)], None),
            (Healthy, vec![wanted(46)], None),
            (Unhealthy, vec![gone(), deaf()], None),
            (Unhealthy, vec![], None),
        ] {
            assert_eq!(status(bridges.clone(), age), expected, "{bridges:?}");
        }
    }

    #[test]
    fn what_does_not_answer_is_unhealthy() {
        let none = || Findings {
            heartbeats: None,
            depth: None,
            oldest: None,
        };
        let report = judge(&none(), NOW);
        assert_eq!(report.database.status, Condition::Unhealthy);
        assert_eq!(report.queue.status, Condition::Unhealthy);
        assert_eq!(report.status, Condition::Unhealthy);
    }

    #[test]
    fn the_metrics_of_all_bridges_make_one_text() {
        let text = merge_metrics(
            &[beat("b1", 1, true, true), beat("b2", 70, true, true)],
            NOW,
        );
        let expected = "# HELP bridge_heartbeat_age_seconds Since the bridge was heard of.\n\
             # TYPE bridge_heartbeat_age_seconds gauge\n\
             bridge_heartbeat_age_seconds{bridge_id=\"b1\"} 1\n\
             bridge_heartbeat_age_seconds{bridge_id=\"b2\"} 70\n\
             # HELP a_total A.\n\
             # TYPE a_total counter\n\
             a_total{bridge_id=\"b1\"} 1\n\
             a_total{bridge_id=\"b2\"} 1\n";
        assert_eq!(text, expected);
    }
}
