//! The calls: placed at a steady rate, some hung up by the client, some with their message sent twice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::Client;
use e2e::callees::MIX;
use e2e::world::{SECRET_KEY, jwt, number};
use fastrand::Rng;
use functions::jwt::Scope;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::site::Site;

/// The time from one call to the next: five a second.
const PACE: Duration = Duration::from_millis(200);
/// Requests for a call under way at once; the next waits.
const AT_ONCE: usize = 64;

/// What the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202: there will be a call.
    Accepted,
    /// 503: there will be none.
    Refused,
    /// Anything else, or nothing: it cannot be told.
    Unclear,
}

/// A call that was asked for.
#[derive(Clone, Debug)]
pub struct Placed {
    pub number: String,
    /// What its callee stands for.
    pub status: &'static str,
    pub answer: Answer,
    /// Known if it was accepted.
    pub id: Option<String>,
    /// The client asked for its end.
    pub hung_up: bool,
}

/// What is drawn for a call.
struct Wish {
    number: String,
    status: &'static str,
    body: Value,
    /// When the client hangs up.
    hang_up_after: Option<Duration>,
    /// When its message is sent once more.
    again_after: Option<Duration>,
}

impl Wish {
    fn draw(random: &mut Rng) -> Self {
        let (digits, status) = MIX[random.usize(..MIX.len())];
        let mut body = json!({"timeout": random.u32(2_000..5_000)});
        if random.u8(..10) == 0 {
            body["media"] = json!(["digits:42"]);
        }
        let mut sometimes = |percent: u8, most: u64| {
            let (drawn, after) = (random.u8(..100), random.u64(..most));
            (drawn < percent).then(|| Duration::from_millis(after))
        };
        Self {
            number: number(digits),
            status,
            body,
            hang_up_after: sometimes(10, 2_000),
            again_after: sometimes(5, 10_000),
        }
    }
}

/// The calls that were asked for.
pub struct Load {
    api: Mutex<Client>,
    placed: Mutex<Vec<Placed>>,
    at_once: Arc<Semaphore>,
}

impl Load {
    pub fn new(site: &Site) -> Self {
        Self {
            api: Mutex::new(site.api.clone()),
            placed: Mutex::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    pub fn placed(&self) -> Vec<Placed> {
        self.placed.lock().expect("no panic").clone()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.placed.lock().expect("no panic").len()
    }

    /// Places calls until then, and waits for the last answer.
    pub async fn run(self: &Arc<Self>, site: &Arc<Site>, mut random: Rng, until: Instant) {
        let mut calls = JoinSet::new();
        let mut next = Instant::now();
        let mut renewed = Instant::now();
        while Instant::now() < until {
            if renewed.elapsed() > Duration::from_mins(10) {
                self.renew_token(site);
                renewed = Instant::now();
            }
            let wish = Wish::draw(&mut random);
            let slot = Arc::clone(&self.at_once).acquire_owned().await;
            let (load, site) = (Arc::clone(self), Arc::clone(site));
            calls.spawn(async move {
                let again_after = wish.again_after;
                let id = load.place(wish).await;
                drop(slot);
                if let (Some(id), Some(after)) = (id, again_after) {
                    sleep(after).await;
                    site.send_again(&id).await;
                }
            });
            while calls.try_join_next().is_some() {}
            next += PACE;
            sleep_until(next).await;
        }
        while let Some(call) = calls.join_next().await {
            call.expect("no panic");
        }
    }

    fn renew_token(&self, site: &Site) {
        let now = cloud::clock::now();
        let token = jwt(SECRET_KEY).issue("e2e", &Scope::ALL, now);
        let client = site.api.with_token(token.expect("a token"));
        *self.api.lock().expect("no panic") = client;
    }

    /// Places a call and hangs it up if it is to be; its id, if it was accepted.
    async fn place(&self, wish: Wish) -> Option<String> {
        let api = self.api.lock().expect("no panic").clone();
        let answer = api.place_if_answered(&wish.number, wish.body).await;
        let (answer, id) = match answer {
            Some((202, body)) => {
                let id = body["call_id"].as_str().expect("a call_id").to_owned();
                (Answer::Accepted, Some(id))
            }
            Some((503, _)) => (Answer::Refused, None),
            Some((500 | 504, _)) | None => (Answer::Unclear, None),
            Some(other) => panic!("no answer to a good request: {other:?}"),
        };
        let hang_up_after = wish.hang_up_after.filter(|_| id.is_some());
        self.placed.lock().expect("no panic").push(Placed {
            number: wish.number,
            status: wish.status,
            answer,
            id: id.clone(),
            hung_up: hang_up_after.is_some(),
        });
        if let (Some(id), Some(after)) = (&id, hang_up_after) {
            sleep(after).await;
            // Whatever is answered: it may be over, and the network may be down.
            let path = format!("/api/v2/calls/{id}/hangup");
            let _ = api.request(Method::POST, &path).send().await;
        }
        id
    }
}
