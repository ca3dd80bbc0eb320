//! The shapes of the OpenAI-compatible API as vLLM answers it.
