//! The watch window: after the commit the process that carried an activation out goes on looking at what it brought
//! up, and goes back if that does not stay well. It holds no lock meanwhile: a person's command comes first.

use super::{
    activate,
    carry::close,
    conduct::LOCK_PATIENCE,
    event::{Event, Observer},
    live::Live,
    outcome::Outcome,
    world::World,
};
use crate::{
    domain::{
        activation::GenerationId,
        journal::watched_until,
        openai::Request,
        order::Order,
        plan::Plan,
        problem::Problem,
        watch::{Judge, Seen},
    },
    host::{event_loop, service::Condition, serving::Api, signals::Interrupt, store::Recorded},
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Tokens of each short completion: enough for a rate, and a second of work at the slowest that is tolerated.
const PROBE_TOKENS: u32 = 8;
/// How long each may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a waiting watcher looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Watches what the activation of this number committed until its window is over. How it ended after all, if it
/// went back.
pub(super) fn watch(
    world: &mut World,
    number: u64,
    order: Order,
    observer: &dyn Observer,
) -> Result<Option<Outcome>, Problem> {
    let plan = world.store.generation(order.to)?.plan;
    let Some(until) = open(world, number, &plan)? else {
        return Ok(None);
    };
    observer.see(Event::Watching { until });
    let restarts = world.keeper.observe(&plan.service).restarts()?;
    let mut judge = Judge::new(plan.gates.min_decode_tokens_per_second, restarts);
    loop {
        pause(&world.interrupt, plan.watch.every);
        if world.interrupt.came() || open(world, number, &plan)?.is_none() {
            return Ok(None);
        }
        let mut services = world.keeper.observe(&plan.service);
        let (restarts, condition) = (services.restarts()?, services.condition()?);
        let api = Api::of(&plan, services.processes()?)?.within(PROBE_PATIENCE);
        drop(services);
        let seen = look(&api, &condition)?;
        observer.see(told(&seen));
        if let Some(why) = judge.take(restarts, seen) {
            return go_back(world, number, order, &plan, why, observer);
        }
    }
}

/// Until when it is watched. Nothing once that is over, or something newer has been ordered: its measurements are
/// not to be disturbed.
fn open(world: &World, number: u64, plan: &Plan) -> Result<Option<jiff::Timestamp>, Problem> {
    if world.store.newest_order()? != Some(number) {
        return Ok(None);
    }
    let Some(last) = world.store.last_activation()?.filter(|last| last.number == number) else {
        return Ok(None);
    };
    Ok(closes(&last, plan).filter(|until| *until > jiff::Timestamp::now()))
}

/// When the window of an activation closes, or has closed.
pub(super) fn closes(recorded: &Recorded, plan: &Plan) -> Option<jiff::Timestamp> {
    watched_until(&recorded.journal, plan.watch.minutes)
}

fn pause(interrupt: &Interrupt, pause: Duration) {
    let began = Instant::now();
    while began.elapsed() < pause && !interrupt.came() {
        sleep(LOOK_EVERY.min(pause));
    }
}

/// One look. What the engine does for others tells a busy one from one that hangs.
fn look(api: &Api, condition: &Condition) -> Result<Seen, Problem> {
    if let Condition::Changing(_) = condition {
        return Ok(Seen::Starting);
    }
    let request = Request::complete("Count: one, two, three,", PROBE_TOKENS).to_the_limit();
    event_loop()?.block_on(async {
        let before = api.load().await;
        let rate = match api.stream(&request).await {
            Ok(streamed) => streamed.sample().decode_tokens_per_second(),
            Err(fault) => {
                let after = api.load().await;
                let generated = before
                    .zip(after)
                    .is_some_and(|(before, after)| after.generated_tokens > before.generated_tokens);
                return Ok(if generated { Seen::Busy } else { Seen::Unanswered(fault.to_string()) });
            }
        };
        let shared = before.is_some_and(|load| load.requests > 0.0);
        Ok(match rate {
            Some(rate) if !shared => Seen::Alone(rate),
            _ => Seen::Busy,
        })
    })
}

fn told(seen: &Seen) -> Event {
    let (tokens_per_second, wrong) = match seen {
        Seen::Alone(rate) => (Some(*rate), None),
        Seen::Busy => (None, None),
        Seen::Unanswered(why) => (None, Some(why.clone())),
        Seen::Starting => (None, Some("its service is being started again".to_owned())),
    };
    Event::Watched { tokens_per_second, wrong }
}

fn go_back(
    world: &mut World,
    number: u64,
    order: Order,
    plan: &Plan,
    why: String,
    observer: &dyn Observer,
) -> Result<Option<Outcome>, Problem> {
    let store = world.store.clone();
    let locked = store.lock(LOCK_PATIENCE, &format!("awqdeploy watch of {}", plan.profile))?;
    // Somebody may have activated something else before the lock was had.
    if open(world, number, plan)?.is_none() {
        return Ok(None);
    }
    let services = world.keeper.command(&plan.service)?;
    let live =
        |number, to: GenerationId| Live::new(&locked, services, observer, Interrupt::default(), number, to);
    let ended =
        activate::withdraw(&locked, why, |number, activation| Ok(live(number, activation.to)), observer)?;
    let Some(ended) = ended else {
        return Ok(None);
    };
    close(world, &locked, &ended, observer)?;
    super::carry::outcome(&store, order, ended).map(Some)
}
