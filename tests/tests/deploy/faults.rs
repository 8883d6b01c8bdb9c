//! Faults that are planted into what is deployed. Each has to be noticed; then it is mended.

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::rights::{self, Policy, Right};
use crate::scenarios::Scenario;
use crate::site::Site;
use crate::walk::walk;

/// The use of the system that needs the right, if there is one.
fn needed_by(right: &Right) -> Option<Scenario> {
    let action = right.action.as_str();
    Some(match (right.owner.as_str(), right.sid.as_str()) {
        ("TokenRole", "ReadUser" | "CountRequest" | "ReadLogins" | "ReadKey") => Scenario::Token,
        ("OriginateRole", "RecordCall") if action == "dynamodb:UpdateItem" => Scenario::NotQueued,
        (
            "OriginateRole",
            "RecordCall" | "QueueCall" | "ReadKey" | "ReadStandings" | "CountCall",
        ) => Scenario::Place,
        ("StatusRole", "ListCalls") if right.resource.ends_with("by_number") => {
            Scenario::ListByNumber
        }
        ("StatusRole", "ReadCalls" | "ListCalls" | "ReadKey" | "ReadStandings") => Scenario::List,
        ("ControlRole", "CancelCall" | "ReadKey" | "ReadStandings") => Scenario::Cancel,
        ("ControlRole", "AskBridge") | ("BridgePolicybridge1", "TakeRequests") => Scenario::HangUp,
        ("SystemRole", "ReadOldestCall" | "FindOldestCall" | "ReadHeartbeats" | "LookAtQueue") => {
            Scenario::Health
        }
        ("SweeperRole", "EndCalls" | "FindCalls" | "ReadHeartbeats") => Scenario::Sweep,
        ("BridgePolicybridge1", "TakeCalls") if action == "sqs:ChangeMessageVisibility" => {
            Scenario::Unreadable
        }
        ("BridgePolicybridge1", "TakeCalls") if action == "sqs:SendMessage" => Scenario::SentAnew,
        ("BridgePolicybridge1", "ClaimAndFollowCalls") if action == "dynamodb:GetItem" => {
            Scenario::Restart
        }
        ("BridgePolicybridge1", "TakeCalls" | "ClaimAndFollowCalls") => Scenario::Call,
        ("BridgePolicybridge1", "FindOwnCalls") => Scenario::Restart,
        ("BridgePolicybridge1", "BeatHeart" | "Announce") => Scenario::Heartbeat,
        ("BridgePolicybridge1", "SeePause") => Scenario::Pause,
        _ => return None,
    })
}

/// Takes each right away in turn, and demands that what needs it fails. Returns how many there are.
pub async fn take_rights(site: &mut Site, problems: &mut Vec<String>) -> usize {
    let policies = rights::read(&mut site.cloud).await;
    let mut count = 0;
    for policy in &policies {
        for right in policy.rights() {
            count += 1;
            let begun = tokio::time::Instant::now();
            let verdict = take_right(site, &policies, policy, &right).await;
            let took = begun.elapsed().as_secs_f32();
            match verdict {
                Ok(noticed) => println!("  {right}: {} ({took:.1} s)", first_line(&noticed)),
                Err(problem) => {
                    println!("  {right}: {problem}");
                    problems.push(format!("{right}: {problem}"));
                }
            }
        }
    }
    count
}

/// What failed without the right.
async fn take_right(
    site: &mut Site,
    policies: &[Policy],
    policy: &Policy,
    right: &Right,
) -> Result<String, String> {
    let scenario = needed_by(right).ok_or("nothing that is tried here needs it")?;
    let mut taken = vec![right.clone()];
    if scenario == Scenario::NotQueued {
        // What it is about needs a queue that cannot be written; that alone has to be dealt with.
        let queue = policies.iter().flat_map(Policy::rights);
        let queue: Vec<_> = queue
            .filter(|other| other.owner == right.owner && other.sid == "QueueCall")
            .collect();
        policy.without(&queue).put(&mut site.cloud).await;
        let dealt_with = scenario.run(site).await;
        policy.put(&mut site.cloud).await;
        dealt_with?;
        taken.extend(queue);
    }
    let function = right.owner.strip_suffix("Role");
    // What was read with the right is remembered for a while.
    let at_start = function.filter(|_| ["ReadKey", "ReadStandings"].contains(&right.sid.as_str()));
    policy.without(&taken).put(&mut site.cloud).await;
    if let Some(function) = at_start {
        start_again(&mut site.cloud, function).await;
    }
    let without = scenario.run(site).await;
    policy.put(&mut site.cloud).await;
    if let Some(function) = at_start {
        start_again(&mut site.cloud, function).await;
    }
    match without {
        Ok(()) => Err(format!("nobody notices in {scenario:?} that it is gone")),
        Err(noticed) => Ok(noticed),
    }
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(160)
        .collect()
}

/// Has a function start anew for its next request.
async fn start_again(cloud: &mut Cloud, function: &str) {
    let name = cloud.id(&format!("{function}Function")).to_owned();
    let which = json!({"FunctionName": name});
    let now = cloud
        .ask("lambda", "get_function_configuration", which)
        .await;
    let change = json!({"FunctionName": name, "MemorySize": now["MemorySize"]});
    cloud
        .ask("lambda", "update_function_configuration", change)
        .await;
}

/// Removes a route, and demands that the walk notices.
pub async fn remove_route(site: &mut Site, problems: &mut Vec<String>) {
    const ROUTE: &str = "POST /api/v1/calls/{call_id}/hangup";
    let api = site.cloud.id("HttpApi").to_owned();
    let routes = site
        .cloud
        .ask("apigatewayv2", "get_routes", json!({"ApiId": api}))
        .await;
    let routes = routes["Items"].as_array().expect("routes");
    let route = routes.iter().find(|route| route["RouteKey"] == ROUTE);
    let route = route.expect("the route");
    let which = json!({"ApiId": api, "RouteId": route["RouteId"]});
    site.cloud.ask("apigatewayv2", "delete_route", which).await;
    noticed(site, &format!("{ROUTE} removed"), ROUTE, problems).await;
    let again = json!({
        "ApiId": api, "RouteKey": ROUTE, "Target": route["Target"], "AuthorizationType": "NONE",
    });
    site.cloud.ask("apigatewayv2", "create_route", again).await;
}

/// Misspells a variable of a function, and demands that the walk notices.
pub async fn misspell_variable(site: &mut Site, problems: &mut Vec<String>) {
    let name = site.cloud.id("StatusFunction").to_owned();
    let which = json!({"FunctionName": name});
    let now = site
        .cloud
        .ask("lambda", "get_function_configuration", which)
        .await;
    let variables = now["Environment"]["Variables"].clone();
    let mut misspelt = variables.clone();
    let value = misspelt
        .as_object_mut()
        .and_then(|all| all.remove("CALLS_TABLE"));
    misspelt["CALLS_TABEL"] = value.expect("CALLS_TABLE");
    let put =
        |variables: &Value| json!({"FunctionName": name, "Environment": {"Variables": variables}});
    let (wrong, right) = (put(&misspelt), put(&variables));
    let update = "update_function_configuration";
    site.cloud.ask("lambda", update, wrong).await;
    let route = "GET /api/v2/calls/{call_id}";
    noticed(site, "CALLS_TABLE of status misspelt", route, problems).await;
    site.cloud.ask("lambda", update, right).await;
}

/// Demands that a walk finds the route not as it should be.
async fn noticed(site: &mut Site, fault: &str, route: &str, problems: &mut Vec<String>) {
    let wrong = walk(site).await.err().unwrap_or_default();
    let about = wrong.iter().find(|line| line.starts_with(route));
    match about {
        Some(line) => println!(
            "  {fault}: {} complaints, {}",
            wrong.len(),
            first_line(line)
        ),
        None => problems.push(format!("{fault}: the walk does not notice: {wrong:?}")),
    }
}
