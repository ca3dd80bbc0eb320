//! Asks every probe, and checks what only several requests together show.

use super::{Validation, connections};
use crate::{
    domain::{
        conformance::{Ask, Known, Need, Probe, Rule, Violation, probes},
        validation::{gibberish::one_character, report::CheckOutcome},
        vllm::arguments::Arguments,
    },
    host::vllm::api::Api,
};
use std::time::{Duration, Instant};

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Enough,
}

impl Validation<'_> {
    /// Runs all checks that need no gate. Returns what was learned on the way.
    pub(super) async fn conformance(&mut self) -> Known {
        let mut known = Known::of(self.api.model());
        if self.begin(&mut known).await == Next::Enough {
            return known;
        }
        for probe in probes() {
            if self.ask(probe, &mut known).await == Next::Enough {
                return known;
            }
        }
        if self.connections(&known).await == Next::Enough {
            return known;
        }
        self.same_shapes(&known);
        let began = Instant::now();
        let varies = one_character(&known.texts).map_or(Ok(()), |said| {
            Err(Violation::Wrong(format!(
                "every one of {} answers is `{said}` over and over",
                known.texts.len()
            )))
        });
        self.conclude("text-varies", Need::Everyone, began.elapsed(), varies, &known);
        let began = Instant::now();
        let alive = alive(self.api).await;
        // Where there is no such endpoint, its first check has said so.
        if !self.skipped("health") {
            self.conclude("health-after", Need::Everyone, began.elapsed(), alive, &known);
        }
        known
    }

    async fn begin(&mut self, known: &mut Known) -> Next {
        let began = Instant::now();
        known.vllm = self.subject.argv.is_some();
        known.statistics = self.subject.argv.map(keeps_statistics);
        let health = match alive(self.api).await {
            Err(Violation::Wrong(why)) if !known.vllm && why.contains("404") => {
                Err(Violation::NotOffered(why))
            }
            health => health,
        };
        if self.conclude("health", Need::Essential, began.elapsed(), health, known) == Next::Enough {
            return Next::Enough;
        }
        let began = Instant::now();
        let models = match self.api.models().await {
            Ok(models) => {
                known.learn_models(&models);
                self.right_model(&models)
            }
            Err(fault) => Err(fault.into()),
        };
        known.vllm |= self.subject.argv.is_some();
        self.conclude("models", Need::Essential, began.elapsed(), models, known)
    }

    async fn ask(&mut self, probe: &Probe, known: &mut Known) -> Next {
        let Some((first, rest)) = probe.rules.split_first() else {
            return Next::GoOn;
        };
        let began = Instant::now();
        let ask = (probe.ask)(known);
        if let Ask::Skip(why) = ask {
            let violation = Err(Violation::NotOffered(why.to_owned()));
            return self.conclude(first.name, Need::WhereOffered, began.elapsed(), violation, known);
        }
        let exchange = match self.api.exchange(probe.path, ask).await {
            Ok(exchange) => exchange,
            Err(fault) => {
                return self.conclude(first.name, first.need, began.elapsed(), Err(fault.into()), known);
            }
        };
        let took = began.elapsed();
        let result = (first.look)(&exchange, known);
        let good = result.is_ok();
        for answer in exchange.answers() {
            self.shapes.see(first.name, &answer);
        }
        if self.conclude(first.name, first.need, took, result, known) == Next::Enough {
            return Next::Enough;
        }
        if good {
            for Rule { name, need, look } in rest {
                let result = look(&exchange, known);
                self.conclude(name, *need, Duration::ZERO, result, known);
            }
            known.learn(probe, &exchange);
        }
        Next::GoOn
    }

    /// Checks that nothing clients read is gone or of another type since the previous generation.
    fn same_shapes(&mut self, known: &Known) {
        let Some(previous) = self.previous else { return };
        let began = Instant::now();
        let changes = self.shapes.changes_from(previous);
        self.added_fields = changes.added;
        let same = match changes.breaking.as_slice() {
            [] => Ok(()),
            breaking => Err(Violation::Wrong(breaking.join(", "))),
        };
        self.conclude("same-shapes", Need::Everyone, began.elapsed(), same, known);
    }

    async fn connections(&mut self, known: &Known) -> Next {
        for (name, need) in connections::CHECKS {
            let began = Instant::now();
            let result = connections::check(name, self.api, known).await;
            if self.conclude(name, need, began.elapsed(), result, known) == Next::Enough {
                return Next::Enough;
            }
        }
        Next::GoOn
    }

    /// Records how a check ended, and whether to go on.
    fn conclude(
        &mut self,
        name: &str,
        need: Need,
        took: Duration,
        result: Result<(), Violation>,
        known: &Known,
    ) -> Next {
        let Err(violation) = result else {
            self.record(name, CheckOutcome::Pass, None, took);
            return Next::GoOn;
        };
        let excused = match &violation {
            Violation::NotOffered(_) => true,
            // A breakdown of the server is always a failure.
            violation if violation.is_fatal() => false,
            _ => !known.vllm && need == Need::Vllm,
        };
        let verdict = if excused { CheckOutcome::Skipped } else { CheckOutcome::Fail };
        self.record(name, verdict, Some(violation.to_string()), took);
        // Of a server that is none of ours a person wants to see all; in a deployment the old one is stopped meanwhile.
        let pointless = match self.subject.generation {
            Some(_) => need == Need::Essential || violation.is_fatal(),
            None => violation.is_silence(),
        };
        if !excused && pointless { Next::Enough } else { Next::GoOn }
    }
}

/// Whether a vLLM that was started with these words has metrics.
fn keeps_statistics(argv: &[String]) -> bool {
    Arguments::of(argv).switch("disable-log-stats") != Some(true)
}

async fn alive(api: &Api) -> Result<(), Violation> {
    match api.health().await? {
        200 => Ok(()),
        status => Err(Violation::Wrong(format!("answered status {status}"))),
    }
}
