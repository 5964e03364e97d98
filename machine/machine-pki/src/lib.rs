//! The certificate authority of a store, and the certificates of its machines.
