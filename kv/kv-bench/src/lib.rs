//! A load generator for etcd's API.
