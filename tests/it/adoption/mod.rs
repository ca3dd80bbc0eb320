//! A server that somebody set up by hand.

mod adopt;
mod command_line;
mod found;
