//! Effects: one file per outside thing. Nothing here decides, or prints.
