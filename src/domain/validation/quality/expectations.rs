//! Records what a model expects at each token of the texts, and tells how far two models expect otherwise.
//!
//! One probability a token tells little of a damage: the divergence of the whole distribution is ten times as sharp. The
//! divergence is that of Kullback and Leibler, in nats a token, from the baseline's most likely tokens with all others
//! as one: what the candidate does not name has at most the probability of its last, so that this is a lower bound.

use crate::domain::{
    api::prompt_logprobs::PromptToken,
    measure::stats::{Logarithms, mean_and_error},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Write as _;

/// The version of the texts. Probabilities of another version are not compared.
pub const VERSION: u32 = 1;
/// The name of the prompt of rows of the vocabulary and a conversation in the model's template.
pub(crate) const ROWS: &str = "rows";
/// The most likely tokens that are asked for: vLLM gives as many unless `--max-logprobs` says otherwise.
pub(crate) const MOST: u32 = 20;
/// The probability of the likely tokens that are kept. What is beyond is one lump.
const KEPT: f64 = 0.9995;
/// Logarithms are kept in ten-thousandths.
const SCALE: f64 = 10_000.0;
/// The least probability of all tokens that are not named.
const LEAST_REST: f64 = 1e-9;
/// Tokens whose divergences are averaged before their spread is taken: neighbours are alike.
const BLOCK: usize = 8;
/// The share of intervals that miss on either side.
const OUTSIDE: f64 = 0.025;
/// The most tokens of all texts that are read: ten times what they have.
const MOST_TOKENS: usize = 20_000;

/// The expectations at the tokens of some texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Expectations {
    /// The version of the texts.
    pub version: u32,
    /// The most likely tokens that the engine gives for each. 0: only the text's own.
    pub depth: u32,
    /// The texts.
    pub texts: Vec<TextExpectations>,
}

/// The expectations at the tokens of one text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TextExpectations {
    /// The name of the text.
    pub name: String,
    /// The bytes of the text that those tokens are. 0 where that means nothing.
    pub bytes: u32,
    /// The tokens, packed: `own:p likely:p likely:p; …`, where p is the negative logarithm of the probability in
    /// ten-thousandths.
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    #[schemars(with = "String")]
    pub tokens: Vec<Expected>,
}

/// The expectation at one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// The token of the text.
    pub own: u32,
    /// The logarithm of its probability.
    pub logprob: f64,
    /// The most likely tokens, the likeliest first, with the logarithms of their probabilities.
    pub likely: Vec<(u32, f64)>,
}

/// How far a model expects otherwise than another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Divergence {
    /// The tokens that were compared.
    pub tokens: u32,
    /// The likely tokens that both give for each: with fewer than twenty less is seen.
    pub depth: u32,
    /// The mean divergence, nats a token. Absent where one of the two gives only the text's own tokens.
    pub mean: Option<f64>,
    /// Its standard error.
    pub error: Option<f64>,
    /// Where it lies with 95 % confidence, after all looks.
    pub low: Option<f64>,
    /// The upper bound.
    pub high: Option<f64>,
    /// The share of tokens at which the two expect another one first.
    pub flips: Option<f64>,
}

/// The place of a divergence beside a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Lies within.
    Within,
    /// Lies beyond.
    Beyond,
    /// Neither is shown.
    Open,
}

impl Expected {
    /// Keeps what matters: the likeliest tokens, until next to nothing is left.
    pub fn of(own: u32, logprob: f64, mut likely: Vec<(u32, f64)>, depth: u32) -> Self {
        likely.sort_by(|first, second| second.1.total_cmp(&first.1).then(first.0.cmp(&second.0)));
        likely.truncate(depth as usize);
        let mut sum = 0.0;
        let kept = likely.iter().take_while(|(_, logprob)| {
            let more = sum < KEPT;
            sum += logprob.exp();
            more
        });
        let kept = kept.count();
        likely.truncate(kept);
        Self { own, logprob, likely }
    }

    /// The divergence of `ours` from this one, the baseline's, nats. Absent where one gives no likely tokens.
    pub fn divergence(&self, ours: &Self) -> Option<f64> {
        let last = ours.likely.last()?.1;
        let named: f64 = ours.likely.iter().map(|(_, logprob)| logprob.exp()).sum();
        // A token that is not named is no likelier than the last, nor than all that are not named together.
        let most = last.min((1.0 - named).max(LEAST_REST).ln());
        let at = |token: u32| match ours.likely.iter().find(|(other, _)| *other == token) {
            Some((_, logprob)) => *logprob,
            None if token == ours.own => ours.logprob,
            None => most,
        };
        let mut sum = 0.0;
        let (mut theirs_named, mut ours_named) = (0.0, 0.0);
        for &(token, theirs) in &self.likely {
            let ours = at(token);
            sum += theirs.exp() * (theirs - ours);
            theirs_named += theirs.exp();
            ours_named += ours.exp();
        }
        let rest = |named: f64| (1.0 - named).max(LEAST_REST);
        sum += rest(theirs_named) * (rest(theirs_named) / rest(ours_named)).ln();
        (!self.likely.is_empty() && sum.is_finite()).then_some(sum.max(0.0))
    }

    fn flips(&self, ours: &Self) -> bool {
        self.likely.first().map(|first| first.0) != ours.likely.first().map(|first| first.0)
    }
}

impl TextExpectations {
    /// The expectations at these tokens of the text `said`. Absent where one has a probability that is no number, or
    /// there are none.
    pub fn of(name: &str, said: &str, tokens: &[PromptToken], depth: u32) -> Option<Self> {
        let expected =
            |token: &PromptToken| Some(Expected::of(token.id, token.logprob?, token.likely.clone(), depth));
        let expected: Vec<Expected> = tokens.iter().map(expected).collect::<Option<_>>()?;
        let decoded: Option<String> = tokens.iter().map(|token| token.text.as_deref()).collect();
        // Half a character shows as a replacement of another length: then the first token is taken to be like the rest.
        let bytes = match decoded.filter(|decoded| said.ends_with(decoded)) {
            Some(decoded) => decoded.len(),
            None => said.len() * expected.len() / (expected.len() + 1),
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        (!expected.is_empty()).then(|| Self { name: name.to_owned(), bytes, tokens: expected })
    }
}

impl Expectations {
    /// The logarithms of the probabilities of the tokens of the text of this name.
    pub fn logprobs_of(&self, name: &str) -> Vec<f64> {
        let text = self.texts.iter().find(|text| text.name == name);
        text.map(|text| text.tokens.iter().map(|token| token.logprob).collect()).unwrap_or_default()
    }

    /// Whether both tell of texts, and share none: their tokenizers, or texts, differ.
    pub fn reads_otherwise(&self, baseline: &Self) -> bool {
        !self.texts.is_empty() && !baseline.texts.is_empty() && self.shared(baseline).is_empty()
    }

    /// Whether both read texts alike, and render a conversation otherwise: their chat templates differ, or what those
    /// write changes from day to day.
    pub fn renders_otherwise(&self, baseline: &Self) -> bool {
        let parts = |of: &Self| -> (Self, Self) {
            let (rows, texts) = of.texts.iter().cloned().partition(|text| text.name == ROWS);
            (Self { texts: rows, ..of.clone() }, Self { texts, ..of.clone() })
        };
        let ((our_rows, our_texts), (their_rows, their_texts)) = (parts(self), parts(baseline));
        !our_texts.shared(&their_texts).is_empty() && our_rows.reads_otherwise(&their_rows)
    }

    /// All tokens.
    pub fn tokens(&self) -> usize {
        self.texts.iter().map(|text| text.tokens.len()).sum()
    }

    /// The surprise at a byte of the texts, bits. Neither the tokenizer nor a token at the beginning matters to it.
    pub fn bits_per_byte(&self) -> Option<f64> {
        let texts = || self.texts.iter().filter(|text| text.bytes > 0);
        let bytes: u32 = texts().map(|text| text.bytes).sum();
        let nats: f64 = texts().flat_map(|text| &text.tokens).map(|token| -token.logprob).sum();
        (bytes > 0).then(|| nats / std::f64::consts::LN_2 / f64::from(bytes))
    }

    /// The tokens that both know, of the texts that both have: (ours, the baseline's). A token more at the beginning of
    /// one, as where only one puts a first token before each text, is left out.
    pub fn shared<'a>(&'a self, baseline: &'a Self) -> Vec<(&'a Expected, &'a Expected)> {
        if self.version != baseline.version {
            return Vec::new();
        }
        let pairs = self.texts.iter().filter_map(|ours| {
            let theirs = baseline.texts.iter().find(|theirs| theirs.name == ours.name)?;
            let (mine, other) = (&ours.tokens, &theirs.tokens);
            let shared = mine.len().min(other.len());
            let (mine, other) = (mine.get(mine.len() - shared..)?, other.get(other.len() - shared..)?);
            let same = mine.iter().zip(other).all(|(ours, theirs)| ours.own == theirs.own);
            (same && ours.tokens.len().abs_diff(theirs.tokens.len()) <= 1).then(|| mine.iter().zip(other))
        });
        pairs.flatten().collect()
    }

    /// The differences of the logarithms of the probabilities of the texts' own tokens: the baseline's less ours. What is
    /// no text has no bytes, and does not count.
    pub fn surprises(&self, baseline: &Self) -> Vec<f64> {
        let texts = |of: &Self| {
            let texts = of.texts.iter().filter(|text| text.bytes > 0).cloned().collect();
            Self { texts, ..of.clone() }
        };
        let (ours, theirs) = (texts(self), texts(baseline));
        ours.shared(&theirs).iter().map(|(ours, theirs)| theirs.logprob - ours.logprob).collect()
    }

    /// How far this expects otherwise than `baseline`, of which there may be so many looks. Absent where the two share
    /// no text.
    pub fn against(&self, baseline: &Self, looks: u32) -> Option<Divergence> {
        let shared = self.shared(baseline);
        let divergences: Option<Vec<f64>> =
            shared.iter().map(|(ours, theirs)| theirs.divergence(ours)).collect();
        let depth = self.depth.min(baseline.depth);
        let tokens = u32::try_from(shared.len()).unwrap_or(u32::MAX);
        let untold = Divergence { tokens, depth, ..Divergence::default() };
        let flips = shared.iter().filter(|(ours, theirs)| theirs.flips(ours)).count();
        let told = divergences.and_then(|each| Divergence::of(&each, looks)).map(|of| Divergence {
            depth,
            flips: Some(flips as f64 / shared.len() as f64),
            ..of
        });
        (!shared.is_empty()).then(|| told.unwrap_or(untold))
    }
}

/// The mean of these divergences, and its error from the means of neighbours: tokens of one text are not independent.
fn spread(divergences: &[f64]) -> Option<Logarithms> {
    let blocks: Vec<f64> = divergences
        .chunks(BLOCK)
        .filter(|block| block.len() == BLOCK || divergences.len() < 2 * BLOCK)
        .map(|block| block.iter().sum::<f64>() / block.len() as f64)
        .collect();
    let alone = mean_and_error(divergences)?;
    let Some(blocks) = mean_and_error(&blocks) else { return Some(alone) };
    Some(Logarithms {
        mean: alone.mean,
        variance: alone.variance.max(blocks.variance),
        freedom: blocks.freedom,
    })
}

impl Divergence {
    /// The mean of these divergences, of which there may be so many looks. Absent for fewer than two.
    pub fn of(each: &[f64], looks: u32) -> Option<Self> {
        let mean = spread(each)?;
        let half = mean.half_width(OUTSIDE / f64::from(looks.max(1)));
        Some(Self {
            tokens: u32::try_from(each.len()).unwrap_or(u32::MAX),
            depth: MOST,
            mean: Some(mean.mean),
            error: Some(mean.variance.sqrt()),
            low: Some((mean.mean - half).max(0.0)),
            high: Some(mean.mean + half),
            flips: None,
        })
    }

    /// Tells on which side of a limit this lies. Absent where there is no mean.
    pub fn shows(&self, limit: f64) -> Option<Against> {
        let (low, high) = self.low.zip(self.high)?;
        Some(if low > limit {
            Against::Beyond
        } else if high <= limit {
            Against::Within
        } else {
            Against::Open
        })
    }
}

/// The packed form of tokens.
fn pack<S: Serializer>(tokens: &[Expected], serializer: S) -> Result<S::Ok, S::Error> {
    let mut out = String::new();
    for token in tokens {
        if !out.is_empty() {
            out.push(';');
        }
        let own = (token.own, token.logprob);
        for (index, (id, logprob)) in std::iter::once(&own).chain(&token.likely).enumerate() {
            let space = if index == 0 { "" } else { " " };
            let _ = write!(out, "{space}{id}:{:.0}", (-logprob * SCALE).max(0.0));
        }
    }
    serializer.serialize_str(&out)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Expected>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let one = |pair: &str| {
        let (id, parts) = pair.split_once(':')?;
        let parts: u32 = parts.parse().ok()?;
        Some((id.parse::<u32>().ok()?, -f64::from(parts) / SCALE))
    };
    let token = |token: &str| {
        let mut pairs = token.split(' ').map(one);
        let (own, logprob) = pairs.next().flatten()?;
        Some(Expected { own, logprob, likely: pairs.collect::<Option<_>>()? })
    };
    let tokens = text.split(';').filter(|token| !token.is_empty()).take(MOST_TOKENS);
    tokens.map(token).collect::<Option<_>>().ok_or_else(|| serde::de::Error::custom("no packed expectations"))
}
