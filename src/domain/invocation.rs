//! The argument list and environment of `vllm serve`, and which version knows which flag.
