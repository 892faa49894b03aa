//! Who orders transactions: the ledger port and its embedded and remote engines.
