//! Looks who else uses a server while it is measured.

use crate::{
    domain::{
        api::openai::Load,
        measure::{Others, Sample},
    },
    host::vllm::api::Api,
};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How often a wait for a quiet server looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// When the first look during a request is, and each after it: seldom, since it costs the server a little.
const DURING: Duration = Duration::from_secs(2);
/// How long a server may take to count a request that has ended.
const LAG: Duration = Duration::from_millis(100);

/// The longest wait for the metrics, which do no work.
const METRICS_WAIT: Duration = Duration::from_secs(5);

/// The time that is left to wait for a server that nobody else uses, and to measure anew what others disturbed.
pub(super) struct Patience {
    left: Duration,
    /// A server that did not tell its load once is not asked again.
    tells: bool,
}

impl Patience {
    pub(super) const fn of(time: Duration) -> Self {
        Self { left: time, tells: true }
    }

    /// Whether there is time left.
    pub(super) fn is_left(&self) -> bool {
        !self.left.is_zero()
    }

    /// Takes off what was spent.
    pub(super) fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// Waits until nobody uses the server, as long as there is time. Returns its load; nothing where it does not tell.
    pub(super) async fn quiet(&mut self, api: &Api) -> Option<Load> {
        while self.tells {
            let began = Instant::now();
            let Some(load) = load(api).await else {
                self.tells = false;
                break;
            };
            if load.requests == 0.0 || !self.is_left() {
                return Some(load);
            }
            sleep(LOOK_EVERY).await;
            self.spend(began.elapsed());
        }
        None
    }
}

async fn load(api: &Api) -> Option<Load> {
    api.clone().within(METRICS_WAIT).load().await
}

/// The greatest load at some looks while a request of ours runs.
#[derive(Default)]
pub(super) struct During(Cell<f64>);

impl During {
    /// Looks now and then, without an end.
    pub(super) async fn look(&self, api: &Api) {
        loop {
            sleep(DURING).await;
            if let Some(load) = load(api).await {
                // Ours is one of them.
                self.0.set(self.0.get().max(load.requests - 1.0));
            }
        }
    }

    /// The use that others made of the server until a request was cut short. An engine goes on with it for a while, so that no look
    /// afterwards tells whose work it is.
    pub(super) fn others_so_far(self, before: Load) -> Others {
        Others { requests: before.requests.max(self.0.get()), tokens: 0.0, prompt_tokens: 0.0 }
    }

    /// The use that others made of the server, by its load before a request and now that it has ended.
    pub(super) async fn others(self, api: &Api, before: Load, ours: &Sample) -> Option<Others> {
        let mut after = load(api).await?;
        if after.requests > 0.0 {
            sleep(LAG).await;
            after = load(api).await?;
        }
        let beyond = |after: f64, before: f64, ours: u32| (after - before - f64::from(ours)).max(0.0);
        Some(Others {
            requests: before.requests.max(self.0.get()).max(after.requests),
            tokens: beyond(after.generated_tokens, before.generated_tokens, ours.tokens),
            prompt_tokens: beyond(after.prompt_tokens, before.prompt_tokens, ours.prompt_tokens),
        })
    }
}
