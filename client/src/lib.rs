//! An owner's or buyer's side: put, get, share, sell, buy.
