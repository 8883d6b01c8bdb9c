//! The bridge's configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Secret;
use cloud::settings::Reader;
use domain::origination::RetryPolicy;
use domain::{AllowedNumbers, BridgeId, Context, EndpointTemplate, Extension, Priority};
use reqwest::Url;

use crate::call_task::CLAIM_TRIES;

/// Where Asterisk is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct AriSettings {
    /// `ARI_HTTP_URL`, with or without its `/ari`.
    pub url: Url,
    /// `ARI_USERNAME`
    pub username: String,
    /// `ARI_PASSWORD`, or what is in the file `ARI_PASSWORD_FILE`
    pub password: Secret,
    /// `ARI_APP`: the Stasis application, one for each bridge.
    pub app: String,
    /// `ARI_TIMEOUT`, in milliseconds: for one request.
    pub request_timeout: Duration,
    /// `ARI_MAX_IN_FLIGHT`: requests under way at once. Asterisk starts failing at about a
    /// hundred simultaneous originates.
    pub max_in_flight: usize,
    /// `ARI_REST_OVER_WEBSOCKET`: whether requests that make calls go over a WebSocket where Asterisk takes them there.
    pub rest_over_websocket: bool,
}

impl AriSettings {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let url = reader.required("ARI_HTTP_URL").and_then(|url: Url| {
            let problem = if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                "must be an http or https URL such as http://127.0.0.1:8088/ari"
            } else if !url.username().is_empty() || url.password().is_some() {
                "must not hold credentials: they go into ARI_USERNAME and ARI_PASSWORD"
            } else {
                return Some(url);
            };
            reader.reject("ARI_HTTP_URL", problem);
            None
        });
        let username = reader.required("ARI_USERNAME");
        let password = reader.secret("ARI_PASSWORD");
        let app = reader
            .text("ARI_APP")
            .unwrap_or_else(|| "outbound-calls".to_owned());
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=64).contains(&app.len()) || !app.bytes().all(allowed) {
            reader.reject(
                "ARI_APP",
                "must be 1 to 64 letters, digits, '-', '_' or '.'",
            );
        }
        let timeout = reader.number("ARI_TIMEOUT", 5_000, 100, 60_000);
        let max_in_flight = reader.number("ARI_MAX_IN_FLIGHT", 64, 1, 1_000);
        let rest_over_websocket = reader.flag("ARI_REST_OVER_WEBSOCKET", true);
        Some(Self {
            url: url?,
            username: username?,
            password: password?,
            app,
            request_timeout: Duration::from_millis(timeout),
            max_in_flight: usize::try_from(max_in_flight).unwrap_or(64),
            rest_over_websocket,
        })
    }

    /// The URL of a request.
    #[must_use]
    pub fn request_url(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/');
        let base = if base.is_empty() { "/ari" } else { base };
        let joined = format!("{base}/{path}");
        url.set_path(&joined);
        url
    }

    /// The URL of an application's socket, without credentials.
    #[must_use]
    pub fn socket_url(&self, app: &str) -> Url {
        let mut url = self.request_url("events");
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // Between these schemes the change is always allowed.
        let _ = url.set_scheme(scheme);
        url.query_pairs_mut().append_pair("app", app);
        url
    }

    /// The value of an `Authorization` header.
    #[must_use]
    pub fn basic_authorization(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password.expose());
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// Everything that a bridge is configured with.
#[derive(Clone, Debug)]
pub struct BridgeSettings {
    /// `BRIDGE_ID`
    pub bridge_id: BridgeId,
    /// `BOOT_ID`: names the machine's present boot, where `/proc/sys` is hidden from the bridge. The
    /// systemd unit sets it.
    pub boot_id: Option<String>,
    /// Asterisk.
    pub ari: AriSettings,
    /// `CALLS_TABLE`
    pub calls_table: String,
    /// `STATE_TABLE`: for heartbeats.
    pub state_table: String,
    /// `CALLS_QUEUE_URL`
    pub calls_queue_url: String,
    /// `CONTROL_QUEUE_URL`: this bridge's own; without it calls cannot be hung up over the API.
    pub control_queue_url: Option<String>,
    /// `MAX_CALLS_PER_SECOND`
    pub max_calls_per_second: u32,
    /// `MAX_CONCURRENT_CALLS`
    pub max_concurrent_calls: usize,
    /// `MAX_CALL_DURATION`, in seconds: how long an answered call may last.
    pub max_call_duration: Duration,
    /// `QUEUE_POLLERS`: receives under way at once.
    pub pollers: usize,
    /// `QUEUE_VISIBILITY_TIMEOUT`, in seconds: how long a message stays with this bridge.
    pub visibility_timeout: Duration,
    /// `STASIS_START_TIMEOUT`, in milliseconds.
    pub stasis_start_timeout: Duration,
    /// `SHUTDOWN_TIMEOUT`, in seconds: for what is under way when the bridge is told to stop.
    pub shutdown_timeout: Duration,
    /// `ALLOWED_NUMBERS`: what numbers that may be called begin with; all if it is not set.
    pub allowed_numbers: AllowedNumbers,
    /// How often a create is repeated.
    pub retry: RetryPolicy,
    /// What the API dials and where it continues calls, if the bridge is told.
    pub api: ApiDefaults,
    /// `METRICS_ADDRESS`, unless `METRICS_ENABLED` is false: where metrics and readiness are served.
    pub metrics_address: Option<SocketAddr>,
}

/// The API's defaults. The bridge dials what its messages say; it needs these only to tell at its
/// start, and in `--check`, what Asterisk lacks for them.
#[derive(Clone, Debug, Default)]
pub struct ApiDefaults {
    /// `DIAL_ENDPOINT`
    pub endpoint: Option<EndpointTemplate>,
    /// `DEFAULT_CONTEXT`
    pub context: Option<Context>,
    /// `DEFAULT_EXTENSION`
    pub extension: Option<Extension>,
    /// `DEFAULT_PRIORITY`
    pub priority: Option<Priority>,
}

impl ApiDefaults {
    /// Reads what is set of them.
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            endpoint: reader.optional("DIAL_ENDPOINT"),
            context: reader.optional("DEFAULT_CONTEXT"),
            extension: reader.optional("DEFAULT_EXTENSION"),
            priority: reader.optional("DEFAULT_PRIORITY"),
        }
    }
}

/// Loopback: metrics are nobody's business outside.
const DEFAULT_METRICS_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

impl BridgeSettings {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let ari = AriSettings::read(reader);
        let bridge_id = reader.required("BRIDGE_ID");
        let calls_table = reader.required("CALLS_TABLE");
        let state_table = reader.required("STATE_TABLE");
        let calls_queue_url = reader.required("CALLS_QUEUE_URL");
        let metrics_enabled = reader.flag("METRICS_ENABLED", true);
        let metrics_address = reader.or("METRICS_ADDRESS", DEFAULT_METRICS_ADDRESS);
        let max_calls_per_second = reader.number("MAX_CALLS_PER_SECOND", 50, 1, 10_000);
        let max_concurrent_calls = reader.number("MAX_CONCURRENT_CALLS", 500, 1, 100_000);
        let max_call_duration = reader.number("MAX_CALL_DURATION", 3_600, 1, 24 * 3_600);
        let pollers = reader.number("QUEUE_POLLERS", 2, 1, 64);
        let visibility_timeout = reader.number("QUEUE_VISIBILITY_TIMEOUT", 60, 1, 12 * 3_600);
        let stasis_start_timeout = reader.number("STASIS_START_TIMEOUT", 5_000, 100, 60_000);
        let shutdown_timeout = reader.number("SHUTDOWN_TIMEOUT", 20, 1, 600);
        let allowed_numbers = reader.optional("ALLOWED_NUMBERS").unwrap_or_default();
        let api = ApiDefaults::read(reader);
        let retries = reader.number("ARI_RETRIES", 3, 0, 10);
        let first_delay = reader.number("ARI_RETRY_DELAY", 300, 1, 60_000);
        let settings = Self {
            bridge_id: bridge_id?,
            boot_id: reader.text("BOOT_ID"),
            ari: ari?,
            calls_table: calls_table?,
            state_table: state_table?,
            calls_queue_url: calls_queue_url?,
            metrics_address: metrics_enabled.then_some(metrics_address),
            control_queue_url: reader.text("CONTROL_QUEUE_URL"),
            allowed_numbers,
            max_calls_per_second: u32::try_from(max_calls_per_second).ok()?,
            max_concurrent_calls: usize::try_from(max_concurrent_calls).ok()?,
            max_call_duration: Duration::from_secs(max_call_duration),
            pollers: usize::try_from(pollers).ok()?,
            visibility_timeout: Duration::from_secs(visibility_timeout),
            stasis_start_timeout: Duration::from_millis(stasis_start_timeout),
            shutdown_timeout: Duration::from_secs(shutdown_timeout),
            retry: RetryPolicy {
                retries: u8::try_from(retries).ok()?,
                first_delay: Duration::from_millis(first_delay),
                ..RetryPolicy::default()
            },
            api,
        };
        let longest = settings.longest_origination();
        if settings.visibility_timeout < longest {
            reader.reject(
                "QUEUE_VISIBILITY_TIMEOUT",
                format_args!(
                    "must be at least {} s: a call may take that long to start with these ARI_TIMEOUT, \
                     ARI_RETRIES, ARI_RETRY_DELAY and STASIS_START_TIMEOUT",
                    longest.as_secs() + 1
                ),
            );
        }
        Some(settings)
    }

    /// The longest time from a message's receipt to its deletion: every create and every wait
    /// in full, the claim and the dial. A message must not come back before. A refused create takes
    /// longer; should its message come back meanwhile, its call still has only this one task.
    fn longest_origination(&self) -> Duration {
        let retries = u32::from(self.retry.retries);
        let creates = self.ari.request_timeout * (retries + 1);
        let waits = self.retry.first_delay * ((1 << retries) - 1);
        let claims = cloud::aws::Patience::BRIDGE.operation_timeout * CLAIM_TRIES;
        creates + waits + self.stasis_start_timeout + claims + self.ari.request_timeout
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const GOOD: [(&str, &str); 7] = [
        ("BRIDGE_ID", "b1"),
        ("ARI_HTTP_URL", "http://127.0.0.1:8088/ari"),
        ("ARI_USERNAME", "u"),
        ("ARI_PASSWORD", "hush"),
        ("CALLS_TABLE", "calls"),
        ("STATE_TABLE", "state"),
        ("CALLS_QUEUE_URL", "http://127.0.0.1:1/q"),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<BridgeSettings, String> {
        let source: BTreeMap<String, String> = GOOD
            .iter()
            .chain(changes)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut reader = Reader::new(&source);
        let settings = BridgeSettings::read(&mut reader);
        reader.finish(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn the_ari_url_may_leave_its_path_out() {
        for url in [
            "http://127.0.0.1:8088",
            "http://127.0.0.1:8088/",
            "http://127.0.0.1:8088/ari",
            "http://127.0.0.1:8088/ari/",
        ] {
            let ari = read(&[("ARI_HTTP_URL", url)]).unwrap().ari;
            assert_eq!(
                ari.request_url("asterisk/info").as_str(),
                "http://127.0.0.1:8088/ari/asterisk/info"
            );
            assert_eq!(
                ari.socket_url(&ari.app).as_str(),
                "ws://127.0.0.1:8088/ari/events?app=outbound-calls"
            );
        }
        let ari = read(&[("ARI_HTTP_URL", "https://pbx/x/ari")]).unwrap().ari;
        assert_eq!(
            ari.socket_url(&ari.app).as_str(),
            "wss://pbx/x/ari/events?app=outbound-calls"
        );
    }

    #[test]
    fn a_message_may_not_come_back_while_its_call_is_being_started() {
        assert!(read(&[]).is_ok());
        let error = read(&[("QUEUE_VISIBILITY_TIMEOUT", "20")]).unwrap_err();
        assert!(
            error.contains("QUEUE_VISIBILITY_TIMEOUT must be at least"),
            "{error}"
        );
    }

    #[test]
    fn all_that_is_missing_or_wrong_is_named_and_no_secret_is_shown() {
        let error = read(&[
            ("BRIDGE_ID", "a b"),
            ("ARI_HTTP_URL", "http://u:hush@127.0.0.1/"),
            ("ARI_PASSWORD", ""),
            ("MAX_CONCURRENT_CALLS", "many"),
            ("ARI_APP", "a,b"),
        ])
        .unwrap_err();
        for name in [
            "BRIDGE_ID",
            "ARI_HTTP_URL",
            "ARI_PASSWORD",
            "MAX_CONCURRENT_CALLS",
            "ARI_APP",
        ] {
            assert!(error.contains(name), "{name}: {error}");
        }
        assert!(!error.contains("hush"));
        assert!(!format!("{:?}", read(&[]).unwrap()).contains("hush"));
    }
}
