//! The checks that any server must pass, whatever its speed: does it answer the API as vLLM does?
//!
//! None of them looks at what the text means, and none compares two texts: a tiny random model passes,
//! and so does one that does not say the same thing twice.

use super::{Miss, Subject};
use crate::{
    domain::openai::{Answer, ApiError, Request},
    host::serving::{Api, Raw},
};

/// What the smoke checks ask for.
const PROMPT: &str = "The ships in the harbour";
const MESSAGE: &str = "Name a fruit.";
/// Few, because a server may be slow and the old one is stopped while this one is judged.
const TOKENS: u32 = 8;

/// Texts that hardly any prose goes without. A server that ignores `stop` is caught by their being there;
/// one that honours it never shows them, whatever its model says.
const STOPS: [&str; 4] = [" ", "e", "a", "\n"];
/// Tokens to let such a server show itself in.
const STOP_TOKENS: u32 = 16;

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Smoke {
    Health,
    Models,
    Completion,
    Chat,
    ChatStream,
    CompletionStream,
    Limits,
    ErrorShape,
}

impl Smoke {
    /// All of them, the ones that the others build on first.
    pub(super) const ALL: [Self; 8] = [
        Self::Health,
        Self::Models,
        Self::Completion,
        Self::Chat,
        Self::ChatStream,
        Self::CompletionStream,
        Self::Limits,
        Self::ErrorShape,
    ];

    /// Its stable name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Models => "models",
            Self::Completion => "completion",
            Self::Chat => "chat",
            Self::ChatStream => "chat-stream",
            Self::CompletionStream => "completion-stream",
            Self::Limits => "limits",
            Self::ErrorShape => "error-shape",
        }
    }

    /// Whether the others mean nothing without it.
    pub(super) const fn is_essential(self) -> bool {
        matches!(self, Self::Health | Self::Models | Self::Completion)
    }

    pub(super) async fn run(self, api: &Api, subject: Subject<'_>) -> Result<(), Miss> {
        match self {
            Self::Health => match api.health().await? {
                200 => Ok(()),
                status => Err(Miss::Wrong(format!("answered status {status}"))),
            },
            Self::Models => models(api, subject).await,
            Self::Completion => {
                let answer = api.answer(&Request::complete(PROMPT, TOKENS)).await?;
                counted(&answer, TOKENS)
            }
            Self::Chat => {
                let answer = api.answer(&Request::chat(MESSAGE, TOKENS)).await?;
                spoken_by_the_assistant(&answer)?;
                counted(&answer, TOKENS)
            }
            Self::ChatStream => {
                let streamed = api.stream(&Request::chat(MESSAGE, TOKENS)).await?;
                spoken_by_the_assistant(&streamed.answer)?;
                counted(&streamed.answer, TOKENS)
            }
            Self::CompletionStream => {
                let streamed = api.stream(&Request::complete(PROMPT, TOKENS)).await?;
                counted(&streamed.answer, TOKENS)
            }
            Self::Limits => limits(api).await,
            Self::ErrorShape => error_shape(api).await,
        }
    }
}

/// The served name is there, and what is behind it is what this generation runs: an old server that kept
/// the port would answer everything else just as well.
async fn models(api: &Api, subject: Subject<'_>) -> Result<(), Miss> {
    let models = api.models().await?;
    let wanted = api.model();
    let Some(model) = models.data.iter().find(|model| model.id == wanted) else {
        let served: Vec<_> = models.data.iter().map(|model| &*model.id).collect();
        return Err(Miss::Wrong(format!("`{wanted}` is not served, only `{}`", served.join("`, `"))));
    };
    match (&model.root, subject.argv) {
        (Some(root), Some(argv)) if !argv.contains(root) => Err(Miss::Wrong(format!(
            "`{wanted}` is served from `{root}`, which is not what this generation runs"
        ))),
        _ => Ok(()),
    }
}

fn spoken_by_the_assistant(answer: &Answer) -> Result<(), Miss> {
    match answer.role.as_deref() {
        Some("assistant") => Ok(()),
        Some(role) => Err(Miss::Wrong(format!("the role is `{role}`"))),
        None => Err(Miss::Wrong("the answer begins without a role".to_owned())),
    }
}

/// The usage adds up and keeps to the limit.
fn counted(answer: &Answer, limit: u32) -> Result<(), Miss> {
    let usage = answer.usage;
    let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
    if !(1..=limit).contains(&completion) {
        return Err(Miss::Wrong(format!(
            "{completion} tokens were generated, where 1 to {limit} were asked for"
        )));
    }
    if prompt == 0 || prompt.checked_add(completion) != Some(usage.total_tokens) {
        return Err(Miss::Wrong(format!(
            "the usage does not add up: {prompt} + {completion} is not {}",
            usage.total_tokens
        )));
    }
    Ok(())
}

/// `max_tokens` is exact where the model may not end by itself, and `stop` texts are never shown.
async fn limits(api: &Api) -> Result<(), Miss> {
    const EXACTLY: u32 = 5;
    let answer = api.answer(&Request::complete(PROMPT, EXACTLY).to_the_limit()).await?;
    let count = answer.usage.completion_tokens;
    if count != EXACTLY || answer.finish_reason != "length" {
        return Err(Miss::Wrong(format!(
            "`max_tokens` of {EXACTLY} was answered with {count} tokens and `{}`",
            answer.finish_reason
        )));
    }
    let request = Request::complete(PROMPT, STOP_TOKENS).to_the_limit().stopping_at(STOPS);
    let answer = api.answer(&request).await?;
    match STOPS.iter().find(|stop| answer.text.contains(**stop)) {
        Some(stop) => Err(Miss::Wrong(format!("the text goes on behind the `stop` of {stop:?}"))),
        None => Ok(()),
    }
}

/// Clients' mistakes are answered as such, with vLLM's error body.
async fn error_shape(api: &Api) -> Result<(), Miss> {
    let path = Request::complete(PROMPT, TOKENS).path();
    let unknown = format!("not-{}", api.model());
    let body = serde_json::json!({ "model": unknown, "prompt": PROMPT, "max_tokens": 1 });
    let answer = api.post(path, body.to_string()).await?;
    refused("an unknown model", &answer, 404)?;
    let answer = api.post(path, "{\"prompt\": ".to_owned()).await?;
    refused("a broken body", &answer, 400)
}

fn refused(what: &str, answer: &Raw, wanted: u16) -> Result<(), Miss> {
    if answer.status != wanted {
        return Err(Miss::Wrong(format!("{what} was answered with status {}, not {wanted}", answer.status)));
    }
    let error = ApiError::parse(&answer.body)?;
    if error.code != wanted {
        return Err(Miss::Wrong(format!(
            "{what} was answered with the code {} under status {wanted}",
            error.code
        )));
    }
    Ok(())
}
