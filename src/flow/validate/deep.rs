//! Measures what short prompts do not show: a stream after a long prompt, a stream while one is read, and thinking aloud.

use super::{
    speed::{heard_to_the_end, millis},
    sweep::{FIRST_TOKENS, Sweep, whole},
};
use crate::{
    domain::{
        api::openai::{ApiError, Request},
        conformance::Violation,
        measure::prompts::{PromptSource, SHORT},
        validation::sweep::{
            Pace, Swept,
            deep::{Deep, FirstAnswers, Interrupted, Said, asking_for_the_beginning},
        },
    },
    flow::event::Event,
};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The most tokens of thoughts and answer.
const MOST_THOUGHTS: u32 = 1024;
/// The fewest tokens in which a model can think and begin to answer.
const LEAST_THOUGHTS: u32 = 64;
/// Questions to a model that thinks aloud.
const QUESTIONS: u32 = 3;

impl Sweep<'_> {
    /// Measures what fits into the time: `left` is the share of each of the three. So many `characters` make a token.
    pub(super) async fn deep(
        &self,
        pace: Pace,
        characters: f64,
        left: impl Fn() -> f64,
        swept: &mut Swept,
    ) -> Result<(), Violation> {
        let Some(longest) = swept.prompts.last() else { return Ok(()) };
        let measured = longest.input_len;
        // Of those prompts only the first tokens counted: decoding itself is as fast as that of the one stream.
        let pace = Pace { tpot: pace.tpot, ..Pace::of(1, &longest.samples).unwrap_or(pace) };
        let context = self.known.max_model_len;
        match pace.deep(measured, context, self.gates.output_tokens, left()) {
            Some((prompt, tokens)) => {
                let what = format!("a stream after a prompt of {prompt} tokens");
                self.observer.see(Event::Stage(format!("measure {what}")));
                swept.deep = fitting(self.after(prompt, characters, tokens).await, &what, swept)?;
            }
            None => swept.left_out.push(format!("a stream after a prompt of {measured} tokens: no time")),
        }
        if let Some(fault) = swept.deep.as_ref().and_then(Deep::fault) {
            self.observer.see(Event::Warning(fault));
        }
        let what = format!("a stream while a prompt of {measured} tokens comes");
        match pace.meanwhile(measured, context, left()) {
            _ if self.most_streams == Some(1) => {}
            Some(tokens) => {
                self.observer.see(Event::Stage(format!("measure {what}")));
                let seen = self.interrupted(measured, characters, tokens, pace).await;
                swept.interrupted = fitting(seen, &what, swept)?;
            }
            None => swept.left_out.push(format!("{what}: no time")),
        }
        if self.known.thinks {
            self.first_answers(pace, left(), swept).await?;
        }
        Ok(())
    }

    /// One stream after a prompt of so many tokens, beside one after a short prompt that asks the same.
    async fn after(&self, prompt: u32, characters: f64, tokens: u32) -> Result<Option<Deep>, Violation> {
        let length = whole(f64::from(prompt) * characters);
        let short = self.saying("deep-short", SHORT, tokens).await?;
        let long = self.saying("deep", length, tokens).await?;
        Ok(Deep::of(long, &short))
    }

    async fn saying(&self, name: &str, characters: usize, tokens: u32) -> Result<Said, Violation> {
        let text = asking_for_the_beginning(&PromptSource::NOW.text(name, characters));
        let request = self.prompting.asking(name, &text, tokens);
        let streamed = self.api.stream(&request).await?;
        Ok(Said { sample: heard_to_the_end(&request, &streamed)?, text: streamed.answer.text })
    }

    /// A stream of so many tokens, and a long prompt once it has run for a while.
    async fn interrupted(
        &self,
        prompt: u32,
        characters: f64,
        tokens: u32,
        pace: Pace,
    ) -> Result<Option<Interrupted>, Violation> {
        let stream = self.prompting.request("interrupted", SHORT, tokens);
        let length = whole(f64::from(prompt) * characters);
        let prompt = self.prompting.request("interrupting", length, FIRST_TOKENS);
        // Both are connected before a clock starts.
        self.api.connect(2).await;
        let began = Instant::now();
        let coming = async {
            let first = f64::from(tokens.min(16)) * pace.tpot + pace.ttft.min(1.0);
            sleep(Duration::from_secs_f64(first.min(60.0))).await;
            let sent = millis(began.elapsed());
            (sent, self.one(&prompt, began).await)
        };
        let (stream, (sent, prompt)) = tokio::join!(self.one(&stream, began), coming);
        Ok(Interrupted::of(stream?, &prompt?, sent))
    }

    /// Asks a model that thinks aloud, and waits for its answers to begin.
    async fn first_answers(&self, pace: Pace, seconds: f64, swept: &mut Swept) -> Result<(), Violation> {
        let room = self.known.max_model_len.map_or(MOST_THOUGHTS, |context| context / 2);
        let each = seconds / f64::from(QUESTIONS);
        let in_time = whole(each / pace.tpot.max(1e-6));
        let tokens = u32::try_from(in_time).unwrap_or(u32::MAX).min(MOST_THOUGHTS).min(room);
        if tokens < LEAST_THOUGHTS {
            swept
                .left_out
                .push("the time to the first token of an answer after thinking: no time".to_owned());
            return Ok(());
        }
        self.observer.see(Event::Stage("measure when answers begin after thinking".to_owned()));
        let mut samples = Vec::new();
        for number in 0..QUESTIONS {
            let question = format!("Which is more, {} times 7 or {} times 6?", 11 + number, 12 + number);
            let streamed = self.api.stream(&Request::chat(question, tokens)).await?;
            samples.push(streamed.sample());
        }
        swept.first_answers = FirstAnswers::of(tokens, samples);
        Ok(())
    }
}

/// The measurement, if there is one. A prompt that came out longer than the context is left out.
fn fitting<T>(
    seen: Result<Option<T>, Violation>,
    what: &str,
    swept: &mut Swept,
) -> Result<Option<T>, Violation> {
    match seen {
        Err(Violation::Fault(ApiError::Refused { status: 400..=499, message })) => {
            swept.left_out.push(format!("{what}: {message}"));
            Ok(None)
        }
        seen => seen,
    }
}
