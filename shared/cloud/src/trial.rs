//! Tries what a bridge needs of the tables and the queues, and changes nothing: conditions that are never true, and
//! receipts that are nobody's. Only the receive is real, and counts as a delivery of the message that it is given, if any.

use std::error::Error;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use domain::{BridgeId, Timestamp};
use uuid::Uuid;

use crate::aws::Clients;
use crate::aws_date::{self, DateReader};
use crate::clock;
use crate::error::chain;
use crate::lease::Lease;
use crate::pause::PAUSE;
use crate::{heartbeats, tables};

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// Nobody answered, or not in time.
    #[error("no answer ({0})")]
    NoAnswer(String),
    /// There is no such table, index or queue.
    #[error("there is none of this name")]
    NotThere,
    /// These credentials may not.
    #[error("not allowed: the policy lacks {0}")]
    NotAllowed(&'static str),
    /// There are no credentials, or AWS does not know them.
    #[error("no valid AWS credentials ({0})")]
    Credentials(String),
    /// Something else, by AWS's code for it.
    #[error("AWS says {0}")]
    Other(String),
}

type Trial = Result<(), Lack>;

/// True of no item.
const NEVER: &str = "attribute_exists(never) AND attribute_not_exists(never)";
/// Nobody's.
const RECEIPT: &str = "bm9ib2R5J3M=";

/// Reads, changes and finds calls.
///
/// # Errors
/// The first [`Lack`].
pub async fn calls_table(aws: &Clients, table: &str, bridge: &BridgeId) -> Trial {
    let nobody = AttributeValue::S(Uuid::nil().to_string());
    let read = aws.dynamodb.get_item().table_name(table);
    let read = read.key(tables::CALLS_KEY, nobody.clone());
    judge("dynamodb:GetItem", read.send().await)?;
    let change = aws.dynamodb.update_item().table_name(table);
    let change = change.key(tables::CALLS_KEY, nobody);
    let change = change
        .update_expression("REMOVE never")
        .condition_expression(NEVER);
    judge("dynamodb:UpdateItem", change.send().await)?;
    let find = aws.dynamodb.query().table_name(table);
    let find = find.index_name(tables::BY_HOLDER).limit(1);
    let find = find
        .key_condition_expression("holder = :holder")
        .expression_attribute_values(":holder", AttributeValue::S(tables::held_by(bridge)));
    judge("dynamodb:Query on index/by_holder", find.send().await)
}

/// Announces the bridge and writes its heartbeat.
///
/// # Errors
/// The first [`Lack`].
pub async fn state_table(aws: &Clients, table: &str, bridge: &BridgeId) -> Trial {
    let bridges = AttributeValue::S(heartbeats::BRIDGES.to_owned());
    let announce = aws.dynamodb.update_item().table_name(table);
    let announce = announce.key(tables::STATE_KEY, bridges);
    let announce = announce
        .update_expression("REMOVE never")
        .condition_expression(NEVER);
    judge(
        "dynamodb:UpdateItem on the item \"bridges\"",
        announce.send().await,
    )?;
    let pause = aws.dynamodb.get_item().table_name(table);
    let pause = pause.key(tables::STATE_KEY, AttributeValue::S(PAUSE.to_owned()));
    judge("dynamodb:GetItem on the item \"pause\"", pause.send().await)?;
    let beat = never_written(aws, table, bridge);
    judge(
        "dynamodb:PutItem on the bridge's own item",
        beat.send().await,
    )?;
    let note = aws.dynamodb.update_item().table_name(table);
    let note = note.key(
        tables::STATE_KEY,
        AttributeValue::S(heartbeats::key(bridge)),
    );
    let note = note
        .update_expression("REMOVE never")
        .condition_expression(NEVER);
    judge(
        "dynamodb:UpdateItem on the bridge's own item",
        note.send().await,
    )
}

/// A bridge's name as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameInUse {
    /// Who holds its lease, and for which Asterisk.
    pub lease: Lease,
    /// When its last heartbeat was written, by the bridge's clock.
    pub at: Option<Timestamp>,
}

/// Who has this bridge's name; `None` if that cannot be read, which [`state_table`] explains.
pub async fn name_in_use(aws: &Clients, table: &str, bridge: &BridgeId) -> Option<NameInUse> {
    let look = never_written(aws, table, bridge)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match look
        .send()
        .await
        .as_ref()
        .map_err(SdkError::as_service_error)
    {
        Err(Some(PutItemError::ConditionalCheckFailedException(refused))) => {
            let item = refused.item();
            Some(NameInUse {
                lease: item.map(heartbeats::stored_lease).unwrap_or_default(),
                at: item.and_then(|item| heartbeats::time(item, "at")),
            })
        }
        _ => None,
    }
}

fn never_written(aws: &Clients, table: &str, bridge: &BridgeId) -> PutItemFluentBuilder {
    let key = AttributeValue::S(heartbeats::key(bridge));
    let beat = aws.dynamodb.put_item().table_name(table);
    beat.item(tables::STATE_KEY, key)
        .condition_expression(NEVER)
}

/// How far this machine's clock is ahead of AWS's, in milliseconds (negative: behind); none if AWS
/// does not tell.
pub async fn clock(aws: &Clients, table: &str) -> Option<i64> {
    let (date, before) = (DateReader::default(), clock::now());
    let read = aws.dynamodb.get_item().table_name(table);
    let read = read.key(tables::STATE_KEY, AttributeValue::S(PAUSE.to_owned()));
    // An answer that refuses has a date, too.
    let _ = read.customize().interceptor(date.clone()).send().await;
    Some(aws_date::ahead(before, clock::now(), date.date()?))
}

/// Receives, deletes and, if `gives_back`, returns messages.
///
/// # Errors
/// The first [`Lack`].
pub async fn queue(aws: &Clients, url: &str, gives_back: bool) -> Trial {
    // First what shows without a delivery that there is nothing.
    let entry = DeleteMessageBatchRequestEntry::builder()
        .id("0")
        .receipt_handle(RECEIPT)
        .build()
        .map_err(|error| Lack::Other(error.to_string()))?;
    let delete = aws.sqs.delete_message_batch().queue_url(url).entries(entry);
    judge("sqs:DeleteMessage", delete.send().await)?;
    if gives_back {
        let back = aws.sqs.change_message_visibility().queue_url(url);
        let back = back.receipt_handle(RECEIPT).visibility_timeout(0);
        judge("sqs:ChangeMessageVisibility", back.send().await)?;
    }
    let receive = aws.sqs.receive_message().queue_url(url);
    let receive = receive.max_number_of_messages(1).visibility_timeout(0);
    judge("sqs:ReceiveMessage", receive.send().await)
}

/// What the answer says about the right, not about the request.
fn judge<T, E>(action: &'static str, answer: Result<T, SdkError<E, HttpResponse>>) -> Trial
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Err(error) = answer else { return Ok(()) };
    if !matches!(error, SdkError::ServiceError(_)) {
        // The SDK's own text for it is long, and says the same.
        let said = chain(&error);
        return Err(match &error {
            SdkError::DispatchFailure(failure)
                if failure.is_other() && said.contains("credentials") =>
            {
                Lack::Credentials("none were found".to_owned())
            }
            _ => Lack::NoAnswer(said),
        });
    }
    let code = error.code().unwrap_or("an error without a code");
    // Some are "com.amazonaws.sqs#QueueDoesNotExist", some "AWS.SimpleQueueService.NonExistentQueue".
    match code.rsplit(['#', '.']).next().unwrap_or(code) {
        "ConditionalCheckFailedException"
        | "ReceiptHandleIsInvalid"
        | "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "MessageNotInflight" => Ok(()),
        "ResourceNotFoundException" | "NonExistentQueue" | "QueueDoesNotExist" => {
            Err(Lack::NotThere)
        }
        "AccessDenied" | "AccessDeniedException" => Err(Lack::NotAllowed(action)),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Err(Lack::Credentials(code.to_owned())),
        _ => Err(Lack::Other(code.to_owned())),
    }
}
