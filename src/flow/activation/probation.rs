//! The probation: after the commit the worker goes on looking at the new server, and rolls back if it does
//! not stay well. It holds no lock meanwhile: a person's command comes first.

use super::{
    driver,
    ending::{self, close},
    outcome::Outcome,
    steps::Live,
};
use crate::{
    domain::{
        activation::{
            journal::watch_left,
            machine::{Activation, End},
            request::ActivationRequest,
        },
        api::openai::{ApiError, Request},
        planning::plan::Plan,
        problem::Problem,
        validation::{
            probation::{Look, Probation},
            users::{Counts, Served},
        },
    },
    flow::{context::Context, event::Event, lock_wait},
    host::{
        event_loop,
        machine::uptime,
        os::{signals::Interrupt, watchdog},
        process::owned::OwnedProcesses,
        store::Recorded,
        systemd::{service::Condition, transient_unit},
        vllm::api::Api,
    },
};
use std::time::{Duration, Instant};

/// Tokens of each short completion: enough for a rate, and a second of work at the slowest tolerated rate.
const PROBE_TOKENS: u32 = 8;
/// Looks in a row at a busy server after which it is asked all the same.
const BUSY_LOOKS: u32 = 3;
/// Tokens that others may have had during a short completion, for its rate to be its own.
const FEW_TOKENS: f64 = 2.0;
/// The longest that each may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// How often a waiting probation checks whether it should go on.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Watches what the activation of this number committed until its probation is over. Returns the end, if it
/// was rolled back.
pub(crate) fn watch(
    context: &mut Context,
    number: u64,
    order: ActivationRequest,
) -> Result<Option<Outcome>, Problem> {
    let plan = context.store.generation(order.to)?.plan;
    let Some(left) = left(&context.store.activation(number)?, &plan).filter(|_| is_wanted(context, number))
    else {
        return Ok(None);
    };
    let closes = uptime::seconds() + left.as_secs_f64();
    context.tell(Event::Watching { until: until(left) });
    let mut judge: Option<Probation> = None;
    let mut looks = Looks::default();
    let mut restarts = 0;
    loop {
        pause(&context.interrupt, plan.watch.every);
        if uptime::seconds() >= closes || !is_wanted(context, number) {
            return Ok(None);
        }
        if is_measured(context, number, &plan.service) {
            continue;
        }
        let asked = ask(context, &plan.service);
        if let Ok(Asked { restarts: known, .. }) = &asked {
            restarts = *known;
        }
        let (seen, text) = look(&plan, asked, &mut looks);
        for seen in &seen {
            context.tell(told(seen));
        }
        let known =
            judge.get_or_insert_with(|| Probation::new(plan.gates.min_decode_tokens_per_second, restarts));
        let found = seen.into_iter().find_map(|seen| known.take(restarts, seen));
        if let Some(why) = found.or_else(|| known.hear(&text?)) {
            if let Some(outcome) = go_back(context, number, order, &plan, why)? {
                return Ok(Some(outcome));
            }
            // If the probation goes on, somebody stopped the service: what comes after that is judged anew.
            judge = None;
        }
    }
}

/// Whether the probation should go on. It should not after a newer activation has begun, or after a rollback.
/// Records that cannot be read now are read at the next look.
fn is_wanted(context: &Context, number: u64) -> bool {
    let last = context.store.last_activation();
    let ours = |last: Option<Recorded>| {
        last.is_some_and(|last| {
            last.number == number && last.last().and_then(Activation::end) == Some(&End::Committed)
        })
    };
    !context.interrupt.is_to_leave() && last.map_or(true, ours)
}

/// Whether a newer activation, which was requested and has not begun, is at work: its measurements must not
/// be disturbed. A refused one does not count.
fn is_measured(context: &Context, number: u64, service: &str) -> bool {
    let newer = context.store.newest_order().ok().flatten().filter(|newest| *newest > number);
    newer.is_some_and(|newer| {
        transient_unit::runs(service, newer, context.layout().scope()).unwrap_or_default()
    })
}

/// The remaining time of an activation's probation.
fn left(recorded: &Recorded, plan: &Plan) -> Option<Duration> {
    watch_left(&recorded.journal, plan.watch.minutes, &uptime::now())
}

fn until(left: Duration) -> jiff::Timestamp {
    jiff::Timestamp::now().checked_add(left).unwrap_or(jiff::Timestamp::MAX)
}

/// When the probation of an activation ends, if it goes on, by the clock as it goes now.
pub(crate) fn closes(recorded: &Recorded, plan: &Plan) -> Option<jiff::Timestamp> {
    left(recorded, plan).map(until)
}

fn pause(interrupt: &Interrupt, pause: Duration) {
    let began = Instant::now();
    while began.elapsed() < pause && !interrupt.is_to_leave() {
        watchdog::pause(LOOK_EVERY.min(pause));
    }
}

/// The answers of the service manager about the service.
struct Asked {
    /// The number of its restarts.
    restarts: u32,
    /// The condition of the service.
    condition: Condition,
    /// The processes of the service.
    whose: OwnedProcesses,
}

fn ask(context: &mut Context, service: &str) -> Result<Asked, Problem> {
    let mut services = context.service_manager.observe(service);
    Ok(Asked {
        restarts: services.restarts()?,
        condition: services.condition()?,
        whose: services.processes()?,
    })
}

/// The memory from look to look.
#[derive(Default)]
struct Looks {
    /// The engine's counts at the last look, and when that was.
    last: Option<(Counts, Instant)>,
    /// Looks in a row at which it was busy, and was not asked.
    busy: u32,
    /// Short completions so far: each is another, so that none is answered from a cache.
    asked: u32,
}

/// The sights of one look, and the text of the short completion if there was one.
type Seen = (Vec<Look>, Option<String>);

/// Looks at the server once. What the engine does for others tells a busy one from a hung one. Where the service manager gives no
/// answer, the server is not asked: it is not known whose answer would come, and somebody may have stopped the service. Nor is it
/// without its key, which a person may have moved: the next look reads that anew.
fn look(plan: &Plan, asked: Result<Asked, Problem>, looks: &mut Looks) -> Seen {
    let only = |seen: Look| (vec![seen], None);
    let whose = match asked {
        Ok(Asked { condition, .. }) if condition.is_stopped() => return only(Look::Stopped),
        Ok(Asked { condition: Condition::Changing(_), .. }) => return only(Look::Starting),
        Ok(Asked { whose, .. }) => whose,
        Err(problem) => return only(Look::Nothing(problem.in_one_line())),
    };
    let max_ttft = plan.watch.max_ttft.map(|longest| longest.as_secs_f64());
    let seen = Api::of(plan, whose).and_then(|api| {
        let api = api.within(PROBE_PATIENCE);
        Ok(event_loop()?.block_on(probe(&api, looks, max_ttft)))
    });
    seen.unwrap_or_else(|problem| only(Look::Nothing(problem.in_one_line())))
}

/// Judges a busy server by what its users get, who may wait for their first token for `max_ttft` seconds; asks an idle one, and
/// one that was busy for long. Users who came and went between two looks count, too.
async fn probe(api: &Api, looks: &mut Looks, max_ttft: Option<f64>) -> Seen {
    let before = api.counts().await;
    let earlier = std::mem::replace(&mut looks.last, before.clone().map(|counts| (counts, Instant::now())));
    let served = before.as_ref().zip(earlier).and_then(|(now, (earlier, at))| {
        let late = max_ttft.map_or(0.0, |longest| now.late_since(&earlier, longest));
        Some(Served { late, ..now.since(&earlier, at.elapsed().as_secs_f64())? })
    });
    let busy = before.as_ref().is_some_and(|counts| counts.requests() > 0.0);
    if busy && looks.busy < BUSY_LOOKS {
        looks.busy += 1;
        return (vec![Look::Users(served.unwrap_or_default())], None);
    }
    looks.busy = 0;
    looks.asked += 1;
    // Its own completion tells the rate of an idle server better than what users had.
    let passed = served.filter(|served| !busy && served.finished + served.started > 0.0);
    let mut seen: Vec<Look> =
        passed.map(|served| Look::Users(Served { rate: None, ..served })).into_iter().collect();
    let (own, text) = ask_it(api, looks, before.as_ref(), served.filter(|_| busy)).await;
    seen.push(own);
    (seen, text)
}

/// Asks the server for a short completion. `busy` is what its users get, where it has any now.
async fn ask_it(
    api: &Api,
    looks: &mut Looks,
    before: Option<&Counts>,
    busy: Option<Served>,
) -> (Look, Option<String>) {
    let request =
        Request::complete(format!("Count from {0}: {0},", looks.asked), PROBE_TOKENS).to_the_limit();
    let answer = api.stream(&request).await;
    let after = api.counts().await;
    let generated = before.zip(after.as_ref()).map(|(before, after)| after.generated_since(before));
    let still = |counts: Option<&Counts>| counts.is_some_and(|counts| counts.requests() == 0.0);
    let few = generated.is_some_and(|generated| generated <= f64::from(PROBE_TOKENS) + FEW_TOKENS);
    let alone = still(before) && still(after.as_ref()) && few;
    let busy = busy.or_else(|| before.filter(|counts| counts.requests() > 0.0).map(|_| Served::default()));
    looks.last = after.map(|counts| (counts, Instant::now()));
    match (answer, busy) {
        (Ok(streamed), _) => {
            let rate = streamed.sample().decode_tokens_per_second();
            let seen = rate.filter(|_| alone).map_or(Look::Busy, Look::Alone);
            (seen, Some(streamed.answer.text))
        }
        // A request may have to wait for its turn behind others: that it was made while they were served is no fault.
        (Err(ApiError::Late { .. }), Some(served))
            if generated.is_some_and(|generated| generated > f64::from(PROBE_TOKENS)) =>
        {
            (Look::Users(served), None)
        }
        (Err(fault), _) => (Look::Unanswered(fault.to_string()), None),
    }
}

fn told(seen: &Look) -> Event {
    let wrong = match seen {
        Look::Users(served) if served.stuck > 0.0 => {
            Some(format!("{:.0} requests of its users make no progress", served.stuck))
        }
        Look::Users(served) if served.fails() => {
            Some(format!("{:.0} of {:.0} requests of its users failed", served.failed, served.finished))
        }
        Look::Unanswered(why) => Some(why.clone()),
        Look::Starting => Some("its service is being started again".to_owned()),
        Look::Stopped => Some("somebody stopped its service".to_owned()),
        Look::Nothing(why) => Some(format!("nobody could be asked: {why}")),
        Look::Alone(_) | Look::Busy | Look::Users(_) => None,
    };
    let (tokens_per_second, ttft) = match seen {
        Look::Alone(rate) => (Some(*rate), None),
        Look::Users(served) if wrong.is_none() => (served.rate, served.ttft),
        _ => (None, None),
    };
    Event::Watched { tokens_per_second, ttft_ms: ttft.map(|seconds| seconds * 1000.0), wrong }
}

fn go_back(
    context: &mut Context,
    number: u64,
    order: ActivationRequest,
    plan: &Plan,
    why: String,
) -> Result<Option<Outcome>, Problem> {
    let store = context.store.clone();
    let command = format!("awqdeploy watch of {}", plan.profile);
    let wanted = |context: &Context| is_wanted(context, number);
    let root = |_: &mut Context| store.writer(Duration::ZERO, &command);
    let Some(writer) = lock_wait::take(context, root, wanted)? else { return Ok(None) };
    // All roots share the GPUs.
    let host = |context: &mut Context| context.service_manager.alone(store.layout().root(), &command);
    let Some(_alone) = lock_wait::take(context, host, wanted)? else { return Ok(None) };
    // Meanwhile somebody may have activated something else, or stopped the service.
    if !is_wanted(context, number)
        || ask(context, &plan.service).is_ok_and(|asked| asked.condition.is_stopped())
    {
        return Ok(None);
    }
    let services = context.service_manager.command(&plan.service)?;
    let live = |number, activation: &Activation| {
        Ok(Live::new(&writer, services, &*context.observer, Interrupt::default(), number, activation.clone()))
    };
    let Some(ended) = driver::withdraw(&writer, why, live, &*context.observer)? else {
        context.tell(Event::Warning(
            "it did not stay well, and nothing else is proven: it is left alone".to_owned(),
        ));
        return Ok(None);
    };
    close(context, &writer, &ended)?;
    ending::outcome(&store, order, ended).map(Some)
}
