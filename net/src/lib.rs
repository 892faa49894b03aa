//! Who talks to whom: iroh QUIC endpoints, their in-memory twin, and framing.
