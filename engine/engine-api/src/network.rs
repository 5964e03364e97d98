//! Shapes of networks.
