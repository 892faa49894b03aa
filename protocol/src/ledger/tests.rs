//! The ledger's rules on a real state: every status, random histories, epochs, sales, vectors.

mod admission;
mod audit;
mod beacon;
mod bounded;
mod collateral;
mod disputes;
mod elsewhere;
mod epochs;
mod evidence;
mod fees;
mod fields;
mod kept;
mod lasting;
mod motions;
mod random;
mod repairs;
mod sales;
mod seller;
mod stake;
mod statuses;
mod vaults;
mod vectors;
mod world;
