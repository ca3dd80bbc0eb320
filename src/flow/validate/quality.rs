//! Asks the questions with known answers, and what the model expects at each token of the texts.

use super::Validation;
use crate::{
    domain::{
        api::{
            openai::{ApiError, Request},
            prompt_logprobs::{self, Prompt, PromptToken},
        },
        conformance::{Ask, Known, logprobs_of, read_logprobs},
        validation::{
            expectations::{Expectations, MOST, ROWS, TextExpectations, VERSION},
            quality::{
                self, Answered, Quality,
                verdict::{QualityEvidence, judge},
            },
            questions::{self, QUESTIONS},
            texts::{self, BASE, FURTHER, Text},
            verdict::Basis,
        },
    },
    flow::event::Event,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// The numbers of likely tokens that are asked for, until the engine gives them: `--max-logprobs` may allow fewer.
const DEPTHS: [u32; 4] = [MOST, 5, 1, 0];

/// A server that took no longer for the texts that everyone is asked for is asked for the further ones too, so that a
/// later validation can be compared by all of them.
const QUICK: Duration = Duration::from_secs(10);

/// The most time for the further texts.
const TIME_FURTHER: Duration = Duration::from_secs(45);

/// Why nothing more is asked: it was recorded as a failure.
struct Failed;

impl Validation<'_> {
    /// Asks the questions with known answers and what the model expects at the texts, if a gate is on them and nothing
    /// failed before.
    pub(super) async fn quality(&mut self, known: &Known, basis: Option<Basis<'_>>) -> Option<Quality> {
        let gates = self.subject.gates;
        if gates.min_known_answers.is_none() && self.subject.reference.is_none() || self.has_failed() {
            return None;
        }
        let mut quality = Quality::default();
        self.ask_all(known, basis, &mut quality).await.ok()?;
        let left = QUESTIONS.len() - quality.answers.len();
        if left > 0 && gates.min_known_answers.is_some() {
            self.observer.see(Event::Warning(format!(
                "{} of {} questions were asked: at this speed all of them would take longer than {} s",
                quality.answers.len(),
                QUESTIONS.len(),
                questions::TIME.as_secs()
            )));
        }
        Some(quality)
    }

    async fn ask_all(
        &mut self,
        known: &Known,
        basis: Option<Basis<'_>>,
        quality: &mut Quality,
    ) -> Result<(), Failed> {
        let gates = self.subject.gates;
        let mut taken = Vec::new();
        if gates.min_known_answers.is_some() {
            self.questions(quality, &mut taken, questions::TIME).await?;
        }
        let began = Instant::now();
        self.texts(known, quality).await?;
        let quick = began.elapsed() <= QUICK;
        let baseline = basis.and_then(|basis| basis.quality(gates));
        let doubtful = |quality: &Quality| {
            let (known_answers, reference) = (None, self.subject.reference);
            !judge(QualityEvidence { gates, known_answers, quality: Some(quality), baseline, reference })
                .doubts
                .is_empty()
        };
        let doubt = doubtful(quality);
        if quick || doubt {
            self.further(quality).await?;
        }
        if doubt && gates.min_known_answers.is_some() {
            self.questions(quality, &mut taken, questions::TIME_IN_DOUBT).await?;
        }
        Ok(())
    }

    /// Asks as many of the questions that are left as there is time for.
    async fn questions(
        &mut self,
        quality: &mut Quality,
        taken: &mut Vec<Duration>,
        time: Duration,
    ) -> Result<(), Failed> {
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
                Err(fault) => return Err(self.failed("known-answers", began, fault)),
            }
        }
        Ok(())
    }

    /// Asks for the texts that everyone is asked for, and for the rows of the vocabulary.
    async fn texts(&mut self, known: &Known, quality: &mut Quality) -> Result<(), Failed> {
        if !known.vllm && !self.passed("prompt-logprobs") {
            return Ok(());
        }
        let mut expectations = Expectations { version: VERSION, ..Expectations::default() };
        for depth in DEPTHS {
            expectations.depth = depth;
            self.text(&BASE[0], &mut expectations).await?;
            if !expectations.texts.is_empty() {
                break;
            }
        }
        if expectations.texts.is_empty() {
            return self.echoed(known, quality).await;
        }
        for text in &BASE[1..] {
            self.text(text, &mut expectations).await?;
        }
        self.rows(&mut expectations).await?;
        quality.logprobs = expectations.logprobs_of(BASE[0].name);
        quality.expectations = Some(expectations);
        Ok(())
    }

    /// Asks for further texts, as many as there is time for.
    async fn further(&mut self, quality: &mut Quality) -> Result<(), Failed> {
        let began = Instant::now();
        let Some(mut expectations) = quality.expectations.take() else { return Ok(()) };
        for text in FURTHER.iter().take_while(|_| began.elapsed() < TIME_FURTHER) {
            self.text(text, &mut expectations).await?;
        }
        quality.expectations = Some(expectations);
        Ok(())
    }

    /// Asks for one text. One that the engine refuses, or whose probabilities are no numbers, is left out.
    async fn text(&mut self, text: &Text, into: &mut Expectations) -> Result<(), Failed> {
        let tokens = self.tokens(Prompt::Text(text.said), into.depth).await?;
        into.texts.extend(TextExpectations::of(text.name, text.said, &tokens, into.depth));
        Ok(())
    }

    /// Asks for rows of every quarter of the vocabulary, and the tokens of the chat template. A server that does not
    /// tell its tokens is not asked.
    async fn rows(&mut self, into: &mut Expectations) -> Result<(), Failed> {
        let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
        let messages = json!([turn("user", "Say yes."), turn("assistant", "Yes."), turn("user", "Say no.")]);
        let ask = Ask::Post(json!({ "model": self.api.model(), "messages": messages }));
        let Ok(exchange) = self.api.exchange("/tokenize", ask).await else { return Ok(()) };
        let body = exchange.json().unwrap_or_default();
        let tokens = body["tokens"].as_array().into_iter().flatten();
        let conversation: Vec<u32> =
            tokens.filter_map(|token| u32::try_from(token.as_u64()?).ok()).take(MOST_CONVERSATION).collect();
        let seen = into.texts.iter().flat_map(|text| &text.tokens).map(|token| token.own);
        let Some(greatest) =
            seen.chain(conversation.iter().copied()).max().filter(|_| !conversation.is_empty())
        else {
            return Ok(());
        };
        let rows = texts::rows(greatest, &conversation);
        let tokens = self.tokens(Prompt::Tokens(&rows), into.depth).await?;
        // No text, so that its bytes mean nothing.
        into.texts.extend(TextExpectations::of(ROWS, "", &tokens, into.depth));
        Ok(())
    }

    /// The tokens of a prompt with their probabilities. Empty where the engine refuses.
    async fn tokens(&mut self, prompt: Prompt<'_>, depth: u32) -> Result<Vec<PromptToken>, Failed> {
        let began = Instant::now();
        let ask = Ask::Post(prompt_logprobs::ask(self.api.model(), prompt, depth));
        let answered = match self.api.exchange("/v1/completions", ask).await {
            Ok(exchange) if (400..500).contains(&exchange.status) => return Ok(Vec::new()),
            Ok(exchange) => exchange.good_text().and_then(prompt_logprobs::read),
            Err(fault) => Err(fault),
        };
        answered.map_err(|fault| self.failed("perplexity", began, fault))
    }

    /// Asks for the probability of one text in the way of the older API.
    async fn echoed(&mut self, known: &Known, quality: &mut Quality) -> Result<(), Failed> {
        if !self.passed("prompt-logprobs") {
            return Ok(());
        }
        let began = Instant::now();
        let ask = logprobs_of(known, quality::TEXT);
        match self.api.exchange("/v1/completions", ask).await {
            Ok(exchange) => quality.logprobs = read_logprobs(&exchange).unwrap_or_default(),
            Err(fault) => return Err(self.failed("perplexity", began, fault)),
        }
        Ok(())
    }

    fn failed(&mut self, name: &str, began: Instant, fault: ApiError) -> Failed {
        self.fail(name, began, &fault.into());
        Failed
    }
}

/// The most tokens of a conversation that are taken: a template with instructions of its own may have thousands.
const MOST_CONVERSATION: usize = 256;
