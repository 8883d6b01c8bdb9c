//! What the switch does, in simulated time.

mod endings;
mod legs;
mod limits;
mod playing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Create, Place, Switch};

const APP: &str = "app";
const TRUNK: &str = "PJSIP/15550000200@trunk";
const RINGING: &str = "PJSIP/15550000000@trunk";
const LOCAL: &str = "Local/15550000200@carrier";
const LOCAL_N: &str = "Local/15550000200@carrier/n";

/// A switch whose events are read.
struct Desk {
    switch: Arc<Switch>,
    events: mpsc::Receiver<String>,
    begun: Instant,
}

impl Desk {
    fn new() -> Self {
        let switch = Arc::new(Switch::default());
        let (events, _) = switch.connect(APP);
        Self {
            switch,
            events,
            begun: Instant::now(),
        }
    }

    fn create(&self, id: &str, endpoint: &str, variables: &[(&str, &str)]) {
        let variables = variables.iter();
        let variables: HashMap<_, _> = variables
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let create = Create {
            id: id.to_owned(),
            endpoint: endpoint.to_owned(),
            app: APP.to_owned(),
            app_args: String::new(),
            variables,
        };
        self.switch.create(create).unwrap();
    }

    /// Creates a channel and dials it when its application has it.
    async fn call(&mut self, id: &str, endpoint: &str, variables: &[(&str, &str)]) {
        self.create(id, endpoint, variables);
        self.until("StasisStart").await;
        self.switch.dial(id, Duration::from_mins(1)).unwrap();
    }

    /// The same, until the callee has answered.
    async fn answered(&mut self, id: &str, endpoint: &str, variables: &[(&str, &str)]) {
        self.call(id, endpoint, variables).await;
        let up = ["State Up", "Dial ANSWER"];
        self.until(up[0]).await;
        // The other signal comes at the same moment, before or after this one.
        while let Ok(event) = self.events.try_recv() {
            assert_eq!(essence(&event).as_deref(), Some(up[1]));
        }
    }

    fn go_on(&self, id: &str, context: &str, extension: &str) {
        let to = Place {
            context: context.to_owned(),
            extension: extension.to_owned(),
            priority: 1,
        };
        self.switch.go_on(id, to).unwrap();
    }

    /// What is said until something begins with these words, each with the milliseconds since the start.
    async fn until(&mut self, words: &str) -> Vec<(u128, String)> {
        let mut seen = Vec::new();
        let waiting = async {
            while let Some(event) = self.events.recv().await {
                if let Some(what) = essence(&event) {
                    let is_it = what.starts_with(words);
                    seen.push((self.begun.elapsed().as_millis(), what));
                    if is_it {
                        return;
                    }
                }
            }
        };
        let waited = timeout(Duration::from_hours(1), waiting).await;
        assert!(waited.is_ok(), "no {words} in {seen:?}");
        seen
    }

    /// The same without the times.
    async fn said_until(&mut self, words: &str) -> Vec<String> {
        let seen = self.until(words).await;
        seen.into_iter().map(|(_, what)| what).collect()
    }

    /// Nothing is said for this long.
    async fn hears_nothing_for(&mut self, lasting: Duration) {
        let event = timeout(lasting, self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }

    fn milliseconds(&self) -> u128 {
        self.begun.elapsed().as_millis()
    }
}

/// What of an event is compared.
fn essence(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let playback = &event["playback"];
    let kind = event["type"].as_str().unwrap();
    match kind {
        "StasisStart" | "StasisEnd" => Some(kind.to_owned()),
        "ChannelStateChange" => Some(format!("State {}", text(&event["channel"]["state"]))),
        "ChannelHangupRequest" | "ChannelDestroyed" => Some(format!(
            "{} {} {}",
            kind.trim_start_matches("Channel"),
            event["cause"],
            event["tech_cause"]
        )),
        "Dial" if event["caller"].is_object() => {
            Some(format!("Second {}", text(&event["dialstatus"])))
        }
        "Dial" => Some(format!("Dial {}", text(&event["dialstatus"]))),
        "PlaybackStarted" | "PlaybackContinuing" | "PlaybackFinished" => Some(format!(
            "{} {} {} {}",
            kind.trim_start_matches("Playback"),
            text(&playback["id"]),
            text(&playback["media_uri"]),
            text(&playback["state"])
        )),
        _ => None,
    }
}
