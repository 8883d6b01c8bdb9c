//! The bridges' heartbeats in the table `state`: who is there, and how each is.
//!
//! One item a bridge, written every few seconds, and one that names them all, so that reading
//! them needs no scan. The item of a bridge is also the lease of its name: see [`crate::lease`].

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::{BridgeId, Timestamp, WaitingReason};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::aws_date::DateReader;
use crate::call_item::Item;
use crate::lease::{LastBeat, Lease, LeaseClaim, LeaseRefusal};
use crate::ports::{BeatOutcome, Beaten, SignsOfLife};
use crate::{StoreError, batch, lease, tables};

/// How often a bridge writes one.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// A bridge that has been silent for this long is taken for gone.
pub const GONE_AFTER: Duration = Duration::from_secs(45);

/// The attributes of the lease.
const PROCESS: &str = "process";
const PLACE: &str = "place";
const ASTERISK: &str = "asterisk";

/// The item that names the bridges.
pub(crate) const BRIDGES: &str = "bridges";
/// Most bridges that are looked at; also the most items that `DynamoDB` reads by key at once.
const MAX_BRIDGES: usize = 100;
/// Longest text of metrics that is kept, in bytes.
const MAX_METRICS: usize = 64 * 1024;

/// What a bridge says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The bridge.
    pub bridge_id: BridgeId,
    /// When it said so.
    pub at: Timestamp,
    /// When it started.
    pub started_at: Timestamp,
    /// Its release.
    pub version: String,
    /// Whether ARI's events arrive.
    pub events_up: bool,
    /// Whether ARI answered last.
    pub ari_up: bool,
    /// Why it takes no calls from the queue now, although it is up.
    pub waiting: Option<WaitingReason>,
    /// Calls under way.
    pub live_calls: u64,
    /// How far its clock is ahead of AWS's, in milliseconds (negative: behind), if that is known.
    pub clock_ahead_ms: Option<i64>,
    /// Its metrics in Prometheus' text format.
    pub metrics: String,
    /// Why and when another process was refused the lease of this name last. That process notes it;
    /// the holder writes it again with its heartbeats while it is new.
    pub refused: Option<(LeaseRefusal, Timestamp)>,
}

/// The heartbeats.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    client: Client,
    table: String,
}

impl Heartbeats {
    /// Over the table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Forgets a bridge that is not coming back. One that lives after all announces itself again
    /// with its next heartbeat.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn forget(&self, bridge: &BridgeId) -> Result<(), StoreError> {
        self.change_bridges("DELETE ids :ids", bridge).await?;
        self.client
            .delete_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, text(&key(bridge)))
            .send()
            .await
            .map_err(StoreError::unavailable("DeleteItem"))?;
        Ok(())
    }

    async fn change_bridges(&self, expression: &str, bridge: &BridgeId) -> Result<(), StoreError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, text(BRIDGES))
            .update_expression(expression)
            .expression_attribute_values(":ids", AttributeValue::Ss(vec![bridge.to_string()]))
            .send()
            .await
            .map_err(StoreError::unavailable("UpdateItem"))?;
        Ok(())
    }
}

#[async_trait]
impl SignsOfLife for Heartbeats {
    async fn announce(&self, bridge: &BridgeId) -> Result<(), StoreError> {
        self.change_bridges("ADD ids :ids", bridge).await
    }

    async fn beat(&self, heartbeat: &Heartbeat, claim: &LeaseClaim) -> Result<Beaten, StoreError> {
        let date = DateReader::default();
        let condition = Condition::of(claim);
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(encode(heartbeat, claim)))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(Some(condition.names))
            .set_expression_attribute_values(Some(condition.values))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .interceptor(date.clone())
            .send()
            .await;
        let outcome = match sent {
            Ok(output) => BeatOutcome::Written {
                is_first: output.attributes.is_none(),
                refused: output.attributes.as_ref().and_then(refused),
            },
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    BeatOutcome::Refused(failed.item().map(stored_lease).unwrap_or_default())
                }
                _ => return Err(StoreError::unavailable("PutItem")(error)),
            },
        };
        Ok(Beaten {
            outcome,
            date: date.date(),
        })
    }

    async fn note_refusal(
        &self,
        bridge: &BridgeId,
        refusal: LeaseRefusal,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let noted = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, text(&key(bridge)))
            .update_expression("SET refused_at = :at, refusal = :refusal")
            .condition_expression("attribute_exists(bridge_id)")
            .expression_attribute_values(":at", number(&at.as_millis()))
            .expression_attribute_values(":refusal", text(refusal.as_str()))
            .send()
            .await;
        match noted {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // There is no holder (any more), so that there is nothing to say.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(StoreError::unavailable("UpdateItem")(error)),
            },
        }
    }

    async fn read(&self) -> Result<Vec<Heartbeat>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, text(BRIDGES))
            .send()
            .await
            .map_err(StoreError::unavailable("GetItem"))?;
        let ids = output
            .item
            .as_ref()
            .and_then(|item| item.get("ids")?.as_ss().ok());
        let keys: Vec<_> = ids
            .into_iter()
            .flatten()
            .filter_map(|id| id.parse().ok())
            .take(MAX_BRIDGES)
            .map(|id| Item::from([(tables::STATE_KEY.to_owned(), text(&key(&id)))]))
            .collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let items = batch::read(&self.client, &self.table, keys, "heartbeats").await?;
        let mut heartbeats: Vec<_> = items.iter().filter_map(decode).collect();
        heartbeats.sort_by(|a, b| a.bridge_id.as_str().cmp(b.bridge_id.as_str()));
        Ok(heartbeats)
    }
}

/// The item of a heartbeat.
fn encode(heartbeat: &Heartbeat, claim: &LeaseClaim) -> Item {
    let flag = |up| Some(AttributeValue::Bool(up));
    let named = |name: &Option<String>| name.as_deref().map(text);
    let holds = !claim.gives_up;
    let metrics = AttributeValue::B(Blob::new(pack(&heartbeat.metrics)));
    let (refusal, refused_at) = heartbeat.refused.unzip();
    let attributes = [
        (tables::STATE_KEY, Some(text(&key(&heartbeat.bridge_id)))),
        ("bridge_id", Some(text(heartbeat.bridge_id.as_str()))),
        ("at", Some(number(&heartbeat.at.as_millis()))),
        (
            "started_at",
            Some(number(&heartbeat.started_at.as_millis())),
        ),
        ("version", Some(text(&heartbeat.version))),
        ("events_up", flag(heartbeat.events_up)),
        ("ari_up", flag(heartbeat.ari_up)),
        ("live_calls", Some(number(&heartbeat.live_calls))),
        (
            "waiting",
            heartbeat.waiting.map(|reason| text(reason.as_str())),
        ),
        (
            "clock_ahead_ms",
            heartbeat.clock_ahead_ms.map(|ahead| number(&ahead)),
        ),
        ("metrics", Some(metrics)),
        ("refusal", refusal.map(|refusal| text(refusal.as_str()))),
        ("refused_at", refused_at.map(|at| number(&at.as_millis()))),
        (PROCESS, holds.then(|| text(&claim.process))),
        (PLACE, named(&claim.place).filter(|_| holds)),
        (ASTERISK, named(&claim.asterisk)),
    ];
    let given = |(name, value): (&str, Option<_>)| Some((name.to_owned(), value?));
    attributes.into_iter().filter_map(given).collect()
}

/// When a heartbeat may be written: see [`Lease::admits`].
struct Condition {
    expression: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Condition {
    fn of(claim: &LeaseClaim) -> Self {
        let mut names = HashMap::from([("#process".to_owned(), PROCESS.to_owned())]);
        let mut values = HashMap::from([(":me".to_owned(), text(&claim.process))]);
        let mut expression = "(attribute_not_exists(#process) OR #process = :me".to_owned();
        if let Some(gone) = &claim.instead_of {
            expression += " OR (#process = :gone AND #at = :gone_at)";
            names.insert("#at".to_owned(), "at".to_owned());
            values.insert(":gone".to_owned(), text(&gone.process));
            values.insert(":gone_at".to_owned(), number(&gone.at.as_millis()));
        }
        expression += ")";
        if !claim.moves {
            names.insert("#asterisk".to_owned(), ASTERISK.to_owned());
            expression += " AND (attribute_not_exists(#asterisk)";
            if let Some(asterisk) = &claim.asterisk {
                expression += " OR #asterisk = :asterisk";
                values.insert(":asterisk".to_owned(), text(asterisk));
            }
            expression += ")";
        }
        Self {
            expression,
            names,
            values,
        }
    }
}

/// What is noted of a process that was refused.
fn refused(item: &Item) -> Option<(LeaseRefusal, Timestamp)> {
    let refusal = item.get("refusal")?.as_s().ok()?.parse().ok()?;
    Some((refusal, time(item, "refused_at")?))
}

pub(crate) fn stored_lease(item: &Item) -> Lease {
    let name = |attribute| lease::name(item.get(attribute)?.as_s().ok()?);
    let at = time(item, "at").unwrap_or(Timestamp::from_millis(0));
    Lease {
        holder: name(PROCESS).map(|process| LastBeat { process, at }),
        place: name(PLACE),
        asterisk: name(ASTERISK),
    }
}

pub(crate) fn time(item: &Item, name: &str) -> Option<Timestamp> {
    let millis = item.get(name)?.as_n().ok()?.parse().ok()?;
    Some(Timestamp::from_millis(millis))
}

pub(crate) fn key(bridge: &BridgeId) -> String {
    format!("bridge#{bridge}")
}

/// Packed: a bridge's metrics are several kilobytes that repeat themselves, and each kilobyte of an item is billed.
fn pack(text: &str) -> Vec<u8> {
    let text = if text.len() > MAX_METRICS { "" } else { text };
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    let done = packer
        .write_all(text.as_bytes())
        .and_then(|()| packer.finish());
    // Into memory it does not fail.
    done.unwrap_or_default()
}

fn unpack(value: &AttributeValue) -> Option<String> {
    let packed = value.as_b().ok()?;
    let most = u64::try_from(MAX_METRICS).unwrap_or(u64::MAX);
    let mut text = String::new();
    let unpacker = ZlibDecoder::new(packed.as_ref());
    unpacker.take(most).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Attributes of another release that are missing read as their least.
fn decode(item: &Item) -> Option<Heartbeat> {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let flag = |name: &str| {
        item.get(name)
            .and_then(|value| value.as_bool().ok())
            .copied()
            .unwrap_or_default()
    };
    Some(Heartbeat {
        bridge_id: text("bridge_id")?.parse().ok()?,
        at: time(item, "at")?,
        started_at: time(item, "started_at")?,
        version: text("version").cloned().unwrap_or_default(),
        events_up: flag("events_up"),
        ari_up: flag("ari_up"),
        waiting: text("waiting").and_then(|reason| reason.parse().ok()),
        live_calls: item
            .get("live_calls")
            .and_then(|value| value.as_n().ok()?.parse().ok())
            .unwrap_or_default(),
        clock_ahead_ms: item
            .get("clock_ahead_ms")
            .and_then(|value| value.as_n().ok()?.parse().ok()),
        metrics: item.get("metrics").and_then(unpack).unwrap_or_default(),
        refused: refused(item),
    })
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number<T: ToString + ?Sized>(value: &T) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(text: &str) -> String {
        unpack(&AttributeValue::B(Blob::new(pack(text)))).unwrap()
    }

    #[test]
    fn metrics_are_packed_small_and_come_back_whole() {
        let line = "originate_latency_seconds_bucket{bridge_id=\"bridge1\",le=\"0.25\"} 17\n";
        let text = line.repeat(60);
        assert!(pack(&text).len() < text.len() / 8);
        assert_eq!(there_and_back(&text), text);
        assert_eq!(there_and_back(""), "");
    }

    #[test]
    fn what_is_too_long_or_broken_is_left_out() {
        assert_eq!(there_and_back(&"x".repeat(MAX_METRICS + 1)), "");
        let broken = AttributeValue::B(Blob::new(*b"no zlib"));
        assert_eq!(unpack(&broken), None);
        assert_eq!(unpack(&text("of an earlier release")), None);
        // A few bytes that unpack to very many.
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&vec![b'x'; 10 * MAX_METRICS]).unwrap();
        let bomb = AttributeValue::B(Blob::new(packer.finish().unwrap()));
        assert_eq!(unpack(&bomb).unwrap().len(), MAX_METRICS);
    }
}
