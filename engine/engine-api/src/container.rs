//! Shapes of containers.
