//! Sends a recording's requests, and compares what comes with what was recorded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use simulator::TrunkState;

use crate::ari::Ari;
use crate::folder;

/// A recording, and what it takes to have the same happen here.
pub struct Recording {
    pub name: &'static str,
    /// Words of the recording, and those that stand for them here.
    pub words: &'static [(&'static str, &'static str)],
    /// What was done to Asterisk before the first request about this channel.
    pub acts: &'static [(&'static str, Act)],
}

#[derive(Clone, Copy)]
pub enum Act {
    RefuseCreates(bool),
    ExhaustRtp(bool),
}

/// Requests of the recordings that the simulator does not speak: originating in one step, and what is asked
/// about Asterisk besides `/asterisk/info`.
const NOT_SPOKEN: [(&str, &str); 4] = [
    ("POST", "/channels"),
    ("GET", "/asterisk/ping"),
    ("GET", "/asterisk/modules/chan_pjsip.so"),
    ("GET", "/asterisk/variable?variable=SHUTDOWN"),
];

/// Seconds that an event may be in the recording before a request without the request having waited for it.
const SLACK: f64 = 0.02;

/// Of an event: whom it is about, and what of it is compared. `None` for the types that depend on the
/// dialplan's steps, or on a subscription.
fn essence(event: &Value) -> Option<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = event["type"].as_str()?;
    let state = text(&event["channel"]["state"]);
    let of_channel = |what: String| Some((text(&event["channel"]["id"]), what));
    match kind {
        "StasisStart" | "StasisEnd" => of_channel(kind.to_owned()),
        "ChannelStateChange" => of_channel(format!("State {state}")),
        "ChannelHangupRequest" | "ChannelDestroyed" => of_channel(format!(
            "{kind} {state} {} {} {}",
            event["cause"], event["tech_cause"], event["soft"]
        )),
        "Dial" => {
            let what = format!(
                "{} {}",
                text(&event["dialstatus"]),
                text(&event["dialstring"])
            );
            // A second phone's is about the channel that it is dialled for.
            match event["caller"]["id"].as_str() {
                Some(caller) => Some((caller.to_owned(), format!("Second Dial {what}"))),
                None => Some((text(&event["peer"]["id"]), format!("Dial {what}"))),
            }
        }
        "PlaybackStarted" | "PlaybackContinuing" | "PlaybackFinished" => {
            let playback = &event["playback"];
            let channel = text(&playback["target_uri"]).replace("channel:", "");
            let what = format!(
                "{kind} {} {} {}",
                playback["state"], playback["media_uri"], playback["next_media_uri"]
            );
            Some((channel, what))
        }
        _ => None,
    }
}

/// Puts the two signals of one fact, which come in either order, into one order.
fn in_one_order(mut events: Vec<String>) -> Vec<String> {
    for (state, dial) in [
        ("State Ringing", "Dial RINGING "),
        ("State Up", "Dial ANSWER "),
    ] {
        let find = |wanted: &str| events.iter().position(|event| event == wanted);
        if let (Some(state), Some(dial)) = (find(state), find(dial))
            && dial + 1 == state
        {
            events.swap(state, dial);
        }
    }
    events
}

/// What was recorded of each channel, and when.
type Expected = BTreeMap<String, Vec<(f64, String)>>;

fn expected(lines: &[Value]) -> Expected {
    let is_subscribed = lines
        .iter()
        .any(|line| line["event"]["type"] == "EndpointStateChange");
    let mut expected = Expected::new();
    for line in lines {
        if let Some((channel, what)) = essence(&line["event"]) {
            let of_channel = expected.entry(channel).or_default();
            // With a subscription to endpoints, most events of a channel come twice.
            let is_double = of_channel.last().is_some_and(|(_, last)| *last == what);
            if !(is_subscribed && is_double) {
                of_channel.push((line["t"].as_f64().expect("a time"), what));
            }
        }
    }
    // The recording stopped before this one's events came.
    expected.retain(|_, events| events.iter().any(|(_, what)| what == "StasisStart"));
    expected
}

struct Replay {
    recording: Recording,
    ari: Ari,
    seen: BTreeMap<String, Vec<String>>,
    /// The last one.
    playback: Option<String>,
}

pub async fn replay(recording: Recording) {
    let path = folder().join(format!("{}.jsonl", recording.name));
    let mut text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (recorded, here) in recording.words {
        assert!(text.contains(recorded), "{}: {recorded}", recording.name);
        text = text.replace(recorded, here);
    }
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let expected = expected(&lines);
    let app = lines
        .iter()
        .find_map(|line| line["params"]["app"].as_str())
        .expect("an application");
    let mut replay = Replay {
        ari: Ari::start(app).await,
        recording,
        seen: BTreeMap::new(),
        playback: None,
    };
    let mut acted = BTreeSet::new();
    for line in lines.iter().filter(|line| line["kind"] == "request") {
        replay.act(line, &mut acted);
        replay.wait_for_what_was_seen_before(line, &expected).await;
        replay.request(line).await;
    }
    assert_eq!(acted.len(), replay.recording.acts.len());
    replay.wait_until(&expected, f64::INFINITY).await;
    for (channel, events) in expected {
        let events: Vec<_> = events.into_iter().map(|(_, what)| what).collect();
        let seen = replay.seen.remove(&channel).unwrap_or_default();
        let name = replay.recording.name;
        assert_eq!(
            in_one_order(seen),
            in_one_order(events),
            "{name}: {channel}"
        );
    }
}

impl Replay {
    /// Brings Asterisk into the state that it was in at this request.
    fn act(&self, line: &Value, acted: &mut BTreeSet<&'static str>) {
        let simulator = &self.ari.simulator;
        let path = line["path"].as_str().expect("a path");
        for (channel, act) in self.recording.acts {
            let is_about_it = line["params"]["channelId"] == *channel
                || path.split('/').any(|segment| segment == *channel);
            if is_about_it && acted.insert(*channel) {
                match act {
                    Act::RefuseCreates(refuses) => simulator.refuse_creates(*refuses),
                    Act::ExhaustRtp(is_exhausted) => simulator.exhaust_rtp(*is_exhausted),
                }
            }
        }
        // The recording says itself how the trunks were.
        let shown = match &line["body"] {
            Value::Array(shown) if path == "/endpoints/PJSIP" => {
                simulator.set_trunk("down", TrunkState::Missing);
                shown.as_slice()
            }
            shown if path.starts_with("/endpoints/PJSIP/") => std::slice::from_ref(shown),
            _ => &[],
        };
        for endpoint in shown {
            let state = match endpoint["state"].as_str() {
                Some("online") => TrunkState::Online,
                Some("offline") => TrunkState::Offline,
                _ => continue,
            };
            simulator.set_trunk(endpoint["resource"].as_str().expect("a name"), state);
        }
    }

    async fn wait_for_what_was_seen_before(&mut self, line: &Value, expected: &Expected) {
        let sent_at = line["t"].as_f64().expect("a time");
        let path = line["path"].as_str().expect("a path");
        let mut segments = path.split('/').skip(2);
        let channel = segments.next().unwrap_or_default();
        // The recorded client waited for these, however short before the request they came.
        let awaited = match segments.next() {
            Some("dial") => "StasisStart",
            Some("continue" | "play" | "variable") => "State Up",
            None if line["status"] == 404 => "ChannelDestroyed",
            None => "State ",
            Some(_) => return self.wait_until(expected, sent_at - SLACK).await,
        };
        let events = expected.get(channel).map_or(&[][..], Vec::as_slice);
        let position = events
            .iter()
            .rposition(|(at, what)| *at <= sent_at && what.starts_with(awaited));
        if let Some(position) = position {
            self.wait_for_many(channel, position + 1).await;
        }
        self.wait_until(expected, sent_at - SLACK).await;
    }

    /// Waits until as many events have come as were recorded until then.
    async fn wait_until(&mut self, expected: &Expected, until: f64) {
        for (channel, events) in expected {
            let many = events.iter().filter(|(at, _)| *at <= until).count();
            self.wait_for_many(channel, many).await;
        }
    }

    /// Waits until so many events of a channel have come.
    async fn wait_for_many(&mut self, channel: &str, many: usize) {
        while self.seen.get(channel).map_or(0, Vec::len) < many {
            let event = self.ari.next().await.expect("a socket");
            if let Some((channel, what)) = essence(&event) {
                self.seen.entry(channel).or_default().push(what);
            }
        }
    }

    async fn request(&mut self, line: &Value) {
        let name = self.recording.name;
        let method = line["method"].as_str().expect("a method");
        let path = line["path"].as_str().expect("a path");
        if NOT_SPOKEN.contains(&(method, path)) {
            return;
        }
        let parameters: Vec<(&str, String)> = line["params"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                (
                    key.as_str(),
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                )
            })
            .collect();
        let query: Vec<_> = parameters
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let answer = self
            .ari
            .send_json(method, path, &query, &line["json"])
            .await;
        let (status, body) = answer;
        assert_eq!(
            u64::from(status),
            line["status"].as_u64().expect("a status"),
            "{name}: {path}: {body}"
        );
        let recorded = &line["body"];
        if status >= 400 || path.starts_with("/endpoints/") {
            assert_eq!(in_order(&body), in_order(recorded), "{name}: {path}");
        } else {
            assert_eq!(keys(&body), keys(recorded), "{name}: {path}");
        }
        if path.contains("/play") {
            self.playback = body["id"].as_str().map(str::to_owned);
        }
        // A variable is set when what was playing is over.
        if let ("POST", true, Some(playback)) =
            (method, path.ends_with("/variable"), &self.playback)
        {
            let playback = format!("/playbacks/{playback}");
            let (status, _) = self.ari.send("GET", &playback, &[]).await;
            assert_eq!(status, 404, "{name}: {path}");
        }
    }
}

/// The names in an answer, or in each item of one that is a list. Which channel variables come along is a
/// setting of Asterisk's.
fn keys(body: &Value) -> Vec<Vec<&str>> {
    fn of_one(body: &Value) -> Vec<&str> {
        let keys = body
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str());
        let mut keys: Vec<_> = keys.filter(|key| *key != "channelvars").collect();
        keys.sort_unstable();
        keys
    }
    match body {
        Value::Array(items) => items.iter().map(of_one).collect(),
        body => vec![of_one(body)],
    }
}

/// A list in the order of its items' texts; anything else as it is.
fn in_order(body: &Value) -> Value {
    let mut body = body.clone();
    if let Value::Array(items) = &mut body {
        items.sort_by_cached_key(Value::to_string);
    }
    body
}
