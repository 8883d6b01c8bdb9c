//! Channels come into being.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commands::MAX_COMMANDS;
use super::variables::is_function;
use super::{Entry, Inner, Refusal, Stage, Switch};
use crate::endpoint::{self, Endpoint, Unusable};
use crate::events::{Channel, timestamp};

/// Between a create and its `StasisStart`.
const STASIS_START_AFTER: Duration = Duration::from_millis(2);

/// What a request to create a channel says.
pub struct Create {
    pub id: String,
    pub endpoint: String,
    pub app: String,
    pub app_args: String,
    pub variables: HashMap<String, String>,
}

impl Create {
    fn variable(&self, name: &str) -> String {
        self.variables.get(name).cloned().unwrap_or_default()
    }
}

impl Switch {
    /// Creates a channel, and returns it as ARI shows it.
    ///
    /// # Errors
    /// [`Refusal`], with the answers and the order of a real Asterisk's checks.
    pub fn create(self: &Arc<Self>, create: Create) -> Result<Value, Refusal> {
        let endpoint = endpoint::parse(&create.endpoint).map_err(|unusable| match unusable {
            Unusable::Empty => Refusal::NoEndpoint,
            Unusable::Malformed => Refusal::InvalidEndpoint,
            Unusable::UnknownTechnology => Refusal::AllocationFailed,
        })?;
        let mut inner = self.lock();
        if !inner.faults.allow_create(&endpoint) {
            return Err(Refusal::AllocationFailed);
        }
        if inner.channels.contains_key(&create.id) {
            return Err(Refusal::Exists);
        }
        let destination = create
            .endpoint
            .split_once('/')
            .map_or("", |(_, resource)| resource)
            .to_owned();
        let channel = self.new_channel(&create, &endpoint, &destination);
        let shown = channel.json();
        // With nobody listening the channel is gone at once.
        if !inner.apps.contains_key(&create.app) {
            return Ok(shown);
        }
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let over = CancellationToken::new();
        let entry = Entry {
            channel,
            app: create.app,
            app_args: create.app_args,
            stage: Stage::Starting,
            endpoint,
            destination,
            was_dialled: false,
            variables: HashMap::new(),
            limit: None,
            commands,
            over: over.clone(),
        };
        inner.channels.insert(create.id.clone(), entry);
        drop(inner);
        for (name, value) in &create.variables {
            self.set_now(&create.id, name, value);
        }
        let (switch, id) = (Arc::clone(self), create.id);
        tokio::spawn(async move {
            let living = async {
                tokio::time::sleep(STASIS_START_AFTER).await;
                switch.lock().start_stasis(&id);
                switch.obey(&id, received).await;
            };
            tokio::select! {
                () = over.cancelled() => {}
                () = living => {}
            }
        });
        Ok(shown)
    }

    fn new_channel(&self, create: &Create, endpoint: &Endpoint, destination: &str) -> Channel {
        let number = self.next_name();
        let (context, extension, name) = match endpoint {
            Endpoint::Trunk { trunk, .. } => (
                "from-trunk".to_owned(),
                "s".to_owned(),
                format!("PJSIP/{trunk}-{number:08x}"),
            ),
            Endpoint::Local {
                number: extension,
                context,
                ..
            } => {
                let place = destination
                    .split_once('/')
                    .map_or(destination, |(place, _)| place);
                let name = format!("Local/{place}-{number:08x};1");
                (context.clone(), extension.clone(), name)
            }
        };
        Channel {
            id: create.id.clone(),
            name,
            state: "Down",
            caller_number: create.variable("CALLERID(num)"),
            caller_name: create.variable("CALLERID(name)"),
            context,
            extension,
            app_name: "",
            app_data: String::new(),
            created: timestamp(),
        }
    }
}

impl Inner {
    /// Gives a new channel to its application.
    pub fn start_stasis(&mut self, id: &str) {
        let Some(entry) = self.channels.get_mut(id) else {
            return;
        };
        entry.stage = Stage::Stasis;
        entry.channel.app_name = "Stasis";
        entry.channel.app_data = format!("{},{}", entry.app, entry.app_args);
        let args: Vec<_> = entry.app_args.split(',').collect();
        let start = json!({"args": args});
        let variables: Vec<_> = entry
            .variables
            .iter()
            .filter(|(name, _)| !is_function(name))
            .map(|(name, value)| json!({"variable": name, "value": value}))
            .collect();
        for variable in variables {
            self.emit(id, "ChannelVarset", variable);
        }
        self.emit(id, "ChannelDialplan", json!({"dialplan_app": "Stasis"}));
        let status = json!({"variable": "STASISSTATUS", "value": ""});
        self.emit(id, "ChannelVarset", status);
        self.emit(id, "StasisStart", start);
    }
}
