"""The ledger: which runs exist, where every copy of them is and how well that is known."""
