//! Measures that short prompts do not give: decoding after a long one, a stream that a long one interrupts, and thinking aloud.

use super::pace::{Pace, longest_prompt, whole};
use crate::domain::{
    measure::{Interval, Sample, stats::median},
    validation::quality::gibberish::symptom,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A prompt is read in so many times the time that its length alone would make it: attention grows faster.
const SLOWER: f64 = 2.0;
/// The fewest tokens that say something of decoding.
const LEAST_TOKENS: u32 = 16;
/// The fewest chunks before and during a prompt by which their gaps can be compared.
const LEAST_GAPS: usize = 3;

/// One stream after a long prompt. A fault of attention or of the KV cache at that depth shows in its rate and its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deep {
    /// Tokens of the prompt, as the server counts them.
    pub input_len: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Time to the first token, milliseconds.
    pub ttft_ms: f64,
    /// Time per output token after the first, milliseconds.
    pub tpot_ms: f64,
    /// 1 / TPOT, tokens/s.
    pub decode_tokens_per_second: f64,
    /// That rate over the one after a short prompt.
    pub of_short: f64,
    /// Time between two chunks of text, milliseconds.
    pub itl_ms: Interval,
    /// Why its text is gibberish. Absent: it is not.
    pub gibberish: Option<String>,
    /// Whether it says again what stands at the beginning of the prompt, where it was asked to at the end. A model that is too small
    /// cannot do that after a short prompt, either.
    pub recalls: bool,
    /// Whether it does after a short prompt.
    pub recalls_short: bool,
    /// The request.
    pub sample: Sample,
}

/// One stream, and its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The times and tokens.
    pub sample: Sample,
    /// The text.
    pub text: String,
}

/// The fact at the beginning of a prompt, and the question for it at the end.
const FACT: &str = "The number of the harbour master is 7319 4582.";
const QUESTION: &str = "The number of the harbour master is";
const ANSWER: &str = "7319";

/// A prompt that asks at its end for what stands at its beginning.
pub fn asking_for_the_beginning(text: &str) -> String {
    format!("{FACT} {text}\n\n{QUESTION}")
}

impl Deep {
    /// Compares a stream after a long prompt with one after a short prompt. Absent where either has no rate.
    pub fn of(long: Said, short: &Said) -> Option<Self> {
        let rate = long.sample.decode_tokens_per_second()?;
        Some(Self {
            input_len: long.sample.prompt_tokens,
            output_tokens: long.sample.tokens,
            ttft_ms: long.sample.ttft_ms,
            tpot_ms: long.sample.tpot_ms()?,
            decode_tokens_per_second: rate,
            of_short: rate / short.sample.decode_tokens_per_second()?,
            itl_ms: Interval::of(long.sample.itl_ms.iter().copied())?,
            // A text that is gibberish after any prompt is no matter of the depth.
            gibberish: symptom(&long.text).filter(|_| symptom(&short.text).is_none()).map(str::to_owned),
            recalls: recalls(&long.text),
            recalls_short: recalls(&short.text),
            sample: long.sample,
        })
    }

    /// The fault that an operator should know: it does well after a short prompt, and not after a long one.
    pub fn fault(&self) -> Option<String> {
        let tokens = self.input_len;
        match (&self.gibberish, self.recalls_short && !self.recalls) {
            (Some(why), _) => Some(format!("after a prompt of {tokens} tokens its text is gibberish: {why}")),
            (None, true) => Some(format!(
                "after a prompt of {tokens} tokens it does not know what stands at its beginning, as it does after a short one"
            )),
            (None, false) => None,
        }
    }
}

fn recalls(text: &str) -> bool {
    text.trim_start().starts_with(ANSWER)
}

/// A stream that goes on while a long prompt of somebody else is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interrupted {
    /// Tokens of the prompt that came, as the server counts them.
    pub input_len: u32,
    /// Its time to the first token, milliseconds.
    pub ttft_ms: f64,
    /// The stream's time between two chunks before, milliseconds: the median.
    pub itl_before_ms: f64,
    /// The median while the prompt was read.
    pub itl_during_ms: f64,
    /// The longest that the stream waited for a chunk meanwhile, milliseconds.
    pub longest_ms: f64,
    /// The stream. Its prompt was short.
    pub sample: Sample,
}

impl Interrupted {
    /// Looks at a stream, and at a long prompt whose request was sent so many milliseconds after the stream's. Absent where the
    /// stream had ended before the prompt was read, or had hardly begun.
    pub fn of(stream: Sample, prompt: &Sample, sent_ms: f64) -> Option<Self> {
        let until = sent_ms + prompt.ttft_ms;
        let mut at = stream.ttft_ms;
        let (mut before, mut during) = (Vec::new(), Vec::new());
        for gap in &stream.itl_ms {
            let began = at;
            at += gap;
            match (at <= sent_ms, began < until) {
                (true, _) => before.push(*gap),
                (false, true) => during.push(*gap),
                (false, false) => {}
            }
        }
        // Several chunks may come in one breath: what counts is that it went on to the end of the reading.
        (before.len() >= LEAST_GAPS && at >= until).then_some(())?;
        Some(Self {
            input_len: prompt.prompt_tokens,
            ttft_ms: prompt.ttft_ms,
            itl_before_ms: median(&before)?,
            itl_during_ms: median(&during)?,
            longest_ms: during.iter().copied().fold(0.0, f64::max),
            sample: stream,
        })
    }
}

/// The time to the first token of the answer, of a model that thinks aloud before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstAnswers {
    /// Questions that were asked.
    pub requests: u32,
    /// Those whose answer did not begin within the tokens that there was time for.
    pub unanswered: u32,
    /// The most tokens of thoughts and answer.
    pub max_tokens: u32,
    /// Time to the first token of the thoughts, milliseconds.
    pub ttft_ms: Interval,
    /// Time to the first token of the answer, milliseconds. Absent where no answer began.
    pub first_answer_ms: Option<Interval>,
    /// Each request, in order.
    pub samples: Vec<Sample>,
}

impl FirstAnswers {
    /// Sums up these questions. Absent without any.
    pub fn of(max_tokens: u32, samples: Vec<Sample>) -> Option<Self> {
        let answered: Vec<f64> = samples.iter().filter_map(|sample| sample.first_answer_ms).collect();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(Self {
            requests: count(samples.len()),
            unanswered: count(samples.len() - answered.len()),
            max_tokens,
            ttft_ms: Interval::of(samples.iter().map(|sample| sample.ttft_ms))?,
            first_answer_ms: Interval::of(answered),
            samples,
        })
    }
}

impl Pace {
    /// The longest prompt, and the tokens after it, that fit into `seconds`: nine tenths of the context, or as much as there is
    /// time for, and at least `measured`, which was read already. None where that does not fit either.
    pub fn deep(self, measured: u32, context: Option<u32>, tokens: u32, seconds: f64) -> Option<(u32, u32)> {
        let least = LEAST_TOKENS.min(tokens);
        let decoding = |tokens: u32| f64::from(tokens) * self.tpot * SLOWER;
        let longest = context.map_or(measured, longest_prompt).max(measured);
        let each = self.reading(self.input_len) / f64::from(self.input_len.max(1));
        let readable = whole((seconds - decoding(least)) / (each * SLOWER));
        let prompt = longest.min(readable.max(measured));
        let left = seconds - self.reading(prompt);
        let fitting = if self.tpot > 0.0 { whole(left / (self.tpot * SLOWER)) } else { tokens };
        // A prompt may come out longer than it was estimated: half of what is left of the context is safe.
        let room = context.map_or(tokens, |context| context.saturating_sub(prompt) / 2);
        Some((prompt, fitting.min(tokens).min(room))).filter(|(_, tokens)| *tokens >= least)
    }

    /// The tokens of a stream that goes on while a prompt of this length is read, with some before. None where that takes longer
    /// than `seconds`.
    pub fn meanwhile(self, input_len: u32, context: Option<u32>, seconds: f64) -> Option<u32> {
        let reading = self.reading(input_len) * SLOWER;
        let tokens = whole(reading / self.tpot.max(1e-6)).saturating_add(2 * LEAST_TOKENS);
        let fits = context.is_none_or(|context| tokens < context / 2) && self.tpot > 0.0;
        (fits && self.ttft + f64::from(tokens) * self.tpot + reading <= seconds).then_some(tokens)
    }
}
