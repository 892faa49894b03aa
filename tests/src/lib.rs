//! The whole: simulator, end to end, vectors, house rules.
