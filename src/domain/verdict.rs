//! From measurements to a verdict.
