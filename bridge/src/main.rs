//! The bridge's program: its option, configuration, signals, exit status.

use std::process::ExitCode;

use bridge::{Bridge, BridgeSettings, check, monitor};
use cloud::aws::{Clients, Patience};
use cloud::settings::{EXIT_USAGE, Environment, Reader};
use cloud::telemetry::{self, LogSettings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "usage: bridge             runs until SIGTERM
       bridge --check     tries all that it needs, says what is missing, and ends
       bridge --version
Its configuration is in the environment.";

#[tokio::main]
async fn main() -> ExitCode {
    let checks = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--check" => true,
        [option] if option == "--version" => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let mut reader = Reader::new(&Environment);
    let log = LogSettings::read(&mut reader);
    let settings = BridgeSettings::read(&mut reader);
    let settings = match reader.finish(settings) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if checks {
        let aws = Clients::load(Patience::BRIDGE).await;
        return match check::run(&settings, &aws, std::io::stdout()).await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) | Err(_) => ExitCode::FAILURE,
        };
    }
    telemetry::start(&log).ok();
    match run(settings).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            tracing::error!("something was cut short at the end of SHUTDOWN_TIMEOUT");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(error = %cloud::error::chain(error.as_ref()), "the bridge cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: BridgeSettings) -> Result<bool, Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let bridge_id = settings.bridge_id.clone();
    let aws = Clients::load(Patience::BRIDGE).await;
    let metrics_address = settings.metrics_address;
    let bridge = Bridge::start(settings, &aws)?;
    let closing = CancellationToken::new();
    if let Some(address) = metrics_address {
        let address = monitor::serve(address, bridge.vitals(), closing.clone()).await?;
        tracing::info!(%bridge_id, %address, "metrics are served");
    }
    tracing::info!(%bridge_id, "the bridge has started");
    // Whoever runs this program starts it again. Until the lease is free, it waits then.
    let lost = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = bridge.lost() => true,
    };
    tracing::info!(%bridge_id, live_calls = bridge.live_calls(), "the bridge is stopping");
    let clean = bridge.stop().await;
    closing.cancel();
    if lost {
        return Err("the lease of this BRIDGE_ID is lost".into());
    }
    Ok(clean)
}
