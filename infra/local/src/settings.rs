//! The local run's configuration: the system's own, with defaults for all of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bridge::BridgeSettings;
use cloud::Secret;
use cloud::rate_limit::RateLimit;
use cloud::settings::{Reader, Source};
use cloud::telemetry::LogSettings;
use functions::guard::AllowedOrigins;
use functions::settings::{CallDefaults, JwtSettings, Pages, read_daily_calls, read_rate_limit};

use crate::embedded;

/// Everything that the local run is configured with.
pub struct LocalSettings {
    /// `PORT`: where the API is served on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// `LOCAL_DATA`: the folder for the database and the key.
    pub data: PathBuf,
    /// `DISABLE_DB`: nothing is kept on the disk and there are no users.
    pub disable_db: bool,
    /// `DEMO_PASSWORD`
    pub demo_password: Option<Secret>,
    /// Whether the simulator stands in for Asterisk, because `ARI_HTTP_URL` is not set.
    pub simulate: bool,
    /// Whether `SECRET_KEY` was not set and one is made.
    pub make_key: bool,
    /// Tokens.
    pub jwt: JwtSettings,
    /// How many of them a client may ask for.
    pub token_limit: RateLimit,
    /// Calls.
    pub calls: CallDefaults,
    /// How many calls a user may ask for in a day, if that is limited.
    pub daily_calls: Option<u32>,
    /// Which of the optional pages are there.
    pub pages: Pages,
    /// Which origins' pages may call the API.
    pub origins: AllowedOrigins,
    /// The bridge; its queue and the simulator's address are filled in at the start.
    pub bridge: BridgeSettings,
    /// Logs.
    pub log: LogSettings,
}

/// The given settings, over those that a local run brings.
struct WithDefaults<'a> {
    given: &'a dyn Source,
    defaults: BTreeMap<String, String>,
}

impl Source for WithDefaults<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.given
            .get(name)
            .or_else(|| Source::get(&self.defaults, name))
    }
}

impl LocalSettings {
    /// Reads the settings from `source`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(source: &dyn Source) -> Result<Self, cloud::settings::InvalidSettings> {
        let simulate = source.get("ARI_HTTP_URL").is_none();
        let make_key = source.get("SECRET_KEY").is_none();
        let mut defaults = BTreeMap::from([
            ("BRIDGE_ID", "local"),
            ("CALLS_TABLE", embedded::CALLS_TABLE),
            ("STATE_TABLE", embedded::STATE_TABLE),
            // Known once the embedded queue runs.
            ("CALLS_QUEUE_URL", "http://127.0.0.1/"),
            // The API's own defaults, so that the bridge can say at its start what Asterisk lacks.
            ("DIAL_ENDPOINT", "Local/{number}@{context}/n"),
            ("DEFAULT_CONTEXT", "outbound-ivr"),
            ("DEFAULT_EXTENSION", "s"),
            ("DEFAULT_PRIORITY", "1"),
        ]);
        if make_key {
            // Replaced by a random one.
            defaults.insert("SECRET_KEY", "................................");
        }
        if simulate {
            defaults.extend([
                ("ARI_HTTP_URL", "http://127.0.0.1/ari"),
                ("ARI_USERNAME", "simulator"),
                ("ARI_PASSWORD", "simulator"),
            ]);
        }
        let source = WithDefaults {
            given: source,
            defaults: defaults
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        };
        let mut reader = Reader::new(&source);
        let log = LogSettings::read(&mut reader);
        let port = reader.number("PORT", 8000, 0, u16::MAX.into());
        let disable_db = reader.flag("DISABLE_DB", false);
        let demo_password = reader.optional("DEMO_PASSWORD");
        let jwt = JwtSettings::read(&mut reader);
        let token_limit = read_rate_limit(&mut reader);
        let calls = CallDefaults::read(&mut reader);
        let daily_calls = read_daily_calls(&mut reader);
        let pages = Pages::read(&mut reader);
        let origins = AllowedOrigins::read(&mut reader);
        let bridge = BridgeSettings::read(&mut reader);
        let data = reader
            .text("LOCAL_DATA")
            .unwrap_or_else(|| ".local".to_owned());
        let built = (|| {
            Some(Self {
                port: u16::try_from(port).ok()?,
                data: data.into(),
                disable_db,
                demo_password,
                simulate,
                make_key,
                jwt: jwt?,
                token_limit,
                calls: calls?,
                daily_calls,
                pages,
                origins,
                bridge: bridge?,
                log,
            })
        })();
        reader.finish(built)
    }
}
