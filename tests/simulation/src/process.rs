//! A program under test, as the world sees it. Its requests travel, are lost, or arrive late or twice. It
//! can be killed before any request, or after the request's effect and before its answer.
//!
//! What is killed never gets another answer. That is all that the world can tell of a dead program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bridge::processes::Processes;
use cloud::Clock;
use domain::CallId;
use tokio::sync::Notify;

use crate::plan::Service;
use crate::switch::millis;
use crate::world::{State, World};

/// A program under test.
pub struct Process {
    /// Where it runs.
    pub world: Arc<World>,
    /// Which bridge it is; a function is none.
    pub bridge: Option<usize>,
    /// The machine that it runs on, with an Asterisk of its own.
    pub host: usize,
    /// Its name among processes.
    own: String,
    place: String,
    /// How far its clock is from the true time, in milliseconds.
    skew: i64,
    dead: AtomicBool,
    /// Steps until it dies; negative for never.
    fuse: AtomicI64,
    died: Notify,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub struct NoAnswer {
    /// Whether it may have had its effect.
    pub sent: bool,
}

/// What becomes of a request.
enum Fate {
    Answered,
    Slow(Duration),
    Lost,
    Late(Duration),
    AnswerLost,
    NotSent,
    Repeated,
}

impl Process {
    /// Starts one.
    #[must_use]
    pub fn start(world: &Arc<World>, bridge: Option<usize>) -> Arc<Self> {
        Self::start_on(world, bridge, bridge.unwrap_or_default())
    }

    /// Starts one on a certain machine.
    #[must_use]
    pub fn start_on(world: &Arc<World>, bridge: Option<usize>, host: usize) -> Arc<Self> {
        let own = format!("process-{:x}", fastrand::u64(..));
        world.lock().alive.insert(own.clone());
        Arc::new(Self {
            world: Arc::clone(world),
            bridge,
            host,
            own,
            place: format!("host-{host}"),
            skew: match bridge {
                // Somebody has to take the calls.
                Some(1..) if fastrand::u32(..12) == 0 => {
                    let minutes = fastrand::i64(2..=10) * 60_000;
                    if fastrand::bool() { minutes } else { -minutes }
                }
                _ => fastrand::i64(-1_500..=1_500),
            },
            dead: AtomicBool::new(false),
            fuse: AtomicI64::new(-1),
            died: Notify::new(),
        })
    }

    /// Kills it after so many more steps.
    pub fn kill_after(&self, steps: u32) {
        self.fuse.store(i64::from(steps), Ordering::Relaxed);
    }

    /// Kills it.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.world.lock().alive.remove(&self.own);
        self.died.notify_waiters();
    }

    /// Waits until it is dead.
    pub async fn died(&self) {
        let died = self.died.notified();
        if !self.dead.load(Ordering::Relaxed) {
            died.await;
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(self: &Arc<Self>) -> Clock {
        let process = Arc::clone(self);
        Clock::from_fn(move || {
            let now = process.world.now().as_millis() + process.skew;
            domain::Timestamp::from_millis(now)
        })
    }

    /// A moment at which it can die.
    pub async fn step(&self) {
        if self.fuse.load(Ordering::Relaxed) >= 0 && self.fuse.fetch_sub(1, Ordering::Relaxed) == 0
        {
            self.kill();
        }
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Asks a service for something, about a call if it is about one.
    ///
    /// # Errors
    /// [`NoAnswer`], after as long as that takes.
    pub async fn ask<T: Send + 'static>(
        &self,
        service: Service,
        about: Option<CallId>,
        request: impl Fn(&Arc<World>, &mut State) -> T + Send + Sync + 'static,
    ) -> Result<T, NoAnswer> {
        self.step().await;
        let (reaches, fate) = {
            let state = &mut *self.world.lock();
            let reaches = state.reaches(self, service);
            let fate = Fate::draw(state.lossy, service);
            if !reaches || fate.is_trouble() {
                let truth = about.and_then(|id| state.witness.truth(id));
                if let Some(truth) = truth {
                    truth.touched = true;
                }
            }
            (reaches, fate)
        };
        if !reaches {
            let refused = fastrand::bool();
            tokio::time::sleep(if refused {
                millis(1..5)
            } else {
                patience(service)
            })
            .await;
            self.step().await;
            return Err(NoAnswer { sent: !refused });
        }
        tokio::time::sleep(millis(1..12)).await;
        let world = &self.world;
        let answer = match fate {
            Fate::NotSent => {
                self.step().await;
                return Err(NoAnswer { sent: false });
            }
            Fate::Lost => None,
            Fate::Late(late) => {
                let world = Arc::clone(world);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    let state = &mut *world.lock();
                    request(&world, state);
                    if let Some(truth) = about.and_then(|id| state.witness.truth(id)) {
                        truth.late_request = true;
                    }
                });
                None
            }
            Fate::AnswerLost => {
                request(world, &mut world.lock());
                None
            }
            Fate::Repeated => {
                request(world, &mut world.lock());
                tokio::time::sleep(millis(20..200)).await;
                Some(request(world, &mut world.lock()))
            }
            Fate::Slow(delay) => {
                tokio::time::sleep(delay).await;
                Some(request(world, &mut world.lock()))
            }
            Fate::Answered => Some(request(world, &mut world.lock())),
        };
        if answer.is_some() {
            tokio::time::sleep(millis(1..12)).await;
        } else {
            tokio::time::sleep(patience(service)).await;
        }
        self.step().await;
        answer.ok_or(NoAnswer { sent: true })
    }
}

impl Processes for Process {
    fn own(&self) -> &str {
        &self.own
    }

    fn place(&self) -> Option<&str> {
        Some(&self.place)
    }

    fn lives(&self, process: &str) -> bool {
        self.world.lock().alive.contains(process)
    }
}

/// How long an answer is waited for.
const fn patience(service: Service) -> Duration {
    match service {
        Service::Ari | Service::Queue => Duration::from_secs(5),
        Service::Store => Duration::from_secs(3),
    }
}

impl Fate {
    fn draw(lossy: u32, service: Service) -> Self {
        if lossy == 0 || fastrand::u32(..1_000) >= lossy {
            return Self::Answered;
        }
        match fastrand::u32(..6) {
            0 => Self::Slow(millis(100..2_500)),
            1 => Self::Lost,
            2 => Self::Late(millis(100..20_000)),
            3 => Self::AnswerLost,
            // The SDK repeats what was not answered in time.
            4 if service != Service::Ari => Self::Repeated,
            _ => Self::NotSent,
        }
    }

    const fn is_trouble(&self) -> bool {
        !matches!(self, Self::Answered | Self::Repeated)
    }
}
