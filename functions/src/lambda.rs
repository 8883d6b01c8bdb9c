//! What the functions' binaries share: read the settings, connect, serve.

use std::process::ExitCode;
use std::sync::Arc;

use axum::{Router, middleware};
use cloud::aws::{self, Patience, SdkConfig};
use cloud::daily_calls::DailyCalls;
use cloud::kept_keys::KeptKeys;
use cloud::ports::Calls;
use cloud::rate_limit::RateLimiter;
use cloud::settings::{EXIT_USAGE, Environment, Reader};
use cloud::telemetry::{self, LogSettings};
use cloud::{
    CallQueue, CallStore, ControlQueues, Heartbeats, StandingStore, UserStore, clock, error,
};
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use crate::access::Access;
use crate::answer::Answer;
use crate::control::ControlState;
use crate::cursor::Cursors;
use crate::embedded_metrics::{self, Measured, Namespace};
use crate::event;
use crate::guard::AllowedOrigins;
use crate::health::Health;
use crate::jwt::Jwt;
use crate::key_rotation::{KeyRotation, rotate};
use crate::login::LoginGuard;
use crate::originate::OriginateState;
use crate::router;
use crate::settings::{
    CallDefaults, JwtSource, Pages, check_pair, read_daily_calls, read_rate_limit, read_retention,
    read_unknown,
};
use crate::status::StatusState;
use crate::sweeper::{BUDGET, Sweeper};
use crate::sweeper_metrics;
use crate::system::SystemState;
use crate::token::TokenState;
use crate::warm_up::connect;

/// Nobody's name: none may be so short.
const NOBODY: &str = "-";

/// Runs a function on this thread: an instance has one request at a time.
fn block_on(function: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(function))
}

/// Runs the token function.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_token() -> Result<ExitCode, Error> {
    block_on(token())
}

async fn token() -> Result<ExitCode, Error> {
    let read = |reader: &mut Reader<'_>| {
        let jwt = JwtSource::read(reader);
        let limit = read_rate_limit(reader);
        let users = reader.required::<String>("USERS_TABLE");
        let state = reader.required::<String>("STATE_TABLE");
        Some((jwt?, limit, users?, state?))
    };
    let Some(((jwt, limit, users, state), http)) = configure(read) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let config = aws::of_function(Patience::FUNCTION);
    let signing = Signing::ready(jwt, &config).await?;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let users = UserStore::new(dynamodb.clone(), users);
    let guard = LoginGuard::new(dynamodb.clone(), state.clone());
    let standings = StandingStore::new(dynamodb.clone(), state.clone());
    let limiter = RateLimiter::new(dynamodb, state, "token", limit);
    connect(users.get(NOBODY)).await;
    let jwt = Arc::clone(&signing.jwt);
    let state = TokenState::new(Some(users), limiter, guard, standings, jwt)
        .rotated_by(signing.rotation.clone());
    serve("token", signing.rotated(router::token(state)), &http).await
}

/// Runs the originate function.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_originate() -> Result<ExitCode, Error> {
    block_on(originate())
}

async fn originate() -> Result<ExitCode, Error> {
    let read = |reader: &mut Reader<'_>| {
        let jwt = JwtSource::read(reader);
        let defaults = CallDefaults::read(reader);
        let table = reader.required::<String>("CALLS_TABLE");
        let queue = reader.required::<String>("CALLS_QUEUE_URL");
        let state = reader.required::<String>("STATE_TABLE");
        let limit = read_daily_calls(reader);
        Some((jwt?, defaults?, table?, queue?, state?, limit))
    };
    let Some(((jwt, defaults, table, queue, state, limit), http)) = configure(read) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let config = aws::of_function(Patience::FUNCTION);
    let signing = Signing::ready(jwt, &config).await?;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let state = OriginateState {
        calls: CallStore::new(dynamodb.clone(), table),
        queue: CallQueue::new(aws_sdk_sqs::Client::new(&config), queue),
        defaults: Arc::new(defaults),
        daily_calls: limit.map(|limit| DailyCalls::new(dynamodb.clone(), state.clone(), limit)),
        access: signing.access(dynamodb, state),
    };
    // The queue's is opened by the first send: whoever sends may do nothing else there.
    connect(state.calls.touch()).await;
    serve(
        "originate",
        signing.rotated(router::originate(state)),
        &http,
    )
    .await
}

/// Runs the status function.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_status() -> Result<ExitCode, Error> {
    block_on(status())
}

async fn status() -> Result<ExitCode, Error> {
    let read = |reader: &mut Reader<'_>| {
        let jwt = JwtSource::read(reader);
        let retention = read_retention(reader);
        let unknown = read_unknown(reader);
        let table = reader.required::<String>("CALLS_TABLE");
        let state = reader.required::<String>("STATE_TABLE");
        Some((jwt?, retention, unknown, table?, state?))
    };
    let Some(((jwt, retention, unknown, table, state), http)) = configure(read) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let config = aws::of_function(Patience::FUNCTION);
    let signing = Signing::ready(jwt, &config).await?;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let state = StatusState {
        calls: CallStore::new(dynamodb.clone(), table),
        retention,
        unknown,
        cursors: Arc::clone(&signing.cursors),
        access: signing.access(dynamodb, state),
    };
    connect(state.calls.get(Uuid::nil().into())).await;
    serve("status", signing.rotated(router::status(state)), &http).await
}

/// Runs the control function.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_control() -> Result<ExitCode, Error> {
    block_on(control())
}

async fn control() -> Result<ExitCode, Error> {
    let read = |reader: &mut Reader<'_>| {
        let jwt = JwtSource::read(reader);
        let table = reader.required::<String>("CALLS_TABLE");
        let prefix = reader.required::<String>("CONTROL_QUEUE_URL_PREFIX");
        let state = reader.required::<String>("STATE_TABLE");
        Some((jwt?, table?, prefix?, state?))
    };
    let Some(((jwt, table, prefix, state), http)) = configure(read) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let config = aws::of_function(Patience::FUNCTION);
    let signing = Signing::ready(jwt, &config).await?;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let state = ControlState {
        calls: CallStore::new(dynamodb.clone(), table),
        bridges: ControlQueues::new(aws_sdk_sqs::Client::new(&config), prefix),
        access: signing.access(dynamodb, state),
    };
    connect(state.calls.get(Uuid::nil().into())).await;
    serve("control", signing.rotated(router::control(state)), &http).await
}

/// Runs the system function.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_system() -> Result<ExitCode, Error> {
    block_on(system())
}

async fn system() -> Result<ExitCode, Error> {
    let read = |reader: &mut Reader<'_>| {
        let pages = Pages::read(reader);
        let calls = reader.required::<String>("CALLS_TABLE");
        let state = reader.required::<String>("STATE_TABLE");
        let queue = reader.required::<String>("CALLS_QUEUE_URL");
        Some((pages, calls?, state?, queue?))
    };
    let Some(((pages, calls, state, queue), http)) = configure(read) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let config = aws::of_function(Patience::FUNCTION);
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let health = Health {
        calls: CallStore::new(dynamodb.clone(), calls),
        queue: CallQueue::new(aws_sdk_sqs::Client::new(&config), queue),
        heartbeats: Heartbeats::new(dynamodb, state),
    };
    tokio::join!(
        connect(health.calls.get(Uuid::nil().into())),
        connect(health.queue.depth())
    );
    let state = SystemState { health, pages };
    serve("system", router::system(state), &http).await
}

/// Runs the docs function, which touches nothing.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_docs() -> Result<ExitCode, Error> {
    block_on(docs())
}

async fn docs() -> Result<ExitCode, Error> {
    let Some((pages, http)) = configure(|reader| Some(Pages::read(reader))) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    serve("docs", router::docs(pages), &http).await
}

/// Runs the sweeper, which takes no input.
///
/// # Errors
/// If the Lambda runtime cannot be reached.
pub fn run_sweeper() -> Result<ExitCode, Error> {
    block_on(sweeper())
}

async fn sweeper() -> Result<ExitCode, Error> {
    let read = |reader: &mut Reader<'_>| {
        let calls = reader.required::<String>("CALLS_TABLE");
        let state = reader.required::<String>("STATE_TABLE");
        Some((calls?, state?))
    };
    let Some(((calls, state), http)) = configure(read) else {
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let config = aws::of_function(Patience::FUNCTION);
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let sweeper = Sweeper {
        calls: Arc::new(CallStore::new(dynamodb.clone(), calls)),
        heartbeats: Arc::new(Heartbeats::new(dynamodb, state)),
        budget: BUDGET,
    };
    let sweep = lambda_runtime::service_fn(async |_: LambdaEvent<Value>| {
        let swept = sweeper.sweep(clock::now()).await?;
        if http.metrics {
            let heartbeats = sweeper.heartbeats.read().await?;
            let lines = sweeper_metrics::lines(&http.namespace, &swept, &heartbeats, clock::now());
            for line in lines {
                embedded_metrics::print(&line);
            }
        }
        Ok::<_, Error>(serde_json::json!({
            "expired": swept.expired, "lost": swept.lost, "failed": swept.failed,
        }))
    });
    lambda_runtime::run(sweep).await?;
    Ok(ExitCode::SUCCESS)
}

/// What signs tokens and cursors, and how it is kept up to date.
struct Signing {
    jwt: Arc<Jwt>,
    cursors: Arc<Cursors>,
    /// Of keys that are kept elsewhere.
    rotation: Option<Arc<KeyRotation>>,
}

impl Signing {
    /// With the keys that are given, or kept.
    async fn ready(source: JwtSource, config: &SdkConfig) -> Result<Self, Error> {
        let (settings, kept) = match source {
            JwtSource::Given(settings) => (settings, None),
            JwtSource::Kept { arn, claims } => {
                let kept = KeptKeys::new(config, arn);
                let keys = kept.read().await?;
                let keys = check_pair(keys, false)
                    .map_err(|problem| format!("the secret of SECRET_KEY_ARN {problem}"))?;
                (claims.with(keys), Some(kept))
            }
        };
        let jwt = Arc::new(Jwt::new(&settings));
        let cursors = Arc::new(Cursors::new(&settings));
        let rotation = kept.map(|kept| {
            let rotation = KeyRotation::new(kept, Arc::clone(&jwt), Arc::clone(&cursors));
            Arc::new(rotation)
        });
        Ok(Self {
            jwt,
            cursors,
            rotation,
        })
    }

    /// What checks tokens with these keys, and with what the table named `state` says.
    fn access(&self, dynamodb: aws_sdk_dynamodb::Client, state: String) -> Access {
        Access::new(Arc::clone(&self.jwt), StandingStore::new(dynamodb, state))
    }

    /// Routes whose requests find the keys up to date.
    fn rotated(self, router: Router) -> Router {
        let Some(rotation) = self.rotation else {
            return router;
        };
        router.layer(middleware::from_fn_with_state(rotation, rotate))
    }
}

/// What every function has around its routes.
struct Http {
    origins: AllowedOrigins,
    metrics: bool,
    namespace: Namespace,
}

/// Reads the settings and starts logging; says everything that is wrong.
fn configure<T>(read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<(T, Http)> {
    let mut reader = Reader::new(&Environment);
    let log = LogSettings::read(&mut reader);
    let http = Http {
        origins: AllowedOrigins::read(&mut reader),
        metrics: reader.flag("METRICS_ENABLED", true),
        namespace: reader.optional("METRICS_NAMESPACE").unwrap_or_default(),
    };
    let settings = read(&mut reader);
    match reader.finish(settings) {
        Ok(settings) => {
            telemetry::start(&log).ok();
            Some((settings, http))
        }
        Err(error) => {
            eprintln!("{error}");
            None
        }
    }
}

async fn serve(function: &'static str, own: Router, http: &Http) -> Result<ExitCode, Error> {
    let measured = |router: Router| {
        if !http.metrics {
            return router;
        }
        let what = Measured {
            function,
            namespace: http.namespace.clone(),
        };
        let measure = middleware::from_fn_with_state(what, embedded_metrics::measure);
        router.layer(measure)
    };
    let routes = measured(router::finish(own, &http.origins));
    let unreadable = measured(router::unreadable(&http.origins));
    let answer = lambda_runtime::service_fn(async |event: LambdaEvent<Value>| {
        let response = match event::read(event.payload) {
            Ok(request) => routes.clone().oneshot(request).await,
            Err(event) => {
                tracing::warn!(error = %error::chain(&event.problem), "an event is not a request");
                unreadable.clone().oneshot(event.stand_in).await
            }
        };
        let Ok(response) = response;
        Ok::<_, Error>(Answer::from_response(response).await)
    });
    lambda_runtime::run(answer).await?;
    Ok(ExitCode::SUCCESS)
}
