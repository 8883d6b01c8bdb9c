//! Deploys `template.yaml` into a cloud of this machine, uses it with a real bridge on a real Asterisk, and breaks it.
//!
//! The functions are what `sam build` has built, with the rights of their roles and no others. What is
//! planted – a route that is missing, each right that is taken away, a variable that is misspelt – has to be noticed.
//! A second stack runs beside the first in the same account, with a bridge on the same Asterisk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cloud;
mod faults;
mod refusals;
mod rights;
mod scenarios;
mod site;
mod two_stacks;
mod walk;

use std::process::ExitCode;
use std::sync::Arc;

use e2e::Pbx;
use e2e::asterisk::Asterisk;
use e2e::request_table::{self, Served};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

use crate::cloud::Cloud;
use crate::rights::Policy;
use crate::scenarios::{Scenario, place_overdue, token};
use crate::site::{PASSWORD, Site, USER};
use crate::two_stacks::SECOND;
use crate::walk::walk;

/// Requests for a token in a day, all from one address here.
const TOKENS: usize = 40;

/// How long the schedule may take to run the sweeper: it does so each minute.
const SWEPT_WITHIN: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    // Fails only if a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let problems = runtime.block_on(deploy());
    for problem in &problems {
        println!("WRONG: {problem}");
    }
    println!("{} problems", problems.len());
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn deploy() -> Vec<String> {
    let begun = Instant::now();
    let limit = format!("RateLimitRequests={TOKENS}");
    let parameters = [
        "DialEndpoint=PJSIP/{number}@trunk",
        &limit,
        "RateLimitWindow=86400",
        // So that calls are counted; no test reaches it.
        "MaxCallsPerUserPerDay=1000000",
    ];
    let (cloud, asterisk) = tokio::join!(Cloud::deploy(&parameters), async {
        let asterisk = Asterisk::start().expect("an Asterisk");
        asterisk.wait_until_ready().await;
        asterisk
    });
    let mut site = Site::new(cloud, Arc::new(Pbx::Asterisk(Box::new(asterisk))));
    println!("deployed in {} s", begun.elapsed().as_secs());
    // Meanwhile the first is used.
    let beside = site.cloud.as_neighbour();
    let parameters = vec![
        "DialEndpoint=PJSIP/{number}@trunk".to_owned(),
        format!("RateLimitRequests={}", refusals::REQUESTS),
        "RateLimitWindow=86400".to_owned(),
    ];
    let second = tokio::spawn(Cloud::deploy_beside(beside, SECOND, parameters));
    count(&mut site).await;
    let mut problems = Vec::new();
    if let Err(problem) = test(&mut site, second, &mut problems).await {
        problems.push(problem);
    }
    println!("{} kinds of requests to AWS", site.cloud.keep_asked());
    site.cloud.stop().await;
    println!("in {} s", begun.elapsed().as_secs());
    problems
}

/// Prints what there is.
async fn count(site: &mut Site) {
    let statements: usize = rights::read(&mut site.cloud)
        .await
        .iter()
        .map(Policy::statements)
        .sum();
    let count = |kind: &str| site.cloud.of_type(kind).len();
    println!(
        "{} resources: {} routes, {} functions, {statements} statements in {} roles and {} policies, {} tables, {} queues",
        site.cloud.resources.len(),
        count("AWS::ApiGatewayV2::Route"),
        count("AWS::Lambda::Function"),
        count("AWS::IAM::Role"),
        count("AWS::IAM::ManagedPolicy") + count("AWS::IAM::Policy"),
        count("AWS::DynamoDB::Table"),
        count("AWS::SQS::Queue"),
    );
}

async fn test(
    site: &mut Site,
    mut second: JoinHandle<Cloud>,
    problems: &mut Vec<String>,
) -> Result<(), String> {
    let password = format!("{PASSWORD}\n");
    site.cloud.admin(&["user", "add", USER], &password).await?;
    let token = token(site).await?;
    site.api = site.api.with_token(token);
    for scenario in Scenario::ALL {
        if scenario == Scenario::Sweep {
            test_beside(site, &mut second, problems).await?;
            wait_for_schedule(site).await?;
        }
        let begun = Instant::now();
        let ended = scenario.run(site).await;
        ended.map_err(|problem| format!("{scenario:?}: {problem}"))?;
        println!(
            "  {scenario:?}: as it should be ({:.1} s)",
            begun.elapsed().as_secs_f32()
        );
    }
    let routes = walk(site).await.map_err(|wrong| wrong.join("\n"))?;
    println!("{routes} routes reach their functions");
    let mut served = Served::Deployed(site.cloud.api());
    let (asked, wrong) = request_table::run(&mut served, USER, PASSWORD).await;
    println!("{asked} requests of the table are asked");
    problems.extend(wrong);

    println!("faults, each of which is to be noticed:");
    let rights = faults::take_rights(site, problems).await;
    println!("{rights} rights, each taken away by itself");
    faults::remove_route(site, problems).await;
    faults::misspell_variable(site, problems).await;
    let routes = walk(site).await.map_err(|wrong| wrong.join("\n"))?;
    println!("{routes} routes reach their functions again");
    limit_tokens(site).await
}

/// Uses a second stack beside the first.
async fn test_beside(
    site: &mut Site,
    second: &mut JoinHandle<Cloud>,
    problems: &mut Vec<String>,
) -> Result<(), String> {
    let second = second.await.map_err(|error| error.to_string())?;
    site.cloud.know_keys_of(&second);
    let mut second = Site::new(second, Arc::clone(&site.pbx));
    let begun = Instant::now();
    let apart = two_stacks::keep_apart(site, &mut second).await;
    let counted = refusals::are_counted(&mut second).await;
    for tried in [apart, counted] {
        match tried {
            Ok(what) => println!("{what}"),
            Err(problem) => problems.push(problem),
        }
    }
    println!("two stacks: in {:.1} s", begun.elapsed().as_secs_f32());
    second.cloud.stop().await;
    Ok(())
}

/// Waits until the schedule runs the sweeper, which nobody does by hand meanwhile.
async fn wait_for_schedule(site: &mut Site) -> Result<(), String> {
    let begun = Instant::now();
    let overdue = place_overdue(site).await?;
    loop {
        let call = site.call(&overdue).await?;
        if call["failure_reason"] == "expired" {
            let took = begun.elapsed().as_secs_f32();
            println!("  the schedule has run the sweeper ({took:.1} s)");
            return Ok(());
        }
        if begun.elapsed() > SWEPT_WITHIN {
            return Err(format!("the schedule has not run the sweeper: {call}"));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Asks for tokens until the limit is reached.
async fn limit_tokens(site: &mut Site) -> Result<(), String> {
    for _ in 0..=TOKENS {
        let request = site.api.anonymous(Method::POST, "/api/v2/token");
        let (status, answer) = site.send(request.json(&json!({}))).await?;
        if status == 429 {
            return Ok(());
        }
        if status != 400 && status != 415 {
            return Err(format!("{status} for a request that is wrong: {answer}"));
        }
    }
    Err(format!("more than {TOKENS} requests for a token in a day"))
}
