//! Connection state of one receiver.

use std::fmt::Display;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Source;
use crate::cache::Rules;
use crate::metrics::events::Receiver;

/// Connection state of one receiver. No events are trusted while a configured receiver is disconnected (R26). Initially
/// disconnected.
pub struct ReceiverStatus {
    rules: Arc<Rules>,
    source: Source,
    name: String,
    state: Mutex<State>,
}

struct State {
    up: bool,
    /// Reason of the last disconnection, as logged.
    why: String,
    receiver: Receiver,
}

impl ReceiverStatus {
    pub(super) fn new(rules: Arc<Rules>, source: Source, name: String) -> Self {
        let receiver = Receiver::new(source, &name);
        receiver.set_up(false);
        rules.receiver_lost("it is starting");
        Self {
            rules,
            source,
            name,
            state: Mutex::new(State { up: false, why: String::new(), receiver }),
        }
    }

    /// Marks the receiver as connected. Logs the change once.
    pub fn up(&self) {
        let mut state = self.state.lock();
        if !state.up {
            state.up = true;
            state.why.clear();
            state.receiver.set_up(true);
            self.rules.receiver_back();
            log::info!("events: {} {} is connected", self.source.label(), self.name);
        }
    }

    /// Marks the receiver as disconnected. Logs each reason once.
    pub fn down(&self, why: &dyn Display) {
        let (mut state, why) = (self.state.lock(), why.to_string());
        let (source, name) = (self.source.label(), &self.name);
        if state.why != why {
            log::warn!("events: {source} {name} is not connected: {why}");
            state.why = why;
        }
        if state.up {
            state.up = false;
            state.receiver.set_up(false);
            self.rules.receiver_lost(&format!("{source} {name} is not connected"));
        }
    }

    /// Sets the number of waiting messages, where the source reports it.
    pub fn queued(&self, messages: u64) {
        self.state.lock().receiver.set_queued(messages);
    }

    /// Describes the source and its connection state for `/readyz`.
    pub fn describe(&self) -> String {
        let up = if self.state.lock().up { "connected" } else { "not connected" };
        format!("{} {}: {up}", self.source.label(), self.name)
    }
}

impl Drop for ReceiverStatus {
    /// Removes a receiver that is no longer configured: it no longer prevents trust, and is neither up nor down.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if !state.up {
            self.rules.receiver_back();
        }
        state.receiver.remove();
    }
}
