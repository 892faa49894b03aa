//! A storage node: serve, prove, earn, keep custody shares.
