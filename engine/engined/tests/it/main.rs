//! The engine as a user meets it: the program itself, driven by the stock client.
//!
//! Needs root, namespaces, busybox and docker's client; without one of them a test says so and passes.

mod again;
mod clients;
mod engine;
mod golden;
mod killed;
mod mirrors;
mod normal;
mod own_client;
mod registries;
mod settings;
mod wire;
