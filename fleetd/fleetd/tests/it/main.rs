//! The daemon as it is: real processes and a real etcd. Only the supervisors keep account instead of
//! processes, so that a test can say what was started and stopped, when, and in which order.

mod http;
mod invite;
mod join;
mod namespaces;
mod outage;
mod placing;
mod tls;
mod world;
