//! The Lambda function `sweeper`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, lambda_runtime::Error> {
    functions::lambda::run_sweeper().await
}
