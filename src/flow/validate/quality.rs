//! Asks the questions with known answers, and for the probabilities of texts.

use super::Validation;
use crate::{
    domain::{
        api::openai::Request,
        conformance::{Known, logprobs_of, read_logprobs},
        validation::{
            quality::{self, Answered, Quality},
            questions::{self, QUESTIONS},
            verdict::Basis,
        },
    },
    flow::event::Event,
};
use std::time::{Duration, Instant};

impl Validation<'_> {
    /// Asks the questions with known answers and for the probability of a text, if a gate is on them and
    /// nothing failed before.
    pub(super) async fn quality(&mut self, known: &Known, basis: Option<Basis<'_>>) -> Option<Quality> {
        self.subject.gates.min_known_answers?;
        if self.has_failed() {
            return None;
        }
        let mut quality = Quality::default();
        let mut taken = Vec::new();
        self.questions(&mut quality, &mut taken, questions::TIME).await?;
        self.probabilities(known, &mut quality).await?;
        let baseline = basis.and_then(|basis| basis.quality(self.subject.gates));
        if quality.asked_less() && baseline.is_some_and(|baseline| quality.is_long_beside(baseline)) {
            self.questions(&mut quality, &mut taken, questions::TIME_IN_DOUBT).await?;
        }
        let left = QUESTIONS.len() - quality.answers.len();
        if left > 0 {
            self.observer.see(Event::Warning(format!(
                "{} of {} questions were asked: at this speed all of them would take longer than {} s",
                quality.answers.len(),
                QUESTIONS.len(),
                questions::TIME.as_secs()
            )));
        }
        Some(quality)
    }

    /// Asks as many of the questions that are left as there is time for.
    async fn questions(
        &mut self,
        quality: &mut Quality,
        taken: &mut Vec<Duration>,
        time: Duration,
    ) -> Option<()> {
        let began = Instant::now();
        let of = u32::try_from(QUESTIONS.len()).unwrap_or(u32::MAX);
        for (question, number) in QUESTIONS.iter().zip(1..).skip(taken.len()) {
            if !questions::is_time_for_another(taken, time) {
                break;
            }
            self.observer.see(Event::Asked { question: number, of });
            let asked = Instant::now();
            match self.api.answer(&Request::chat(question.ask, questions::MAX_TOKENS)).await {
                Ok(answer) => {
                    quality.answers.push(Answered::to(question, answer));
                    taken.push(asked.elapsed());
                }
                Err(fault) => {
                    self.fail("known-answers", began, &fault.into());
                    return None;
                }
            }
        }
        Some(())
    }

    async fn probabilities(&mut self, known: &Known, quality: &mut Quality) -> Option<()> {
        if !self.passed("prompt-logprobs") {
            return Some(());
        }
        let began = Instant::now();
        let ask = logprobs_of(known, quality::TEXT);
        match self.api.exchange("/v1/completions", ask).await.map(|exchange| read_logprobs(&exchange)) {
            Ok(logprobs) => quality.logprobs = logprobs.unwrap_or_default(),
            Err(fault) => {
                self.fail("perplexity", began, &fault.into());
                return None;
            }
        }
        Some(())
    }
}
