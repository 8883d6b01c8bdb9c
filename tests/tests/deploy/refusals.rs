//! Passwords are guessed. What the gateway logs of that moves the metrics on which the alarms stand.

use std::collections::BTreeMap;

use e2e::access_log::Answered;
use e2e::filter_pattern::FilterPattern;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{PASSWORD, Site, USER};

const ROUTE: &str = "POST /api/v2/token";

/// Requests for a token that one address has in a day here: enough for the alarm of refused logins.
pub const REQUESTS: usize = 40;

/// Guesses a password until the address is refused, and goes on. Returns what each filter has counted.
pub async fn are_counted(site: &mut Site) -> Result<String, String> {
    let format = format(site).await;
    let filters = filters(site).await?;
    let mut lines = Vec::new();
    let mut statuses = BTreeMap::<u16, usize>::new();
    for guess in 0..2 * REQUESTS + 20 {
        let form = [
            ("username", USER.to_owned()),
            ("password", format!("{PASSWORD} {guess}")),
        ];
        let request = site
            .api
            .anonymous(Method::POST, "/api/v2/token")
            .form(&form);
        let (status, answer) = site.send(request).await?;
        if status != 401 && status != 429 {
            return Err(format!("{status} for a wrong password: {answer}"));
        }
        *statuses.entry(status).or_default() += 1;
        let answered = Answered {
            route: ROUTE,
            status,
            by_function: Some(status),
        };
        lines.push(answered.line(&format)?);
    }
    let of = |status: u16| statuses.get(&status).copied().unwrap_or_default();
    // What must not count: a client that is let in, and what others are refused.
    for (route, status) in [(ROUTE, 200), (ROUTE, 400), ("GET /api/v2/calls", 401)] {
        lines.push(
            Answered {
                route,
                status,
                by_function: Some(status),
            }
            .line(&format)?,
        );
    }
    // The gateway of this machine does not throttle. AWS's answers 429 by itself and asks no function.
    let throttled = 11;
    for _ in 0..throttled {
        let refused = Answered {
            route: "GET /api/v2/calls",
            status: 429,
            by_function: None,
        };
        lines.push(refused.line(&format)?);
    }
    // A user's calls of the day are spent: the function says so.
    let spent = 3;
    for _ in 0..spent {
        let refused = Answered {
            route: "POST /api/v2/calls",
            status: 429,
            by_function: Some(429),
        };
        lines.push(refused.line(&format)?);
    }
    let expected = [
        ("DailyCallsSpent", "DailyCallsSpentAlarm", spent),
        ("LoginsRefused", "LoginsRefusedAlarm", of(401)),
        ("TokensRefused", "TokensRefusedAlarm", of(429)),
        ("ThrottledRequests", "ThrottledAlarm", throttled),
    ];
    if expected.len() != filters.len() {
        return Err(format!("metric filters that are not tried: {filters:?}"));
    }
    for (metric, alarm, expected) in expected {
        let filter = filters
            .get(metric)
            .ok_or_else(|| format!("no filter for {metric}"))?;
        let counted = lines.iter().filter(|line| filter.matches(line)).count();
        if counted != expected {
            return Err(format!("{metric} is {counted} instead of {expected}"));
        }
        let alarm = &site.cloud.alarms[alarm];
        if alarm["MetricName"] != metric || !is_raised(alarm, counted) {
            return Err(format!("{counted} {metric} raise no alarm: {alarm}"));
        }
        if is_raised(alarm, 0) {
            return Err(format!("nothing raises an alarm: {alarm}"));
        }
    }
    Ok(format!(
        "{} wrong passwords and {} requests too many raise their alarms",
        of(401),
        of(429)
    ))
}

/// The format of the access log, as it is deployed.
async fn format(site: &mut Site) -> String {
    let which = json!({"ApiId": site.cloud.id("HttpApi"), "StageName": "$default"});
    let stage = site.cloud.ask("apigatewayv2", "get_stage", which).await;
    let format = stage["AccessLogSettings"]["Format"].as_str();
    format.expect("the format of the access log").to_owned()
}

/// The filters of the access log, by the metric that each counts: 1 for each line that matches.
async fn filters(site: &mut Site) -> Result<BTreeMap<String, FilterPattern>, String> {
    let which = json!({"logGroupName": site.cloud.id("AccessLog")});
    let described = site
        .cloud
        .ask("logs", "describe_metric_filters", which)
        .await;
    let mut filters = BTreeMap::new();
    for filter in described["metricFilters"].as_array().expect("filters") {
        let pattern = filter["filterPattern"].as_str().unwrap_or_default();
        let made = &filter["metricTransformations"][0];
        if made["metricValue"] != "1" {
            return Err(format!("does not count lines: {filter}"));
        }
        let name = made["metricName"].as_str().unwrap_or_default();
        filters.insert(name.to_owned(), pattern.parse()?);
    }
    Ok(filters)
}

/// Whether a sum over its period raises an alarm.
fn is_raised(alarm: &Value, sum: usize) -> bool {
    let threshold = &alarm["Threshold"];
    let threshold = threshold
        .as_u64()
        .or_else(|| threshold.as_str()?.parse().ok());
    let (sum, threshold) = (sum as u64, threshold.expect("a threshold"));
    match alarm["ComparisonOperator"].as_str() {
        Some("GreaterThanOrEqualToThreshold") => sum >= threshold,
        Some("GreaterThanThreshold") => sum > threshold,
        _ => panic!("not understood: {alarm}"),
    }
}
