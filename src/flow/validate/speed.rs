//! How fast one stream is.

use super::Miss;
use crate::{
    domain::{openai::Request, profile::Gates, stats::Sample},
    flow::event::{Event, Observer},
    host::serving::Api,
};

/// What every measured request goes on with: some sixty tokens of plain text.
const PROMPT: &str = "of the harbour log. The wind turned north in the morning, and the ships at anchor \
     swung round to face it. A clerk counted the barrels on the quay, wrote the number down and went \
     inside to warm his hands. Nothing else was seen before noon. In the afternoon";

/// Streams the warm-ups and then the measured requests, one after the other, each to its full length.
pub(super) async fn measure(api: &Api, gates: &Gates, observer: &dyn Observer) -> Result<Vec<Sample>, Miss> {
    let run = jiff::Timestamp::now().as_millisecond();
    let mut samples = Vec::new();
    for number in 0..gates.warmups + gates.repetitions {
        let sample = one(api, gates, &prompt(run, number)).await?;
        let Some(tokens_per_second) = sample.decode_tokens_per_second() else {
            return Err(Miss::Wrong(format!(
                "all {} tokens came at once: there is no rate to measure",
                sample.tokens
            )));
        };
        if number < gates.warmups {
            continue;
        }
        samples.push(sample);
        observer.see(Event::Measured {
            request: number - gates.warmups + 1,
            of: gates.repetitions,
            tokens_per_second,
        });
    }
    Ok(samples)
}

async fn one(api: &Api, gates: &Gates, prompt: &str) -> Result<Sample, Miss> {
    let request = Request::complete(prompt, gates.output_tokens).to_the_limit();
    let sample = api.stream(&request).await?.sample();
    if sample.tokens != gates.output_tokens {
        return Err(Miss::Wrong(format!(
            "{} tokens were generated, where {} were asked for",
            sample.tokens, gates.output_tokens
        )));
    }
    Ok(sample)
}

/// A prompt that no request began with before, in this run or an earlier one on the same server: vLLM
/// would take what it knows from its prefix cache, and the time to the first token would be a fairy tale.
fn prompt(run: i64, number: u32) -> String {
    format!("Entry {run}-{number} {PROMPT}")
}
