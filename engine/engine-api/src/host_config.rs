//! Shapes of host_configs.
