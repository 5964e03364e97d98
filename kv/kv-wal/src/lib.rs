//! A segmented, preallocated, checksummed write-ahead log.
