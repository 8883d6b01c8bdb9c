//! The Lambda function `system`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, lambda_http::Error> {
    functions::lambda::run_system().await
}
