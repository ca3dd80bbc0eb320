//! Questions with known answers, for telling a model that works from one that only runs.
