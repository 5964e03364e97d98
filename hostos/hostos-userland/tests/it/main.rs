//! The text tools that units use, given the same lines as the elders' and compared.

mod text;
