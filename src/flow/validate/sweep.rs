//! Measures how the speed changes with the length of the prompt and with the number of streams.

use super::speed::{Prompting, heard_to_the_end, millis};
use crate::{
    domain::{
        api::openai::{ApiError, Request},
        conformance::{Known, Violation},
        measure::{
            Sample, Throughput,
            prompts::{PromptSource, SHORT},
        },
        profile::Gates,
        validation::sweep::{Concurrency, Level, Pace, PromptLength, Readings, Swept, longest_prompt},
    },
    flow::event::{Event, Observer},
    host::vllm::api::Api,
};
use futures_util::{StreamExt as _, stream};
use std::time::Instant;

/// Tokens of an answer of which only the first counts. Two, since one has no time per output token.
pub(super) const FIRST_TOKENS: u32 = 2;

/// A sweep under way.
pub(super) struct Sweep<'a> {
    pub(super) api: &'a Api,
    pub(super) gates: &'a Gates,
    pub(super) known: &'a Known,
    pub(super) prompting: Prompting,
    /// The requests that the engine answers at once, where that is known: more of them would only wait.
    pub(super) most_streams: Option<u32>,
    pub(super) observer: &'a dyn Observer,
}

impl Sweep<'_> {
    /// Measures what fits into the time, starting from the speed of one stream. One stream itself is not
    /// measured again.
    pub(super) async fn measure(&self, single: &Throughput) -> Result<Swept, Violation> {
        let mut swept = Swept { source: Some(PromptSource::NOW), ..Swept::default() };
        let wanted = &self.gates.sweep;
        let (Some(pace), true) = (Pace::of(1, &single.samples), single.requests > 1) else {
            return Ok(swept);
        };
        let began = Instant::now();
        let left = || wanted.time.saturating_sub(began.elapsed()).as_secs_f64();
        let characters = self.prompts(pace, || left() / 2.0, &mut swept).await?;
        self.deep(pace, characters, || left() / 3.0, &mut swept).await?;
        let levels = self.levels(&mut swept);
        let mut pace = pace;
        for (index, &streams) in levels.iter().enumerate() {
            if streams == 1 {
                swept.streams.extend(Concurrency::of(1, single.samples.clone()));
                continue;
            }
            let share = left() / (levels.len() - index) as f64;
            let Some(level) = pace.level(streams, self.gates.output_tokens, share) else {
                swept.left_out.push(format!("{streams} streams: no time"));
                continue;
            };
            self.observer.see(Event::Stage(format!("measure {streams} streams at once")));
            let samples = self.streams(level).await?;
            pace = Pace::of(streams, &samples).unwrap_or(pace);
            let warmups = if level.warmup_tokens > 0 { streams } else { 0 };
            let level = Concurrency::of(streams, samples);
            swept.streams.extend(level.map(|level| Concurrency { warmups, ..level }));
        }
        Ok(swept)
    }

    /// The numbers of streams that the engine answers at once.
    fn levels(&self, swept: &mut Swept) -> Vec<u32> {
        let fits = |streams: &u32| self.most_streams.is_none_or(|most| *streams <= most);
        let (levels, beyond): (Vec<u32>, Vec<u32>) =
            self.gates.sweep.concurrency.iter().partition(|n| fits(n));
        let most = self.most_streams.unwrap_or(u32::MAX);
        swept.left_out.extend(
            beyond.iter().map(|streams| format!("{streams} streams: the engine answers {most} at once")),
        );
        levels
    }

    /// Measures the lengths of prompts. Returns how many characters make a token.
    async fn prompts(
        &self,
        mut pace: Pace,
        left: impl Fn() -> f64,
        swept: &mut Swept,
    ) -> Result<f64, Violation> {
        let wanted = &self.gates.sweep.prompt_tokens;
        let room = self.known.max_model_len.map_or(u32::MAX, longest_prompt);
        let mut characters = characters_per_token(SHORT, pace.input_len);
        for (index, &tokens) in wanted.iter().enumerate() {
            if tokens > room {
                let context = self.known.max_model_len.unwrap_or_default();
                swept.left_out.push(format!("a prompt of {tokens} tokens: the context has {context}"));
                continue;
            }
            let share = left() / (wanted.len() - index) as f64;
            let Some(readings) = pace.prompts(tokens, share) else {
                swept.left_out.push(format!("a prompt of {tokens} tokens: no time"));
                continue;
            };
            self.observer.see(Event::Stage(format!("measure a prompt of {tokens} tokens")));
            match self.length(tokens, readings, characters).await {
                Ok(samples) => {
                    let Some(length) = PromptLength::of(tokens, samples) else { continue };
                    pace = Pace::of(1, &length.samples).unwrap_or(pace);
                    characters *= f64::from(tokens) / f64::from(length.input_len.max(1));
                    swept.prompts.push(PromptLength { warmups: readings.warmups, ..length });
                }
                // The context of a server that does not tell it.
                Err(Violation::Fault(ApiError::Refused { status: 400..=499, message })) => {
                    swept.left_out.push(format!("a prompt of {tokens} tokens: {message}"));
                }
                Err(violation) => return Err(violation),
            }
        }
        Ok(characters)
    }

    /// Sends so many requests of this length, one after the other. Returns those that count.
    async fn length(
        &self,
        tokens: u32,
        readings: Readings,
        characters: f64,
    ) -> Result<Vec<Sample>, Violation> {
        let length = whole(f64::from(tokens) * characters);
        let request = |name: &str| self.prompting.request(&format!("{tokens}-{name}"), length, FIRST_TOKENS);
        for number in 0..readings.warmups {
            self.one(&request(&format!("warm-up-{number}")), Instant::now()).await?;
        }
        let began = Instant::now();
        let mut samples = Vec::new();
        for number in 0..readings.requests {
            samples.push(self.one(&request(&number.to_string()), began).await?);
        }
        Ok(samples)
    }

    /// Runs the streams, each making its next request when it has its answer. Before, each gets a short answer that does not
    /// count: the first batch of a size may compile.
    async fn streams(&self, level: Level) -> Result<Vec<Sample>, Violation> {
        self.api.connect(level.streams).await;
        if level.warmup_tokens > 0 {
            self.at_once(level, "warm-up-", level.streams, level.warmup_tokens).await?;
        }
        self.at_once(level, "", level.requests, level.output_tokens).await
    }

    async fn at_once(
        &self,
        level: Level,
        label: &str,
        requests: u32,
        tokens: u32,
    ) -> Result<Vec<Sample>, Violation> {
        let began = Instant::now();
        let requests: Vec<Request> = (0..requests)
            .map(|n| self.prompting.request(&format!("{label}{}-{n}", level.streams), SHORT, tokens))
            .collect();
        let at_once = usize::try_from(level.streams).unwrap_or(usize::MAX);
        let answers: Vec<Result<Sample, Violation>> = stream::iter(&requests)
            .map(|request| self.one(request, began))
            .buffer_unordered(at_once)
            .collect()
            .await;
        answers.into_iter().collect()
    }

    pub(super) async fn one(&self, request: &Request, began: Instant) -> Result<Sample, Violation> {
        let began_ms = millis(began.elapsed());
        let sample = heard_to_the_end(request, &self.api.stream(request).await?)?;
        Ok(Sample { began_ms, ..sample })
    }
}

fn characters_per_token(characters: usize, tokens: u32) -> f64 {
    characters as f64 / f64::from(tokens.max(1))
}

/// A number of characters, rounded down: at most what a request may have at all.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
pub(super) fn whole(characters: f64) -> usize {
    characters.clamp(0.0, f64::from(u32::MAX)) as usize
}
