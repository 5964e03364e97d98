//! The replicated log under kvd, on openraft.
