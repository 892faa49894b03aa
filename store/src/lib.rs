//! What lies on a node's disk: shard files and their redb index.
