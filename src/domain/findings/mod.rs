//! What is found wrong with a deployment, or worth knowing of it.

pub mod refusal;
