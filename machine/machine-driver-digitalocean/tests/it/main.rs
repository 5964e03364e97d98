//! The driver against a DigitalOcean that behaves badly.

mod faults;
mod mock;
