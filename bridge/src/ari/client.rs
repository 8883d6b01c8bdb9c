//! ARI's requests, each bounded in time and answered by what it means to us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::endpoint::Trunk;
use domain::origination::{ChannelOwner, CreateReply, DialReply};
use domain::reconciliation::ChannelSeen;
use domain::rules::{Rule, kept};
use domain::{CallId, DialplanTarget, Timestamp};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::ari::event::{APPLICATION_REPLACED, WANTED_TYPES};
use crate::ari::request::{Answer, CREATE, Request, SYSTEM_INFO, Urgency};
use crate::ari::request_socket::Unanswered;
use crate::ari::request_sockets::RequestSockets;
use crate::ari::socket::Socket;
use crate::ari::{
    AriError, Asterisk, Canary, Channel, ChannelReply, EndpointState, EventStream, NewChannel,
    Place, PlaybackId, SocketLost,
};
use crate::metrics::{Metrics, OVER_HTTP, OVER_WEBSOCKET};
use crate::settings::AriSettings;

/// Asterisk, over HTTP and over sockets.
#[derive(Clone)]
pub struct AriClient {
    http: Client,
    /// Unless `ARI_REST_OVER_WEBSOCKET` is false.
    sockets: Option<RequestSockets>,
    settings: Arc<AriSettings>,
    /// How many requests of each urgency there may be at once.
    now: Arc<Semaphore>,
    live: Arc<Semaphore>,
    new: Arc<Semaphore>,
    metrics: Option<Arc<Metrics>>,
}

/// Requests under way at once that end a call or look at one; `ARI_MAX_IN_FLIGHT` is for the others.
const MAX_URGENT: usize = 16;

/// What ARI says with a 500 when it could not do what was asked.
const ALLOCATION_FAILED: &str = "Allocation failed";
/// The name of a create in logs and metrics.
const CREATE_NAME: &str = "POST /channels/create";
/// The name of a request that sets a variable.
const SET_VARIABLE: &str = "POST /channels/{id}/variable";
/// The variable by which Asterisk ends a channel: so many seconds after it was set.
const LIMIT: &str = "TIMEOUT(absolute)";
/// What the canary leads to. Nobody is dialled, so the context need not exist.
const CANARY_ENDPOINT: &str = "Local/canary@canary";
/// When Asterisk itself ends a canary that nobody has deleted, in seconds.
const CANARY_ENDS_AFTER: &str = "10";
/// How often the canary is tried while an earlier one is in its way.
const CANARY_TRIES: usize = 2;

#[derive(Serialize)]
struct Create<'a> {
    endpoint: &'a str,
    app: &'a str,
    #[serde(rename = "appArgs")]
    app_args: String,
    #[serde(rename = "channelId")]
    channel_id: String,
    variables: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct ChannelState {
    #[serde(default)]
    id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    dialplan: Dialplan,
}

#[derive(Default, Deserialize)]
struct Dialplan {
    #[serde(default)]
    app_name: String,
    #[serde(default)]
    app_data: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    error: String,
    #[serde(default)]
    message: String,
}

impl AriClient {
    /// A client with a pool of connections of its own.
    ///
    /// # Errors
    /// If the system's certificates cannot be loaded.
    pub fn new(settings: Arc<AriSettings>, metrics: Arc<Metrics>) -> Result<Self, AriError> {
        let mut client = Self::without_metrics(settings)?;
        client.metrics = Some(metrics);
        Ok(client)
    }

    /// The same, counting nothing.
    ///
    /// # Errors
    /// If the system's certificates cannot be loaded.
    pub fn without_metrics(settings: Arc<AriSettings>) -> Result<Self, AriError> {
        // Fails only if a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(settings.request_timeout.min(Duration::from_secs(2)))
            .pool_max_idle_per_host(settings.max_in_flight)
            // Asterisk closes idle connections after 15 s (http.conf, session_inactivity 30 s).
            .pool_idle_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| AriError::Setup(error.into()))?;
        Ok(Self {
            http,
            sockets: settings
                .rest_over_websocket
                .then(|| RequestSockets::new(&settings)),
            now: Arc::new(Semaphore::new(MAX_URGENT)),
            live: Arc::new(Semaphore::new((settings.max_in_flight / 2).max(1))),
            new: Arc::new(Semaphore::new(settings.max_in_flight.div_ceil(2))),
            settings,
            metrics: None,
        })
    }

    async fn channel(&self, id: CallId) -> Result<Option<ChannelState>, AriError> {
        let request = "GET /channels/{id}";
        let path = format!("channels/{id}");
        let answer = self.send(Request::new(request, Method::GET, &path)).await?;
        if is_gone(&answer) {
            return Ok(None);
        }
        answer.expect_success(request)?;
        answer.json(request).map(Some)
    }

    async fn delete_channel(&self, id: &str) -> Result<ChannelReply, AriError> {
        let request = "DELETE /channels/{id}";
        let path = format!("channels/{id}");
        let answer = self
            .send(Request::new(request, Method::DELETE, &path).with_query(&[("reason", "normal")]))
            .await?;
        if is_gone(&answer) {
            return Ok(ChannelReply::Gone);
        }
        answer.expect_success(request).map(|()| ChannelReply::Done)
    }

    /// Whether the dialplan has a context, an extension there, and a priority there, as far as they
    /// are given, as seen from a channel. Without a channel Asterisk does not say.
    async fn dialplan_exists(&self, channel: &str, place: &[&str]) -> Result<bool, AriError> {
        #[derive(Deserialize)]
        struct Variable {
            value: String,
        }
        let request = "GET /channels/{id}/variable";
        let path = format!("channels/{channel}/variable");
        let asked = format!("DIALPLAN_EXISTS({})", place.join(","));
        let query = [("variable", asked.as_str())];
        let answer = self
            .send(Request::new(request, Method::GET, &path).with_query(&query))
            .await?;
        answer.expect_success(request)?;
        let variable: Variable = answer.json(request)?;
        // Anything but a plain no is no proof.
        Ok(variable.value != "0")
    }

    /// The same, asked by a channel that is made for it and leads nowhere. The application has to
    /// have a socket that is connected.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    pub async fn dialplan_has(&self, place: &[&str]) -> Result<bool, AriError> {
        // Not that of an earlier look, which may still be on its way out. It is no UUID, so that nobody
        // takes it for a call's.
        let id = format!("{}-look-{}", self.settings.app, Uuid::new_v4());
        let body = Create {
            endpoint: CANARY_ENDPOINT,
            app: &self.settings.app,
            app_args: String::new(),
            channel_id: id.clone(),
            variables: BTreeMap::from([(LIMIT, CANARY_ENDS_AFTER)]),
        };
        let request = Request::new(CREATE_NAME, Method::POST, CREATE).with_body(&body);
        let answer = self.send(request).await?;
        answer.expect_success(CREATE_NAME)?;
        let found = self.dialplan_exists(&id, place).await;
        self.delete_channel(&id).await?;
        found
    }

    /// The id of the canary: one for each application, and no UUID, so that nobody takes it for a
    /// call's.
    fn canary_id(&self) -> String {
        format!("{}-canary", self.settings.app)
    }

    /// `ARI_APP`
    pub(super) fn app(&self) -> &str {
        &self.settings.app
    }

    fn is_ours(&self, channel: &ChannelState) -> bool {
        channel.dialplan.app_name == "Stasis"
            && channel.dialplan.app_data.split(',').next() == Some(self.settings.app.as_str())
    }

    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, AriError> {
        let result = self.try_send(&request).await;
        let failed = result
            .as_ref()
            .map_or(true, |answer| answer.status.is_server_error());
        if let Some(metrics) = self.metrics.as_ref().filter(|_| failed) {
            metrics.ari_error(request.name);
        }
        result
    }

    async fn try_send(&self, request: &Request<'_>) -> Result<Answer, AriError> {
        let semaphore = match request.urgency() {
            Urgency::Now => &self.now,
            Urgency::Live => &self.live,
            Urgency::New => &self.new,
        };
        // Never closed, so never refused.
        let Ok(_permit) = timeout(self.settings.request_timeout, semaphore.acquire()).await else {
            return Err(AriError::Busy {
                request: request.name,
            });
        };
        let begun = Instant::now();
        let answer = match self.over_socket(request).await {
            Err(Unanswered::NotAsked) => {
                // It may have waited for its turn at a socket that went down.
                let left = self
                    .settings
                    .request_timeout
                    .saturating_sub(begun.elapsed());
                self.over_http(request, left).await?
            }
            answer => answer.map_err(|source| AriError::NoAnswer {
                request: request.name,
                sent: true,
                source: source.into(),
            })?,
        };
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(AriError::Unauthorized {
                request: request.name,
            }),
            _ => Ok(answer),
        }
    }

    async fn over_socket(&self, request: &Request<'_>) -> Result<Answer, Unanswered> {
        let sockets = self.sockets.as_ref().ok_or(Unanswered::NotAsked)?;
        let waiting = sockets.hand_over(request).ok_or(Unanswered::NotAsked)?;
        self.count(OVER_WEBSOCKET);
        sockets.answer(waiting).await
    }

    fn count(&self, over: &'static str) {
        if let Some(metrics) = &self.metrics {
            metrics.ari_request(over);
        }
    }

    async fn over_http(&self, request: &Request<'_>, within: Duration) -> Result<Answer, AriError> {
        self.count(OVER_HTTP);
        let mut builder = self
            .http
            .request(
                request.method.clone(),
                self.settings.request_url(request.path),
            )
            .basic_auth(
                &self.settings.username,
                Some(self.settings.password.expose()),
            )
            .query(request.query)
            .timeout(within);
        if let Some(body) = &request.body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let response = builder.send().await.map_err(|source| AriError::NoAnswer {
            request: request.name,
            sent: !source.is_connect(),
            source: source.without_url().into(),
        })?;
        Ok(Answer {
            status: response.status(),
            // The status says it without a body that broke off, or that body is missed where it is read.
            body: response.bytes().await.unwrap_or_default().into(),
        })
    }
}

#[async_trait]
impl Asterisk for AriClient {
    async fn connect(&self) -> Result<Box<dyn EventStream>, SocketLost> {
        let socket = Socket::connect(&self.settings, &self.settings.app).await?;
        Ok(Box::new(socket))
    }

    async fn filter_events(&self) -> Result<(), AriError> {
        #[derive(Serialize)]
        struct Type {
            r#type: &'static str,
        }
        #[derive(Serialize)]
        struct Filter {
            allowed: Vec<Type>,
        }
        let filter = Filter {
            allowed: WANTED_TYPES
                .into_iter()
                // The filter cuts this one too.
                .chain([APPLICATION_REPLACED])
                .map(|r#type| Type { r#type })
                .collect(),
        };
        let request = "PUT /applications/{app}/eventFilter";
        let path = format!("applications/{}/eventFilter", self.settings.app);
        let answer = self
            .send(Request::new(request, Method::PUT, &path).with_body(&filter))
            .await?;
        answer.expect_success(request)
    }

    async fn create_channel(&self, new: NewChannel<'_>) -> CreateReply {
        let NewChannel { call, attempt, .. } = new;
        let id = call.id.to_string();
        let endpoint = call.endpoint.as_dialled();
        let ends_after = seconds(new.ends_after);
        let caller = call.caller_id.as_ref();
        let number = caller.and_then(|caller| caller.number());
        let name = caller.and_then(|caller| caller.name());
        let shown = [
            ("CALLERID(num)", number),
            ("CALLERID(name)", name),
            // What an outgoing SIP channel shows is its connected line; without it, Anonymous.
            ("CONNECTEDLINE(num,i)", number),
            ("CONNECTEDLINE(name,i)", name),
        ];
        let shown = shown
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let given = call
            .variables
            .get()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let limit = kept(Rule::LimitGivenToAsterisk).then_some((LIMIT, ends_after.as_str()));
        let variables = given.chain(shown).chain(limit).collect();
        let body = Create {
            endpoint: endpoint.as_str(),
            app: &self.settings.app,
            app_args: format!("{id},{attempt}"),
            channel_id: id,
            variables,
        };
        let answer = match self
            .send(Request::new(CREATE_NAME, Method::POST, CREATE).with_body(&body))
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                warn(call.id, &error);
                return CreateReply::Unavailable;
            }
        };
        let status = answer.status;
        if status.is_success() {
            return CreateReply::Created;
        }
        if status == StatusCode::CONFLICT {
            return CreateReply::Exists;
        }
        let said = explanation(&answer);
        tracing::warn!(call_id = %call.id, status = status.as_u16(), said, "ARI did not create the channel");
        if is_refused(&answer) {
            CreateReply::Refused
        } else if status == StatusCode::BAD_REQUEST && said.contains("ndpoint") {
            CreateReply::Invalid
        } else {
            CreateReply::Unavailable
        }
    }

    async fn try_canary(&self) -> Result<Canary, AriError> {
        let body = Create {
            endpoint: CANARY_ENDPOINT,
            app: &self.settings.app,
            app_args: String::new(),
            channel_id: self.canary_id(),
            variables: BTreeMap::from([(LIMIT, CANARY_ENDS_AFTER)]),
        };
        for _ in 0..CANARY_TRIES {
            let request = Request::new(CREATE_NAME, Method::POST, CREATE).with_body(&body);
            let answer = self.send(request).await?;
            if is_refused(&answer) {
                return Ok(Canary::Refused);
            }
            let made = answer.status.is_success();
            if !made && answer.status != StatusCode::CONFLICT {
                return Err(answer.unexpected(CREATE_NAME));
            }
            // A conflict means that an earlier one was left.
            self.delete_canary().await?;
            if made {
                return Ok(Canary::Made);
            }
        }
        Err(AriError::Status {
            request: CREATE_NAME,
            status: StatusCode::CONFLICT.as_u16(),
        })
    }

    async fn delete_canary(&self) -> Result<(), AriError> {
        self.delete_channel(&self.canary_id()).await.map(|_| ())
    }

    async fn endpoint_state(&self, trunk: &Trunk) -> Result<EndpointState, AriError> {
        #[derive(Deserialize)]
        struct Endpoint {
            #[serde(default)]
            state: String,
        }
        let Trunk {
            technology,
            resource,
        } = trunk;
        // Only SIP endpoints are known to be listed one by one.
        let is_pjsip = technology == "PJSIP";
        let (request, path) = if is_pjsip {
            let path = format!("endpoints/{technology}/{resource}");
            ("GET /endpoints/{tech}/{resource}", path)
        } else {
            ("GET /endpoints/{tech}", format!("endpoints/{technology}"))
        };
        let answer = self.send(Request::new(request, Method::GET, &path)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let said = explanation(&answer);
            if !said.contains("Endpoint not found") && !said.contains("invalid tech") {
                return Err(answer.unexpected(request));
            }
            // While Asterisk loads, ARI answers 404 for what it does not have yet.
            self.ping().await?;
            return Ok(EndpointState::Missing);
        }
        answer.expect_success(request)?;
        if !is_pjsip {
            return Ok(EndpointState::Unknown);
        }
        let endpoint: Endpoint = answer.json(request)?;
        Ok(match endpoint.state.as_str() {
            "online" => EndpointState::Online,
            "offline" => EndpointState::Offline,
            _ => EndpointState::Unknown,
        })
    }

    async fn target_exists(&self, id: CallId, target: &DialplanTarget) -> Result<bool, AriError> {
        let priority = target.priority.get().to_string();
        let place = [
            target.context.as_str(),
            target.extension.as_str(),
            &priority,
        ];
        self.dialplan_exists(&id.to_string(), &place).await
    }

    async fn set_limit(&self, id: CallId, ends_after: Duration) -> Result<ChannelReply, AriError> {
        let request = SET_VARIABLE;
        let path = format!("channels/{id}/variable");
        let ends_after = seconds(ends_after);
        let query = [("variable", LIMIT), ("value", ends_after.as_str())];
        let answer = self
            .send(
                Request::new(request, Method::POST, &path)
                    .with_query(&query)
                    .at_once(),
            )
            .await?;
        in_stasis_reply(request, &answer)
    }

    async fn dial(&self, id: CallId, ring_for: Duration) -> DialReply {
        let ring_for = ring_for.as_millis().div_ceil(1000).max(1).to_string();
        let request = "POST /channels/{id}/dial";
        let path = format!("channels/{id}/dial");
        let answer = match self
            .send(Request::new(request, Method::POST, &path).with_query(&[("timeout", &ring_for)]))
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                warn(id, &error);
                return match &error {
                    AriError::NoAnswer { sent: false, .. } | AriError::Busy { .. } => {
                        DialReply::NotSent
                    }
                    AriError::Unauthorized { .. } => DialReply::Refused,
                    _ => DialReply::Lost,
                };
            }
        };
        let status = answer.status;
        if status.is_success() {
            return DialReply::Dialled;
        }
        if is_gone(&answer) {
            return DialReply::Gone;
        }
        // ARI is not there: Asterisk loads, or reloads.
        if matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE
        ) {
            return DialReply::NotSent;
        }
        let said = explanation(&answer);
        tracing::warn!(call_id = %id, status = status.as_u16(), said, "ARI did not dial the channel");
        match status {
            // It has left `Down`: an earlier dial, whose answer was lost, took effect.
            StatusCode::CONFLICT if said.contains("'Down'") => DialReply::Dialled,
            // Measured while Asterisk shuts down: it has taken the channel from our application, or
            // takes no more commands for it.
            StatusCode::CONFLICT => DialReply::Leaving,
            StatusCode::INTERNAL_SERVER_ERROR if said.contains(ALLOCATION_FAILED) => {
                DialReply::Leaving
            }
            // A proxy's own error does not say whether the dial took effect.
            _ if status.is_server_error() => DialReply::Lost,
            _ => DialReply::Refused,
        }
    }

    async fn continue_channel(
        &self,
        id: CallId,
        target: &DialplanTarget,
    ) -> Result<ChannelReply, AriError> {
        let request = "POST /channels/{id}/continue";
        let path = format!("channels/{id}/continue");
        let priority = target.priority.get().to_string();
        let query = [
            ("context", target.context.as_str()),
            ("extension", target.extension.as_str()),
            ("priority", &priority),
        ];
        let answer = self
            .send(Request::new(request, Method::POST, &path).with_query(&query))
            .await?;
        in_stasis_reply(request, &answer)
    }

    async fn play(&self, playback: PlaybackId, uri: &str) -> Result<ChannelReply, AriError> {
        let request = "POST /channels/{id}/play/{playback}";
        let path = format!("channels/{}/play/{playback}", playback.call);
        let query = [("media", uri)];
        let answer = self
            .send(Request::new(request, Method::POST, &path).with_query(&query))
            .await?;
        in_stasis_reply(request, &answer)
    }

    async fn is_playing(&self, playback: PlaybackId) -> Result<bool, AriError> {
        let request = "GET /playbacks/{id}";
        let path = format!("playbacks/{playback}");
        let answer = self.send(Request::new(request, Method::GET, &path)).await?;
        if is_gone(&answer) {
            return Ok(false);
        }
        answer.expect_success(request).map(|()| true)
    }

    async fn hang_up(&self, id: CallId) -> Result<ChannelReply, AriError> {
        self.delete_channel(&id.to_string()).await
    }

    async fn channel_owner(&self, id: CallId) -> Result<ChannelOwner, AriError> {
        Ok(match self.channel(id).await? {
            None => ChannelOwner::Nobody,
            Some(channel) if self.is_ours(&channel) => ChannelOwner::ThisBridge,
            Some(_) => ChannelOwner::AnotherBridge,
        })
    }

    async fn channel_seen(&self, id: CallId) -> Result<ChannelSeen, AriError> {
        let Some(channel) = self.channel(id).await? else {
            return Ok(ChannelSeen::Gone);
        };
        Ok(match channel.state.as_str() {
            "Up" => ChannelSeen::Up {
                in_stasis: self.is_ours(&channel),
            },
            "Ringing" => ChannelSeen::Ringing,
            // `Down`, and what a channel of ours never is.
            _ => ChannelSeen::Down,
        })
    }

    async fn channels(&self) -> Result<Vec<Channel>, AriError> {
        let request = "GET /channels";
        let answer = self
            .send(Request::new(request, Method::GET, "channels"))
            .await?;
        answer.expect_success(request)?;
        let channels: Vec<ChannelState> = answer.json(request)?;
        let with_uuids = channels.iter().filter_map(|channel| {
            let place = if self.is_ours(channel) {
                Place::OurApp
            } else if channel.dialplan.app_name == "Stasis" {
                // Another program has it.
                return None;
            } else {
                Place::Elsewhere
            };
            Some(Channel {
                id: channel.id.parse().ok()?,
                place,
            })
        });
        Ok(with_uuids.collect())
    }

    async fn started_at(&self) -> Result<Option<Timestamp>, AriError> {
        #[derive(Deserialize)]
        struct Info {
            status: Option<Status>,
        }
        #[derive(Deserialize)]
        struct Status {
            startup_time: Option<String>,
        }
        let request = "GET /asterisk/info";
        let query = [("only", "status")];
        let answer = self
            .send(Request::new(request, Method::GET, "asterisk/info").with_query(&query))
            .await?;
        answer.expect_success(request)?;
        let info: Info = answer.json(request)?;
        let text = info.status.and_then(|status| status.startup_time);
        Ok(text.as_deref().and_then(Timestamp::from_asterisk))
    }

    async fn entity_id(&self) -> Result<Option<String>, AriError> {
        #[derive(Deserialize)]
        struct Info {
            system: Option<System>,
        }
        #[derive(Deserialize)]
        struct System {
            entity_id: Option<String>,
        }
        let answer = self.send(SYSTEM_INFO).await?;
        answer.expect_success(SYSTEM_INFO.name)?;
        let info: Info = answer.json(SYSTEM_INFO.name)?;
        let id = info.system.and_then(|system| system.entity_id);
        Ok(id.filter(|id| is_own(id)))
    }

    async fn ping(&self) -> Result<(), AriError> {
        let answer = self.send(SYSTEM_INFO).await?;
        answer.expect_success(SYSTEM_INFO.name)
    }
}

/// Whether an entity id tells one Asterisk from another: an Asterisk that finds no network card has
/// zeros only.
fn is_own(entity_id: &str) -> bool {
    entity_id.bytes().any(|byte| !matches!(byte, b'0' | b':'))
}

/// Whether Asterisk refused to make a channel, for whichever reason.
fn is_refused(answer: &Answer) -> bool {
    answer.status == StatusCode::INTERNAL_SERVER_ERROR
        && explanation(answer).contains(ALLOCATION_FAILED)
}

/// Whether ARI says that the channel or the playback is not there (any more). While Asterisk loads
/// or reloads, its HTTP server answers 404 for everything, which says nothing about a channel.
fn is_gone(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND && explanation(answer).ends_with(" not found")
}

/// A time as `TIMEOUT(absolute)` takes it.
fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// What the answer to a request says of a channel that has to be in our application for it.
fn in_stasis_reply(request: &'static str, answer: &Answer) -> Result<ChannelReply, AriError> {
    match answer.status {
        _ if is_gone(answer) => Ok(ChannelReply::Gone),
        StatusCode::CONFLICT => Ok(ChannelReply::NotInStasis),
        _ => answer.expect_success(request).map(|()| ChannelReply::Done),
    }
}

fn warn(id: CallId, error: &AriError) {
    tracing::warn!(call_id = %id, error = %cloud::error::chain(error), "a request to ARI failed");
}

/// What Asterisk says about a refusal; short, and only for the log.
fn explanation(answer: &Answer) -> String {
    let Ok(body) = serde_json::from_slice::<ErrorBody>(&answer.body) else {
        return String::new();
    };
    let mut text = if body.error.is_empty() {
        body.message
    } else {
        body.error
    };
    text.truncate(text.floor_char_boundary(200));
    text
}
