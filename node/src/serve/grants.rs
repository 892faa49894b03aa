//! Whether a peer may do what it asks: grants verified once, then judged for each request.
