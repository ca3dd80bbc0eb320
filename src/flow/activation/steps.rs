//! The real steps of an activation: the service, the `current` link and the validation.

use super::{driver::Steps, readahead};
use crate::{
    domain::{
        activation::machine::{Activation, Step, another},
        generation::Generation,
        generation_id::GenerationId,
        problem::{Kind, Problem},
        validation::{limits::Limits, observed::Observed, report::Report},
    },
    flow::{
        event::{Event, Observer},
        validate::generation::{Beside, report},
    },
    host::{
        machine::usage,
        os::{port, signals::Interrupt},
        store::{Evidence, StoreWriter},
        systemd::service::{Services, Trust},
        vllm::running_server,
    },
};

/// Log lines kept as evidence of a failure.
const EVIDENCE_LINES: u32 = 1000;

/// Acts on the real service.
pub(crate) struct Live<'a> {
    writer: &'a StoreWriter<'a>,
    services: Box<dyn Services + 'a>,
    observer: &'a dyn Observer,
    interrupt: Interrupt,
    /// The activation's number, under which evidence is kept.
    number: u64,
    /// The activation as it was when these steps took it over.
    activation: Activation,
    /// The last target of `current`.
    aim: Option<GenerationId>,
    /// Whether somebody else's stop ended the last start.
    stopped: bool,
    /// The baseline's speed, measured before its stop.
    baseline: Option<Report>,
}

impl<'a> Live<'a> {
    /// The steps of this activation, which has this number.
    pub(crate) fn new(
        writer: &'a StoreWriter<'a>,
        services: Box<dyn Services + 'a>,
        observer: &'a dyn Observer,
        interrupt: Interrupt,
        number: u64,
        activation: Activation,
    ) -> Self {
        let (aim, stopped, baseline) = (None, false, None);
        Self { writer, services, observer, interrupt, number, activation, aim, stopped, baseline }
    }

    /// Adds the measurement of the baseline, taken while it still ran.
    #[must_use]
    pub(crate) fn beside(self, baseline: Option<Report>) -> Self {
        Self { baseline, ..self }
    }

    fn start_current(&mut self) -> Result<(), Problem> {
        let store = self.writer.store();
        let Some(Generation { id, plan, .. }) = store.current_generation()? else {
            return Err(Problem::doing("start the service", "no generation is current"));
        };
        self.services.install(&store.units(&plan)?)?;
        let candidate = self.activation.tries(self.aim);
        self.services.trust(if candidate { Trust::Candidate } else { Trust::Committed })?;
        port::wait_until_free(plan.serve.listen)?;
        let observer = self.observer;
        let started = self.services.start(&self.interrupt, &mut |said| observer.see(Event::Engine(said)));
        self.stopped = started.as_ref().is_err_and(|problem| problem.kind == Kind::Interrupted);
        if started.is_err() && id == self.activation.to {
            self.keep_log();
        }
        started
    }

    /// Stops the service, and waits until its processes are gone and the GPUs' memory is free. The next start
    /// waits for the port.
    fn clear(&mut self) -> Result<(), Problem> {
        let store = self.writer.store();
        let observer = self.observer;
        self.services.stop()?;
        // The trial is over: whoever starts the service by hand now starts a proven generation, or nothing.
        self.services.trust(Trust::Committed)?;
        self.services.clear(&store.layout().runtimes(), &mut |leftover| {
            observer.see(Event::Warning(format!("{leftover} outlived the service: it is ended")));
        })
    }

    fn verify(&mut self, generation: GenerationId) -> Result<(), Problem> {
        let store = self.writer.store();
        let plan = store.generation(generation)?.plan;
        if let Some(from) = self.activation.from.filter(|from| *from != generation) {
            readahead::for_the_rollback(&plan, &store.generation(from)?.plan, &self.interrupt, self.observer);
        }
        let whose = self.services.processes()?;
        let beside = Beside { live: self.baseline.as_ref(), file: None };
        let mut report = report(store, &plan, generation, whose, beside, &self.interrupt, self.observer)?;
        match self.services.log_tail(EVIDENCE_LINES) {
            Ok(log) => {
                let actual = Observed::of(log.lines()).with(usage::of(&self.services.processes()?));
                report.held_against(&plan, actual);
            }
            Err(problem) => self.observer.see(Event::Warning(problem.in_one_line())),
        }
        if let Some(given) = self.services.limits()? {
            report.findings.extend(Limits::asked_by(&plan.unit).not_given(given));
        }
        for finding in &report.findings {
            self.observer.see(Event::Warning(finding.message.clone()));
        }
        if let Some(baseline) = &self.baseline {
            self.writer.keep_report(self.number, Evidence::Baseline, baseline)?;
        }
        self.writer.keep_report(self.number, Evidence::Candidate, &report)?;
        if report.passed() {
            return self.services.trust(Trust::Committed);
        }
        self.keep_log();
        Err(Problem::new(Kind::Unexpected, report.reasons().join("; ")))
    }

    /// Ends an adopted server that no unit runs: nobody else does.
    fn end_adopted(&self) -> Result<(), Problem> {
        let adopted = self.writer.store().all_adopted()?.into_iter();
        adopted
            .filter(|adopted| adopted.unit.is_none())
            .try_for_each(|adopted| running_server::end(&adopted.process))
    }

    /// Keeps the log. A failure to do so is ignored.
    fn keep_log(&mut self) {
        let kept =
            self.services.log_tail(EVIDENCE_LINES).and_then(|text| self.writer.keep_log(self.number, &text));
        if let Err(problem) = kept {
            self.observer.see(Event::Warning(problem.in_one_line()));
        }
    }
}

impl Steps for Live<'_> {
    fn stop(&mut self) -> Result<(), String> {
        let cleared = self.clear().and_then(|()| self.end_adopted());
        cleared.map_err(|problem| problem.in_one_line())
    }

    fn point(&mut self, to: Option<GenerationId>) -> Result<(), String> {
        self.aim = to;
        self.writer.point(to).map_err(|problem| problem.in_one_line())
    }

    fn start(&mut self) -> Result<(), String> {
        self.start_current().map_err(|problem| problem.in_one_line())
    }

    fn validate(&mut self, generation: GenerationId) -> Result<(), String> {
        self.verify(generation).map_err(|problem| problem.in_one_line())
    }

    /// The aim alone does not tell a rollback: a restart returns to its own generation.
    fn turns_back(&mut self) {
        self.interrupt = Interrupt::default();
    }

    fn goes_down(&mut self) -> bool {
        self.services.goes_down()
    }

    /// Whether somebody stopped the service. During the validation a service that failed is `failed`, or
    /// about to be restarted: `inactive` means that somebody stopped it. One that could not be started may be
    /// `inactive` for another reason.
    fn was_stopped(&mut self, step: Step) -> bool {
        match step {
            Step::Start => self.stopped,
            Step::Validate => self.services.condition().is_ok_and(|condition| condition.is_stopped()),
            Step::Stop | Step::Point => false,
        }
    }

    fn otherwise(&mut self) -> Option<GenerationId> {
        let store = self.writer.store();
        another(&store.without_damage(store.returnable().ok()?).ok()?, Some(self.activation.to))
    }
}
