//! Tries what a bridge needs of Asterisk, and touches no call.

use domain::CallId;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use super::request::{Request, SYSTEM_INFO};
use super::{AriClient, AriError, Asterisk, SocketLost};

/// What keeps a bridge from working with an Asterisk.
#[derive(Debug, thiserror::Error)]
pub enum Lack {
    /// No answer, or a strange one.
    #[error("{}", cloud::error::chain(.0))]
    Ari(#[from] AriError),
    /// The user is read-only in ari.conf.
    #[error("ARI_USERNAME may only read: ari.conf has read_only=yes for it")]
    ReadOnly,
    /// A module is not loaded.
    #[error("Asterisk does not know {0}: load the module {1}")]
    Module(&'static str, &'static str),
    /// The application is there already.
    #[error(
        "ARI_APP is taken: a bridge runs with it, or has left {channels} live channels in it. Two bridges need two names"
    )]
    Taken {
        /// Channels in it.
        channels: usize,
    },
    /// The events socket cannot be opened.
    #[error("the events socket cannot be opened: {}", cloud::error::chain(.0))]
    Socket(#[from] SocketLost),
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    system: System,
}

#[derive(Default, Deserialize)]
struct System {
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Application {
    #[serde(default)]
    channel_ids: Vec<String>,
}

impl AriClient {
    /// Asterisk's release.
    ///
    /// # Errors
    /// [`Lack::Ari`] if it does not answer, or does not take the credentials.
    pub async fn version(&self) -> Result<String, Lack> {
        let answer = self.send(SYSTEM_INFO).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Lack::Module("/ari/asterisk", "res_ari_asterisk.so"));
        }
        let info: Result<Info, _> = answer.json(SYSTEM_INFO.name);
        Ok(info.map(|info| info.system.version).unwrap_or_default())
    }

    /// Whether calls may be made and ended.
    ///
    /// # Errors
    /// [`Lack`] if not.
    pub async fn may_make_calls(&self) -> Result<(), Lack> {
        let nobody = CallId::from(Uuid::nil());
        match self.hang_up(nobody).await {
            Ok(_) => {}
            // The credentials have been taken already.
            Err(
                AriError::Unauthorized { .. }
                | AriError::Status {
                    status: 403 | 405, ..
                },
            ) => {
                return Err(Lack::ReadOnly);
            }
            Err(error) => return Err(error.into()),
        }
        match self.channels().await {
            Ok(_) => Ok(()),
            Err(AriError::Status { status: 404, .. }) => {
                Err(Lack::Module("/ari/channels", "res_ari_channels.so"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the events socket for a moment, if the application is nobody's.
    ///
    /// # Errors
    /// [`Lack`] if it is somebody's, or that fails.
    pub async fn may_listen(&self) -> Result<(), Lack> {
        let request = "GET /applications/{app}";
        let path = format!("applications/{}", self.app());
        let answer = self.send(Request::new(request, Method::GET, &path)).await?;
        if answer.status.is_success() {
            let application: Result<Application, _> = answer.json(request);
            let channels = application.map_or(0, |application| application.channel_ids.len());
            return Err(Lack::Taken { channels });
        }
        self.connect().await?;
        Ok(())
    }
}
