//! Two stacks in one account, whose programs run at the same time: neither sees or measures what the other does.

use std::collections::BTreeSet;

use cloud::clock;
use e2e::world::number;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::scenarios::token;
use crate::site::{PASSWORD, Site, USER};

/// The name of the stack beside the first. That of the first is its beginning, so that a name which is cut off
/// is a name of both.
pub const SECOND: &str = "outbound-calls-second";

/// How long a metric may take to be written: a heartbeat, and a run of the sweeper.
const MEASURED_WITHIN: Duration = Duration::from_secs(40);

/// What is named within another resource of its stack: both may have it.
const WITHIN_ANOTHER: [&str; 2] = ["AWS::IAM::Policy", "AWS::ApiGatewayV2::Stage"];

/// A metric: its namespace, its name, and its dimensions.
type Metric = (String, String, BTreeSet<(String, String)>);

/// Places a call in each of two stacks at the same time, and demands that all of it stays there. Returns what was compared.
pub async fn keep_apart(first: &mut Site, second: &mut Site) -> Result<String, String> {
    let password = format!("{PASSWORD}\n");
    let admin = &second.cloud;
    admin.admin(&["user", "add", USER], &password).await?;
    let granted = token(second).await?;
    second.api = second.api.with_token(granted);
    first.forget_bridges().await;
    let begun = clock::now().as_millis();
    let bridges = (first.start_bridge().await, second.start_bridge().await);

    let ids = (place(first).await?, place(second).await?);
    for (site, (id, number), bridge) in [
        (&*first, &ids.0, &bridges.0),
        (&*second, &ids.1, &bridges.1),
    ] {
        site.wait_for_status(Some(bridge), id, "completed").await?;
        let rang = site.pbx.invites_to(number);
        if rang != 1 {
            return Err(format!(
                "the phone of {} rang {rang} times",
                site.cloud.stack
            ));
        }
    }
    for (site, other) in [(&*first, &ids.1), (&*second, &ids.0)] {
        knows_nothing_of(site, other).await?;
    }
    let stolen = second.api.with_token(first.api.token().to_owned());
    let listed = stolen.request(Method::GET, "/api/v2/calls");
    second.expect(401, listed).await?;

    let metrics = (
        measured(first, begun).await?,
        measured(second, begun).await?,
    );
    let watched =
        watched(first, second, &metrics.0).await? + watched(second, first, &metrics.1).await?;
    let names = names_apart(first, second)?;
    Ok(format!(
        "two stacks beside each other: {} and {} metrics, {watched} metrics watched, {names} names, none of them shared",
        metrics.0.len(),
        metrics.1.len(),
    ))
}

/// Asks for a call that ends by itself, and returns its id and its number.
async fn place(site: &Site) -> Result<(String, String), String> {
    let to = number("201");
    let id = site.place(&to, json!({})).await?;
    Ok((id, to))
}

/// Demands that the API of a stack does not know the call of another.
async fn knows_nothing_of(site: &Site, (id, number): &(String, String)) -> Result<(), String> {
    let path = format!("/api/v2/calls/{id}");
    site.expect(404, site.api.request(Method::GET, &path))
        .await?;
    let listed = site.api.request(Method::GET, "/api/v2/calls");
    let listed = site
        .expect(200, listed.query(&[("phone_number", number)]))
        .await?;
    if listed["calls"].as_array().is_some_and(Vec::is_empty) {
        Ok(())
    } else {
        Err(format!(
            "{} lists a call of another stack: {listed}",
            site.cloud.stack
        ))
    }
}

/// The namespace of a stack's metrics.
fn namespace(stack: &str) -> String {
    format!("OutboundCalls/{stack}")
}

/// What the functions of a stack have measured since then, once the one call is in it. The bridge's measurements are
/// in its heartbeats, from which the sweeper writes them.
async fn measured(site: &mut Site, since: i64) -> Result<BTreeSet<Metric>, String> {
    let begun = Instant::now();
    loop {
        let which = json!({"FunctionName": site.cloud.id("SweeperFunction")});
        site.cloud.ask("lambda", "invoke", which).await;
        let lines = embedded(site, since).await;
        let most = |name: &str| {
            lines
                .iter()
                .filter_map(|line| line[name].as_f64())
                .fold(0.0, f64::max)
        };
        let placed: f64 = lines
            .iter()
            .filter(|line| line["function"] == "originate")
            .filter_map(|line| line["api_requests_total"].as_f64())
            .sum();
        let ended = most("bridge_calls_ended_total");
        if placed > 1.0 || ended > 1.0 {
            return Err(format!(
                "{} has measured {placed} calls that were placed and {ended} that ended, and had one",
                site.cloud.stack
            ));
        }
        if placed > 0.0 && ended > 0.0 {
            return metrics_of(&lines, &namespace(site.cloud.stack));
        }
        if begun.elapsed() > MEASURED_WITHIN {
            return Err(format!(
                "the call of {} is in no metric: {lines:?}",
                site.cloud.stack
            ));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// The lines of `CloudWatch`'s embedded metric format in the logs of a stack.
async fn embedded(site: &mut Site, since: i64) -> Vec<Value> {
    let mut lines = Vec::new();
    for group in site.cloud.of_type("AWS::Logs::LogGroup") {
        let mut which = json!({"logGroupName": site.cloud.id(&group), "startTime": since});
        loop {
            let page = site
                .cloud
                .ask("logs", "filter_log_events", which.clone())
                .await;
            let events = page["events"].as_array().expect("events").iter();
            let events = events.filter_map(|event| event["message"].as_str());
            let read = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.extend(read.filter(|line| line.get("_aws").is_some()));
            let Some(next) = page["nextToken"].as_str() else {
                break;
            };
            which["nextToken"] = json!(next);
        }
    }
    lines
}

/// The metrics that lines put out, all of which have to be in this namespace.
fn metrics_of(lines: &[Value], namespace: &str) -> Result<BTreeSet<Metric>, String> {
    let mut metrics = BTreeSet::new();
    for line in lines {
        for directive in line["_aws"]["CloudWatchMetrics"]
            .as_array()
            .expect("directives")
        {
            if directive["Namespace"] != namespace {
                return Err(format!("not in the namespace {namespace}: {line}"));
            }
            for dimensions in directive["Dimensions"].as_array().expect("dimensions") {
                let names = dimensions
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                let dimensions: BTreeSet<_> = names
                    .map(|name| {
                        (
                            name.to_owned(),
                            line[name].as_str().unwrap_or_default().to_owned(),
                        )
                    })
                    .collect();
                for metric in directive["Metrics"].as_array().expect("metrics") {
                    let name = metric["Name"].as_str().expect("a name").to_owned();
                    metrics.insert((namespace.to_owned(), name, dimensions.clone()));
                }
            }
        }
    }
    Ok(metrics)
}

/// Demands that alarms, metric filters and the dashboard of a stack are about itself: what it measures, and
/// what AWS measures of its own resources. Returns how many metrics they watch.
async fn watched(
    site: &mut Site,
    other: &Site,
    measured: &BTreeSet<Metric>,
) -> Result<usize, String> {
    let stack = site.cloud.stack;
    let own = namespace(stack);
    let mut measured = measured.clone();
    for group in site.cloud.of_type("AWS::Logs::LogGroup") {
        let which = json!({"logGroupName": site.cloud.id(&group)});
        let filters = site
            .cloud
            .ask("logs", "describe_metric_filters", which)
            .await;
        for filter in filters["metricFilters"].as_array().expect("filters") {
            for made in filter["metricTransformations"].as_array().expect("metrics") {
                let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
                if text("metricNamespace") != own {
                    return Err(format!("a metric filter of {stack}: {filter}"));
                }
                measured.insert((own.clone(), text("metricName"), BTreeSet::new()));
            }
        }
    }
    let names = names(site);
    let mut count = 0;
    for (logical, alarm) in &site.cloud.alarms {
        for metric in metrics_watched(alarm) {
            count += 1;
            let (namespace, _, dimensions) = &metric;
            let is_own = if namespace.starts_with("AWS/") {
                !dimensions.is_empty() && dimensions.iter().all(|(_, value)| names.contains(value))
            } else {
                measured.contains(&metric)
            };
            if !is_own {
                return Err(format!(
                    "{logical} of {stack} watches what is not its own: {metric:?}"
                ));
            }
        }
        let told = alarm["AlarmActions"].as_array().into_iter().flatten();
        for topic in told.filter_map(Value::as_str) {
            if !names.contains(topic) {
                return Err(format!("{logical} of {stack} tells {topic}"));
            }
        }
    }
    let which = json!({"DashboardName": site.cloud.id("Dashboard")});
    let shown = site.cloud.ask("cloudwatch", "get_dashboard", which).await;
    let shown = shown["DashboardBody"].as_str().unwrap_or_default();
    let words: BTreeSet<_> = shown.split(['"', '\\', '\'']).collect();
    let foreign: Vec<_> = self::names(other)
        .into_iter()
        .filter(|name| words.contains(name.as_str()))
        .collect();
    let mut namespaces = words.iter().filter(|word| word.contains("OutboundCalls"));
    if !foreign.is_empty() || !words.contains(own.as_str()) || namespaces.any(|word| *word != own) {
        return Err(format!(
            "the dashboard of {stack} shows {foreign:?}: {shown}"
        ));
    }
    Ok(count)
}

/// The metrics that an alarm watches.
fn metrics_watched(alarm: &Value) -> Vec<Metric> {
    let several = alarm["Metrics"].as_array().into_iter().flatten();
    let several = several.map(|metric| &metric["MetricStat"]["Metric"]);
    std::iter::once(alarm)
        .chain(several)
        .filter_map(|metric| {
            let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            Some((
                metric["Namespace"].as_str()?.to_owned(),
                text(&metric["MetricName"]),
                dimensions
                    .map(|one| (text(&one["Name"]), text(&one["Value"])))
                    .collect(),
            ))
        })
        .collect()
}

/// What is deployed as a stack, by the names that AWS knows it by.
fn names(site: &Site) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (physical, kind) in site.cloud.resources.values() {
        if !WITHIN_ANOTHER.contains(&kind.as_str()) {
            names.insert(physical.clone());
        }
        if kind == "AWS::SQS::Queue" {
            names.extend(physical.rsplit('/').next().map(str::to_owned));
        }
    }
    let alarms = site.cloud.alarms.values();
    names.extend(alarms.filter_map(|alarm| alarm["AlarmName"].as_str().map(str::to_owned)));
    names
}

/// Demands that two stacks share no name. Returns how many there are.
fn names_apart(first: &Site, second: &Site) -> Result<usize, String> {
    let (first, second) = (names(first), names(second));
    let shared: Vec<_> = first.intersection(&second).collect();
    if shared.is_empty() {
        Ok(first.len() + second.len())
    } else {
        Err(format!("of both stacks: {shared:?}"))
    }
}
