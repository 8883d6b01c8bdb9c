//! Reads an item, as whoever follows the SDK's introduction does.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let id = AttributeValue::S("nobody".to_owned());
    let request = Client::new(&config).get_item().table_name("calls").key("call_id", id);
    // Nobody answers: what is measured is how soon it asks.
    let _ = request.send().await;
}
