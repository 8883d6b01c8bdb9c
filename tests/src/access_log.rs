//! The lines that API Gateway writes into the access log, made from the format that is deployed.
//!
//! The gateway of this machine writes none. What each variable holds is what AWS documents for HTTP APIs
//! (`http-api-logging-variables`): one that has no value is written as `-`.

/// What the gateway knows of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The route's key, such as `POST /api/v2/token`.
    pub route: &'static str,
    /// The status that the client saw.
    pub status: u16,
    /// The status that the function answered; `None` if no function was asked.
    pub by_function: Option<u16>,
}

impl Answered {
    /// The line that a format makes of it.
    ///
    /// # Errors
    /// If the format has a variable that is not known here.
    pub fn line(&self, format: &str) -> Result<String, String> {
        let mut parts = format.split("$context.");
        let mut line = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_name = |c: char| c.is_ascii_alphabetic() || c == '.';
            let end = part.find(|c| !is_name(c)).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            let of_function = |text: &str| match self.by_function {
                Some(_) => text.to_owned(),
                None => "-".to_owned(),
            };
            line += &match name {
                "requestId" => "JKJaXmPLvHcESHA=".to_owned(),
                "requestTimeEpoch" => "1583516436".to_owned(),
                "identity.sourceIp" => "203.0.113.9".to_owned(),
                "routeKey" => self.route.to_owned(),
                "status" => self.status.to_string(),
                "responseLatency" => "31".to_owned(),
                "responseLength" => "86".to_owned(),
                "integration.status" => self
                    .by_function
                    .map_or_else(|| "-".to_owned(), |status| status.to_string()),
                "integration.latency" => of_function("28"),
                "integration.requestId" => of_function("39b2f5e0-9d3b-4f4a-8f5e-000000000000"),
                "error.responseType" => "-".to_owned(),
                name => return Err(format!("$context.{name} is not known")),
            };
            line += rest;
        }
        Ok(line)
    }
}
