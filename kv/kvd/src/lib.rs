//! A replicated key-value store that speaks etcd's API.
