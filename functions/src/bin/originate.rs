//! The Lambda function `originate`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, lambda_http::Error> {
    Box::pin(functions::lambda::run_originate()).await
}
