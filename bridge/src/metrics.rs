//! What the bridge counts and measures, in Prometheus' terms.

use std::time::Duration;

use domain::{BridgeId, CallStatus, WaitingReason};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::ari::event::Ignored;

/// The bridge's metrics, each labelled with its id.
pub struct Metrics {
    registry: Registry,
    launched: IntCounter,
    succeeded: IntCounter,
    failed: IntCounter,
    ended: IntCounterVec,
    active: IntGauge,
    clock_ahead: IntGauge,
    events: IntCounterVec,
    bad_messages: IntCounter,
    ari_requests: IntCounterVec,
    ari_errors: IntCounterVec,
    store_errors: IntCounter,
    websocket_up: IntGauge,
    lease_held: IntGauge,
    circuit_open: IntGaugeVec,
    returned: IntCounterVec,
    originate_latency: Histogram,
    queue_to_dial: Histogram,
    event_to_store: Histogram,
}

/// Some of the counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events about calls.
    pub events: u64,
    /// Events that were not JSON or not of their type's form.
    pub malformed: u64,
    /// Events of types we do not need.
    pub other_type: u64,
    /// Events without a channel, or about others' channels.
    pub other_channel: u64,
    /// Events about calls that change nothing.
    pub nothing_new: u64,
    /// Events about calls that this bridge does not follow (any more).
    pub undeliverable: u64,
    /// Queue messages that could not be read.
    pub bad_messages: u64,
    /// Calls claimed and dialled.
    pub dialled: u64,
    /// Requests to ARI over HTTP.
    pub over_http: u64,
    /// Requests to ARI over a WebSocket.
    pub over_websocket: u64,
}

/// The ways in which requests to ARI go.
pub(crate) const OVER_HTTP: &str = "http";
pub(crate) const OVER_WEBSOCKET: &str = "websocket";

const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

const QUEUED_SECONDS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0,
];

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None that is known of: every name and label is a constant and valid.
    pub fn new(bridge: &BridgeId) -> Result<Self, prometheus::Error> {
        let labels = [("bridge_id".to_owned(), bridge.to_string())];
        let registry = Registry::new_custom(None, Some(labels.into()))?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let labelled = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let ended = labelled(
            "calls_total",
            "Calls that are over, by final status.",
            "status",
        )?;
        for status in CallStatus::ALL.into_iter().filter(|s| s.is_terminal()) {
            ended.with_label_values(&[status.as_str()]);
        }
        let returned = labelled(
            "messages_returned_total",
            "Queue messages given back because their calls wait, by the reason.",
            "reason",
        )?;
        let opts = Opts::new(
            "circuit_open",
            "Whether nothing is received from the queue for this reason (1) or not.",
        );
        let circuit_open = IntGaugeVec::new(opts, &["reason"])?;
        registry.register(Box::new(circuit_open.clone()))?;
        Ok(Self {
            circuit_open,
            returned,
            launched: counter("calls_launched_total", "Calls claimed and dialled.")?,
            succeeded: counter("calls_success_total", "Calls that were answered.")?,
            failed: counter("calls_failed_total", "Calls that ended unanswered.")?,
            ended,
            active: gauge("calls_active", "Calls under way.")?,
            clock_ahead: gauge(
                "clock_ahead_milliseconds",
                "How far this machine's clock is ahead of AWS's; negative if it is behind.",
            )?,
            events: labelled(
                "ari_events_total",
                "Events from ARI, by what was made of them.",
                "taken",
            )?,
            bad_messages: counter(
                "bad_messages_total",
                "Queue messages that could not be read.",
            )?,
            ari_requests: labelled(
                "ari_requests_total",
                "Requests to ARI, by the way they went.",
                "over",
            )?,
            ari_errors: labelled(
                "ari_errors_total",
                "Requests to ARI without a usable answer, by request.",
                "request",
            )?,
            store_errors: counter("store_errors_total", "Writes of calls that failed.")?,
            websocket_up: gauge(
                "ari_websocket_up",
                "Whether ARI's events arrive (1) or not.",
            )?,
            lease_held: gauge(
                "bridge_lease_held",
                "Whether this process holds the lease of its BRIDGE_ID (1) or takes no calls (0).",
            )?,
            originate_latency: histogram(
                "originate_latency_seconds",
                "From a message's receipt to ARI's answer to the dial.",
                &SECONDS,
            )?,
            queue_to_dial: histogram(
                "queue_to_dial_seconds",
                "From the client's request to the dial.",
                &QUEUED_SECONDS,
            )?,
            event_to_store: histogram(
                "event_to_store_seconds",
                "From an event of ARI to the durable record of what it changed.",
                &SECONDS,
            )?,
            registry,
        })
    }

    pub(crate) fn event(&self) {
        self.events.with_label_values(&["yes"]).inc();
    }

    pub(crate) fn undeliverable(&self) {
        self.events.with_label_values(&["undeliverable"]).inc();
    }

    pub(crate) fn ignored(&self, reason: Ignored) {
        let reason = match reason {
            Ignored::Malformed => "malformed",
            Ignored::OtherType => "other_type",
            Ignored::OtherChannel => "other_channel",
            Ignored::NothingNew => "nothing_new",
        };
        self.events.with_label_values(&[reason]).inc();
    }

    pub(crate) fn bad_message(&self) {
        self.bad_messages.inc();
    }

    pub(crate) fn returned(&self, reason: Option<WaitingReason>) {
        let reason = reason.map_or("other", WaitingReason::as_str);
        self.returned.with_label_values(&[reason]).inc();
    }

    pub(crate) fn ari_request(&self, over: &'static str) {
        self.ari_requests.with_label_values(&[over]).inc();
    }

    pub(crate) fn ari_error(&self, request: &'static str) {
        self.ari_errors.with_label_values(&[request]).inc();
    }

    pub(crate) fn store_error(&self) {
        self.store_errors.inc();
    }

    pub(crate) fn dialling(&self, since_request: Duration) {
        self.launched.inc();
        self.queue_to_dial.observe(since_request.as_secs_f64());
    }

    pub(crate) fn dialled(&self, since_receipt: Duration) {
        self.originate_latency.observe(since_receipt.as_secs_f64());
    }

    pub(crate) fn stored(&self, since_event: Duration) {
        self.event_to_store.observe(since_event.as_secs_f64());
    }

    pub(crate) fn ended(&self, status: CallStatus) {
        self.ended.with_label_values(&[status.as_str()]).inc();
        if status == CallStatus::Completed {
            self.succeeded.inc();
        } else {
            self.failed.inc();
        }
    }

    /// Whether this process holds the lease of its bridge's name.
    pub(crate) fn lease_held(&self, held: bool) {
        self.lease_held.set(held.into());
    }

    /// How far the clock is ahead of AWS's, in milliseconds.
    pub(crate) fn clock_is_ahead(&self, milliseconds: i64) {
        self.clock_ahead.set(milliseconds);
    }

    /// Everything in Prometheus' text format (version 0.0.4).
    #[must_use]
    pub fn text(&self, active: usize, events_up: bool, waiting: Option<WaitingReason>) -> String {
        for reason in WaitingReason::ALL {
            let open = i64::from(waiting == Some(reason));
            self.circuit_open
                .with_label_values(&[reason.as_str()])
                .set(open);
        }
        self.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.websocket_up.set(events_up.into());
        let families = self.registry.gather();
        // Fails only for families without a name or a sample, which the registry does not give.
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }

    /// Some of the counts now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let events = |taken: &str| self.events.with_label_values(&[taken]).get();
        let requests = |over: &str| self.ari_requests.with_label_values(&[over]).get();
        Counts {
            events: events("yes"),
            malformed: events("malformed"),
            other_type: events("other_type"),
            other_channel: events("other_channel"),
            nothing_new: events("nothing_new"),
            undeliverable: events("undeliverable"),
            bad_messages: self.bad_messages.get(),
            dialled: self.launched.get(),
            over_http: requests(OVER_HTTP),
            over_websocket: requests(OVER_WEBSOCKET),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_metric_with_the_bridge_and_labels_of_few_values() {
        let metrics = Metrics::new(&"b1".parse().unwrap()).unwrap();
        metrics.dialling(Duration::from_millis(20));
        metrics.dialled(Duration::from_millis(3));
        metrics.stored(Duration::from_millis(7));
        metrics.ended(CallStatus::Busy);
        metrics.ended(CallStatus::Completed);
        metrics.event();
        metrics.ari_request(OVER_WEBSOCKET);
        metrics.ari_error("POST /channels/create");
        metrics.returned(Some(WaitingReason::AsteriskRefuses));
        let text = metrics.text(3, true, Some(WaitingReason::TrunkUnavailable));
        for line in [
            r#"calls_launched_total{bridge_id="b1"} 1"#,
            r#"calls_success_total{bridge_id="b1"} 1"#,
            r#"calls_failed_total{bridge_id="b1"} 1"#,
            r#"calls_total{status="busy",bridge_id="b1"} 1"#,
            r#"calls_total{status="no_answer",bridge_id="b1"} 0"#,
            r#"calls_active{bridge_id="b1"} 3"#,
            r#"ari_websocket_up{bridge_id="b1"} 1"#,
            r#"circuit_open{reason="trunk_unavailable",bridge_id="b1"} 1"#,
            r#"circuit_open{reason="asterisk_refuses",bridge_id="b1"} 0"#,
            r#"messages_returned_total{reason="asterisk_refuses",bridge_id="b1"} 1"#,
            r#"ari_requests_total{over="websocket",bridge_id="b1"} 1"#,
            r#"ari_errors_total{request="POST /channels/create",bridge_id="b1"} 1"#,
            r#"originate_latency_seconds_bucket{bridge_id="b1",le="0.005"} 1"#,
            r#"queue_to_dial_seconds_count{bridge_id="b1"} 1"#,
            r#"event_to_store_seconds_count{bridge_id="b1"} 1"#,
        ] {
            assert!(text.lines().any(|given| given == line), "{line}\n{text}");
        }
    }
}
