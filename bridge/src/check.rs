//! `bridge --check`: tries everything that the bridge needs and says, a line each, what is there and what is missing.

use std::fmt::Display;
use std::io::{self, Write};

use cloud::aws::Clients;
use cloud::trial::{self, NameInUse};
use cloud::{clock, heartbeats};

use crate::BridgeSettings;
use crate::ari::trial::Lack;
use crate::ari::{AriClient, AriError, Asterisk};
use crate::heart::MOST_AHEAD_MS;
use crate::processes::ThisProcess;
use crate::suitability::{self, Finding};

/// The lines written so far.
struct Report<W> {
    to: W,
    lacks: usize,
}

impl<W: Write> Report<W> {
    fn line<E: Display>(&mut self, what: &str, tried: Result<(), E>) -> io::Result<()> {
        match tried {
            Ok(()) => writeln!(self.to, "ok       {what}"),
            Err(lack) => {
                self.lacks += 1;
                // One line, whatever the error is made of.
                let lack = lack.to_string().replace(['\n', '\r'], " ");
                writeln!(self.to, "MISSING  {what}: {lack}")
            }
        }
    }
}

/// Tries everything, and writes a line on each. Whether nothing is missing.
///
/// # Errors
/// If the lines cannot be written.
pub async fn run(settings: &BridgeSettings, aws: &Clients, to: impl Write) -> io::Result<bool> {
    let mut report = Report { to, lacks: 0 };
    check_asterisk(settings, &mut report).await?;
    let bridge = &settings.bridge_id;
    let (calls, state) = (&settings.calls_table, &settings.state_table);
    let tried = trial::calls_table(aws, calls, bridge).await;
    report.line(&format!("CALLS_TABLE {calls}"), tried)?;
    let tried = trial::state_table(aws, state, bridge).await;
    report.line(&format!("STATE_TABLE {state}"), tried)?;
    check_name(settings, aws, &mut report).await?;
    if let Some(ahead) = trial::clock(aws, state).await {
        let seconds = ahead / 1_000;
        let judged = if ahead.unsigned_abs() > MOST_AHEAD_MS {
            Err("a bridge whose clock is so wrong takes no calls; have it set by NTP")
        } else {
            Ok(())
        };
        report.line(&format!("clock, {seconds} s ahead of AWS's"), judged)?;
    }
    let queue = &settings.calls_queue_url;
    let tried = trial::queue(aws, queue, true).await;
    report.line(&format!("CALLS_QUEUE_URL {queue}"), tried)?;
    if settings.allowed_numbers.are_all() {
        writeln!(
            report.to,
            "note     ALLOWED_NUMBERS is not set: every number may be called"
        )?;
    }
    match &settings.control_queue_url {
        Some(queue) => {
            let tried = trial::queue(aws, queue, false).await;
            report.line(&format!("CONTROL_QUEUE_URL {queue}"), tried)?;
        }
        None => writeln!(
            report.to,
            "note     CONTROL_QUEUE_URL is not set: calls cannot be hung up over the API"
        )?,
    }
    Ok(report.lacks == 0)
}

/// Whether another process, or another Asterisk, has the name of this bridge.
async fn check_name<W: Write>(
    settings: &BridgeSettings,
    aws: &Clients,
    report: &mut Report<W>,
) -> io::Result<()> {
    let name = &settings.bridge_id;
    let Some(NameInUse { lease, at }) = trial::name_in_use(aws, &settings.state_table, name).await
    else {
        return Ok(());
    };
    let ours = match AriClient::without_metrics(settings.ari.clone().into()) {
        Ok(client) => client.entity_id().await.ok().flatten(),
        Err(_) => None,
    };
    let is_other = matches!((&lease.asterisk, &ours), (Some(theirs), Some(ours)) if theirs != ours);
    let is_alive = lease.holder.is_some()
        && at.is_some_and(|at| clock::now().since(at) <= heartbeats::GONE_AFTER);
    let processes = ThisProcess::show(settings.boot_id.as_deref());
    let is_here = lease.place.is_some() && lease.place.as_deref() == processes.place();
    let what = format!("BRIDGE_ID {name}");
    match (is_alive, is_other) {
        (true, true) => report.line(
            &what,
            Err("a bridge of this name works with another Asterisk: each Asterisk needs a BRIDGE_ID of its own"),
        ),
        (true, false) if is_here => {
            writeln!(report.to, "note     {what} is in use: this bridge runs on this machine")
        }
        (true, false) => writeln!(
            report.to,
            "note     {what} is in use: a bridge of this name runs on another machine. This one takes no \
             calls until that one has stopped"
        ),
        (false, true) => writeln!(
            report.to,
            "note     {what} was last used with another Asterisk: this bridge takes no calls until the \
             deadlines of the calls there are past"
        ),
        (false, false) => report.line::<AriError>(&what, Ok(())),
    }
}

async fn check_asterisk<W: Write>(
    settings: &BridgeSettings,
    report: &mut Report<W>,
) -> io::Result<()> {
    let ari = &settings.ari;
    let at = format!("Asterisk at {}", ari.url);
    let client = match AriClient::without_metrics(ari.clone().into()) {
        Ok(client) => client,
        Err(error) => return report.line(&at, Err(cloud::error::chain(&error))),
    };
    let version = match client.version().await {
        Ok(version) => version,
        // Nothing else can be tried.
        Err(lack) => return report.line(&at, Err(lack)),
    };
    report.line::<AriError>(&format!("{at}, release {version}"), Ok(()))?;
    let tried = client.may_make_calls().await;
    report.line(&format!("ARI_USERNAME {}", ari.username), tried)?;
    check_application(&client, settings, &version, report).await
}

/// Listens with an application of its own, because `ARI_APP` has one listener at a time.
async fn check_application<W: Write>(
    client: &AriClient,
    settings: &BridgeSettings,
    version: &str,
    report: &mut Report<W>,
) -> io::Result<()> {
    let app = &settings.ari.app;
    match client.app_is_in_use().await {
        Ok(true) => writeln!(
            report.to,
            "note     ARI_APP {app} is in use: this bridge runs, or has left live channels in it. \
             Two bridges need two names"
        )?,
        Ok(false) => {}
        Err(lack) => return report.line(&format!("ARI_APP {app}"), Err(lack)),
    }
    let mut ari = settings.ari.clone();
    ari.app.push_str(".check");
    let client = match AriClient::without_metrics(ari.into()) {
        Ok(client) => client,
        Err(error) => {
            return report.line(&format!("ARI_APP {app}"), Err(cloud::error::chain(&error)));
        }
    };
    // It stays open while the dialplan is asked.
    let socket = client.connect().await.map_err(Lack::from);
    let listens = socket.as_ref().map(|_| ());
    report.line(&format!("ARI_APP {app}"), listens)?;
    if socket.is_err() {
        return Ok(());
    }
    if settings.api.endpoint.is_none() || settings.api.context.is_none() {
        writeln!(
            report.to,
            "note     DIAL_ENDPOINT, DEFAULT_CONTEXT, DEFAULT_EXTENSION and DEFAULT_PRIORITY are not \
             all set: what the API dials is not looked at. The stack's outputs name them"
        )?;
    }
    for finding in suitability::look(&client, version, &settings.api).await {
        match finding {
            Finding::Fine(what) => report.line::<AriError>(&what, Ok(()))?,
            Finding::Note(what) => writeln!(report.to, "note     {what}")?,
            Finding::Lacks(what) => {
                report.lacks += 1;
                writeln!(report.to, "MISSING  {}", what.replace(['\n', '\r'], " "))?;
            }
        }
    }
    Ok(())
}
