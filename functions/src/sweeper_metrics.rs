//! The sweeper's metrics: what it did, and how each bridge is. The alarms about bridges stand on them.

use std::time::Duration;

use cloud::Heartbeat;
use domain::Timestamp;
use serde_json::{Map, Value, json};

use crate::embedded_metrics::Namespace;
use crate::health::refusal;
use crate::sweeper::Swept;

/// One line of `CloudWatch`'s embedded metric format for the run, and one for each bridge.
#[must_use]
pub fn lines(
    namespace: &Namespace,
    swept: &Swept,
    heartbeats: &[Heartbeat],
    now: Timestamp,
) -> Vec<Value> {
    let count = |number: usize| (json!(number), "Count");
    let run = [
        ("sweeper_expired_calls", count(swept.expired)),
        ("sweeper_lost_calls", count(swept.lost)),
        ("sweeper_failed_calls", count(swept.failed)),
    ];
    let run = line(namespace, ("function", "sweeper"), run.to_vec(), now);
    let bridges = heartbeats.iter();
    let bridges = bridges.map(|heartbeat| of_bridge(namespace, heartbeat, now));
    std::iter::once(run).chain(bridges).collect()
}

fn of_bridge(namespace: &Namespace, heartbeat: &Heartbeat, now: Timestamp) -> Value {
    let age = now.since(heartbeat.at).as_secs_f64();
    let mut metrics = vec![
        ("bridge_heartbeat_age_seconds", (json!(age), "Seconds")),
        (
            "bridge_ari_up",
            (json!(u8::from(heartbeat.ari_up)), "Count"),
        ),
        (
            "bridge_events_up",
            (json!(u8::from(heartbeat.events_up)), "Count"),
        ),
        (
            "bridge_circuit_open",
            (json!(u8::from(heartbeat.waiting.is_some())), "Count"),
        ),
        ("bridge_live_calls", (json!(heartbeat.live_calls), "Count")),
        (
            "bridge_lease_refused",
            (json!(u8::from(refusal(heartbeat, now).is_some())), "Count"),
        ),
    ];
    if let Some(ahead) = heartbeat.clock_ahead_ms {
        let ahead = Duration::from_millis(ahead.unsigned_abs()).as_secs_f64();
        metrics.push(("bridge_clock_off_seconds", (json!(ahead), "Seconds")));
    }
    // What a bridge of another release does not tell is left out.
    let totals = [
        (
            "bridge_calls_ended_total",
            sum(&heartbeat.metrics, "calls_total{"),
        ),
        (
            "bridge_calls_failed_total",
            sum(&heartbeat.metrics, "calls_total{status=\"failed\""),
        ),
        (
            "bridge_store_errors_total",
            sum(&heartbeat.metrics, "store_errors_total{"),
        ),
    ];
    for (name, total) in totals {
        metrics.extend(total.map(|total| (name, (json!(total), "Count"))));
    }
    let bridge = ("bridge_id", heartbeat.bridge_id.as_str());
    line(namespace, bridge, metrics, now)
}

/// The sum of the samples that begin like this, in Prometheus' text format; `None` if there are none.
fn sum(text: &str, beginning: &str) -> Option<f64> {
    let samples = text.lines().filter(|line| line.starts_with(beginning));
    samples
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .fold(None, |sum, sample: f64| Some(sum.unwrap_or(0.0) + sample))
}

fn line(
    namespace: &Namespace,
    (dimension, value): (&str, &str),
    metrics: Vec<(&'static str, (Value, &'static str))>,
    now: Timestamp,
) -> Value {
    let names: Vec<_> = metrics
        .iter()
        .map(|(name, (_, unit))| json!({"Name": name, "Unit": unit}))
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.as_millis(),
            "CloudWatchMetrics": [{"Namespace": namespace.as_str(), "Dimensions": [[dimension]], "Metrics": names}],
        }),
    );
    line.insert(dimension.to_owned(), json!(value));
    for (name, (number, _)) in metrics {
        line.insert(name.to_owned(), number);
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use cloud::lease::LeaseRefusal;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn heartbeat(metrics: &str) -> Heartbeat {
        Heartbeat {
            bridge_id: "b1".parse().unwrap(),
            at: NOW.minus(Duration::from_secs(7)),
            started_at: Timestamp::from_millis(0),
            version: "0.1.0".to_owned(),
            events_up: true,
            ari_up: false,
            waiting: Some(domain::WaitingReason::TrunkUnavailable),
            live_calls: 3,
            clock_ahead_ms: Some(-1_500),
            refused: Some((
                LeaseRefusal::AnotherAsterisk,
                NOW.minus(Duration::from_secs(9)),
            )),
            metrics: metrics.to_owned(),
        }
    }

    #[test]
    fn a_bridge_is_told_of_as_it_is() {
        let metrics = "# TYPE calls_total counter\n\
             calls_total{status=\"failed\",bridge_id=\"b1\"} 2\n\
             calls_total{status=\"busy\",bridge_id=\"b1\"} 5\n\
             store_errors_total{bridge_id=\"b1\"} 1\n";
        let swept = Swept {
            expired: 4,
            lost: 0,
            failed: 1,
            unfinished: false,
        };
        let namespace = "OutboundCalls/one".parse().unwrap();
        let bridges = [heartbeat(metrics), heartbeat("")];
        let lines = lines(&namespace, &swept, &bridges, NOW);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["sweeper_expired_calls"], 4);
        assert_eq!(lines[0]["function"], "sweeper");
        let bridge = &lines[1];
        for (name, expected) in [
            ("bridge_heartbeat_age_seconds", json!(7.0)),
            ("bridge_ari_up", json!(0)),
            ("bridge_events_up", json!(1)),
            ("bridge_circuit_open", json!(1)),
            ("bridge_live_calls", json!(3)),
            ("bridge_lease_refused", json!(1)),
            ("bridge_clock_off_seconds", json!(1.5)),
            ("bridge_calls_ended_total", json!(7.0)),
            ("bridge_calls_failed_total", json!(2.0)),
            ("bridge_store_errors_total", json!(1.0)),
        ] {
            assert_eq!(bridge[name], expected, "{name}");
        }
        assert!(lines[2].get("bridge_calls_ended_total").is_none());
        for line in lines {
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], "OutboundCalls/one");
            for metric in directive["Metrics"].as_array().unwrap() {
                assert!(line[metric["Name"].as_str().unwrap()].is_number());
            }
            assert!(line[directive["Dimensions"][0][0].as_str().unwrap()].is_string());
        }
    }
}
