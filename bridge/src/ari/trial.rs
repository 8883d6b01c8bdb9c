//! Tries what a bridge needs of Asterisk, and touches no call.

use domain::CallId;
use domain::endpoint::Trunk;
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

    /// Whether Asterisk lets who is called over a SIP trunk transfer the call to any number
    /// (`allow_transfer`); none if it does not say.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk gives no answer.
    pub async fn allows_transfer(&self, trunk: &Trunk) -> Result<Option<bool>, AriError> {
        #[derive(Deserialize)]
        struct Attribute {
            attribute: String,
            value: String,
        }
        if trunk.technology != "PJSIP" {
            return Ok(None);
        }
        let request = "GET /asterisk/config/dynamic/{class}/{type}/{id}";
        let resource = &trunk.resource;
        let path = format!("asterisk/config/dynamic/res_pjsip/endpoint/{resource}");
        let answer = self.send(Request::new(request, Method::GET, &path)).await?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        let attributes: Vec<Attribute> = answer.json(request)?;
        let found = attributes
            .iter()
            .find(|it| it.attribute == "allow_transfer");
        Ok(found.map(|it| it.value == "true"))
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

    /// Whether the application has a socket already, or live channels.
    ///
    /// # Errors
    /// [`Lack::Ari`] if Asterisk does not say.
    pub async fn app_is_in_use(&self) -> Result<bool, Lack> {
        let request = "GET /applications/{app}";
        let path = format!("applications/{}", self.app());
        let answer = self.send(Request::new(request, Method::GET, &path)).await?;
        Ok(answer.status.is_success())
    }
}
