//! The Lambda function `docs`.

use std::process::ExitCode;

fn main() -> Result<ExitCode, lambda_runtime::Error> {
    functions::lambda::run_docs()
}
