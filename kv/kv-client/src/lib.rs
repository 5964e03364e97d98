//! A client of etcd's v3 API with failover, watches that resume and leases that live.
