//! The probabilities of a prompt's tokens, as vLLM tells them: `prompt_logprobs`.

use super::openai::{ApiError, parse};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, json};
use std::fmt;

/// The probabilities at one token of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token.
    pub id: u32,
    /// The text of the token, where it is told.
    pub text: Option<String>,
    /// The logarithm of its probability. Absent where that is no number.
    pub logprob: Option<f64>,
    /// The most likely tokens and its own, with the logarithms of their probabilities.
    pub likely: Vec<(u32, f64)>,
}

/// A prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt<'a> {
    /// A text.
    Text(&'a str),
    /// Tokens, by their numbers.
    Tokens(&'a [u32]),
}

/// The body of a request for the probabilities of `prompt`, with so many likely tokens for each of its own.
pub(crate) fn ask(model: &str, prompt: Prompt<'_>, most: u32) -> Value {
    let prompt = match prompt {
        Prompt::Text(text) => json!(text),
        Prompt::Tokens(tokens) => json!(tokens),
    };
    json!({ "model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "prompt_logprobs": most })
}

/// The tokens of the prompt but the first, which has no probability. Empty where the server tells none.
pub fn read(body: &str) -> Result<Vec<PromptToken>, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(default)]
        prompt_logprobs: Option<Vec<Option<Place>>>,
    }
    let Body { choices } = parse(body)?;
    let places = choices.into_iter().next().and_then(|choice| choice.prompt_logprobs).unwrap_or_default();
    let tokens = places.into_iter().flatten().filter_map(|Place(all)| {
        let (id, own) = all.first()?;
        let likely = all.iter().filter_map(|(id, of)| Some((*id, number(of.logprob)?))).collect();
        Some(PromptToken { id: *id, text: own.decoded_token.clone(), logprob: number(own.logprob), likely })
    });
    Ok(tokens.collect())
}

fn number(logprob: Option<f64>) -> Option<f64> {
    logprob.filter(|logprob| logprob.is_finite())
}

/// The tokens named at one place, in the order in which they come: the prompt's own first.
struct Place(Vec<(u32, Named)>);

#[derive(Deserialize)]
struct Named {
    logprob: Option<f64>,
    #[serde(default)]
    decoded_token: Option<String>,
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Place;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens by their numbers")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Place, M::Error> {
                let mut all = Vec::new();
                while let Some((id, of)) = map.next_entry::<String, Named>()? {
                    all.push((id.parse().map_err(M::Error::custom)?, of));
                }
                Ok(Place(all))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
