//! Measures the engine beside dockerd.
