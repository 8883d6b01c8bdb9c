//! What an Asterisk lacks for the calls that the API will ask for: the release, the trunk, the
//! contexts. `--check` says so, and so does the log after the start.

use domain::endpoint::Trunk;
use domain::{Context, PhoneNumber};

use crate::ari::{AriClient, AriError, Asterisk, EndpointState, releases};
use crate::settings::{ApiDefaults, AriSettings};

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is there.
    Fine(String),
    /// It is missing, or wrong.
    Lacks(String),
    /// It should be known, and does not keep calls from being placed.
    Note(String),
}

/// A number to fill templates with. It is never dialled.
const SAMPLE: &str = "+15550000200";

/// Looks at everything. The application of `client` has to have a socket that is connected.
pub async fn look(client: &AriClient, version: &str, api: &ApiDefaults) -> Vec<Finding> {
    let mut findings: Vec<_> = releases::complaint(version)
        .map(Finding::Note)
        .into_iter()
        .collect();
    if let Err(error) = look_at_endpoint(client, api, &mut findings).await {
        findings.push(Finding::Lacks(format!(
            "DIAL_ENDPOINT: {}",
            cloud::error::chain(&error)
        )));
    }
    if let Err(error) = look_at_target(client, api, &mut findings).await {
        findings.push(Finding::Lacks(format!(
            "DEFAULT_CONTEXT: {}",
            cloud::error::chain(&error)
        )));
    }
    findings
}

async fn look_at_endpoint(
    client: &AriClient,
    api: &ApiDefaults,
    findings: &mut Vec<Finding>,
) -> Result<(), AriError> {
    let Some(template) = &api.endpoint else {
        return Ok(());
    };
    let (Ok(number), Some(context)) = (SAMPLE.parse::<PhoneNumber>(), default_context(api)) else {
        return Ok(());
    };
    let endpoint = template.render(&number, &context);
    if let Some(trunk) = endpoint.trunk() {
        let state = client.endpoint_state(&trunk).await?;
        findings.push(of_trunk(&trunk, state));
        if client.allows_transfer(&trunk).await? == Some(true) {
            findings.push(Finding::Note(format!(
                "DIAL_ENDPOINT {trunk}: allow_transfer is yes, so that a callee can have any number dialled at your cost; set allow_transfer=no in pjsip.conf"
            )));
        }
        return Ok(());
    }
    // Local/EXTENSION@CONTEXT, with options behind another slash.
    let place = endpoint.as_str().split_once('@').map(|(_, place)| place);
    if let Some(context) = place.and_then(|place| place.split('/').next()) {
        let found = client.dialplan_has(&[context]).await?;
        findings.push(of_context("DIAL_ENDPOINT", context, found));
    }
    Ok(())
}

async fn look_at_target(
    client: &AriClient,
    api: &ApiDefaults,
    findings: &mut Vec<Finding>,
) -> Result<(), AriError> {
    let Some(context) = &api.context else {
        return Ok(());
    };
    let extension = api.extension.as_ref().map_or("s", |it| it.as_str());
    let priority = api.priority.map_or(1, domain::Priority::get).to_string();
    let place = [context.as_str(), extension, &priority];
    let name = place.join(",");
    let found = client.dialplan_has(&place).await?;
    findings.push(of_context("DEFAULT_CONTEXT", &name, found));
    Ok(())
}

fn of_trunk(trunk: &Trunk, state: EndpointState) -> Finding {
    match state {
        EndpointState::Online => Finding::Fine(format!("DIAL_ENDPOINT {trunk} is online")),
        EndpointState::Unknown => Finding::Fine(format!("DIAL_ENDPOINT {trunk}")),
        EndpointState::Offline => Finding::Lacks(format!(
            "DIAL_ENDPOINT {trunk} is offline: it answers no OPTIONS, is not registered, or has no aor"
        )),
        EndpointState::Missing => Finding::Lacks(format!(
            "DIAL_ENDPOINT {trunk}: endpoint not found in Asterisk"
        )),
    }
}

fn of_context(setting: &str, place: &str, found: bool) -> Finding {
    if found {
        Finding::Fine(format!("{setting} {place}"))
    } else {
        Finding::Lacks(format!("{setting} {place}: not found in the dialplan"))
    }
}

fn default_context(api: &ApiDefaults) -> Option<Context> {
    api.context.clone().or_else(|| "outbound-ivr".parse().ok())
}

/// Looks once with the application of a bridge that runs, and says in the log what is missing.
pub async fn log_findings(ari: AriSettings, api: ApiDefaults) {
    let Ok(client) = AriClient::without_metrics(ari.into()) else {
        return;
    };
    // A bridge that does not reach Asterisk says so elsewhere.
    let Ok(version) = client.version().await else {
        return;
    };
    for finding in look(&client, &version, &api).await {
        match finding {
            Finding::Fine(what) => tracing::debug!(what, "Asterisk was looked at"),
            Finding::Lacks(what) => {
                tracing::error!(what, "Asterisk lacks something that calls will need");
            }
            Finding::Note(what) => tracing::warn!(what, "Asterisk was looked at"),
        }
    }
}
