//! Medians and spreads.
