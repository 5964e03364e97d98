//! Docker's verbs for hosts without the stock client.
