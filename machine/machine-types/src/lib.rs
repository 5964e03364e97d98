//! Names and shapes a machine is described by: first code follows.
