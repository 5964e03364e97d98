//! Orders from other threads of the supervisor's process.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use nix::sys::eventfd::{EfdFlags, EventFd};
use units_api::ShutdownAction;

#[derive(Debug)]
pub(crate) enum Order {
    Start(String),
    Stop(String),
    Shutdown(ShutdownAction, String),
    Environment(String, String),
    Reload,
}

/// A handle on a running supervisor, for other threads of its process.
#[derive(Clone, Debug)]
pub struct Remote {
    wake: Arc<EventFd>,
    orders: Arc<Mutex<Vec<Order>>>,
}

impl Remote {
    pub(crate) fn new() -> std::io::Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { wake: Arc::new(wake), orders: Arc::default() })
    }

    /// Starts a unit and what it needs.
    pub fn start(&self, unit: &str) {
        self.send(Order::Start(unit.to_owned()));
    }

    /// Stops a unit and what requires it.
    pub fn stop(&self, unit: &str) {
        self.send(Order::Stop(unit.to_owned()));
    }

    /// Stops everything and ends the loop.
    pub fn shutdown(&self, action: ShutdownAction, reason: &str) {
        self.send(Order::Shutdown(action, reason.to_owned()));
    }

    /// Sets a variable for processes that are started from now on.
    pub fn set_environment(&self, name: &str, value: &str) {
        self.send(Order::Environment(name.to_owned(), value.to_owned()));
    }

    /// Reads all unit files again.
    pub fn reload(&self) {
        self.send(Order::Reload);
    }

    fn send(&self, order: Order) {
        self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(order);
        let _ = self.wake.write(1);
    }

    pub(crate) fn take(&self) -> Vec<Order> {
        let _ = self.wake.read();
        std::mem::take(&mut self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl AsFd for Remote {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
