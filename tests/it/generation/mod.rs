//! Generations, and what is told of them.

mod declaration;
mod notice;
