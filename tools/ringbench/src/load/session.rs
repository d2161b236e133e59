//! How a connection of an exchange worker becomes ready for operations: connected, secured, introduced; and how a handshake's tickets
//! are waited for. The other half of [`Exchanger`].

use super::errors::ErrorKind;
use super::exchange::{Exchanger, nanoseconds};
use super::slot::{Phase, connect_result};
use crate::tls::TlsClient;
use crate::transport::Transport;
use std::io;
use std::time::Duration;

/// Longest wait for a server's tickets after a handshake: some send none.
const LINGER: Duration = Duration::from_secs(1);

impl Exchanger<'_> {
    /// The connect of a slot has ended, or not yet.
    pub(super) fn connected(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot.transport.as_ref().map(Transport::socket).and_then(connect_result) {
            None => return,
            Some(Err(kind)) => return self.fail(index, kind),
            Some(Ok(())) => {}
        }
        let Some(tls) = &self.tls else { return self.introduce(index) };
        match (tls.connect(), slot.transport.take()) {
            (Ok(session), Some(Transport::Plain(socket))) => {
                slot.transport = Some(Transport::secured(socket, session.into()));
                slot.phase = Phase::Securing;
                self.secure(index);
            }
            _ => self.fail(index, ErrorKind::Tls),
        }
    }

    /// Carries a TLS handshake on.
    pub(super) fn secure(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(transport) = slot.transport.as_mut() else { return };
        match transport.handshake() {
            Ok(false) => self.settle(index),
            Ok(true) => {
                let resumed = transport.resumed() == Some(true);
                self.recorder.handshake(self.clock.now(), resumed);
                self.introduce(index);
            }
            Err(error) => {
                let kind = ErrorKind::of(&error);
                if kind == ErrorKind::Tls {
                    self.recorder.example(kind, &error);
                }
                self.fail(index, kind);
            }
        }
    }

    /// Says what the protocol says first.
    fn introduce(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if !slot.introduce() {
            return self.opened(index);
        }
        slot.phase = Phase::Opening;
        slot.deadline_ns = self.clock.now().saturating_add(nanoseconds(self.plan.timeout));
        self.push(index);
    }

    /// A slot is ready for operations.
    pub(super) fn opened(&mut self, index: usize) {
        let now_ns = self.clock.now();
        let Some(slot) = self.slots.get_mut(index) else { return };
        self.connecting -= 1;
        self.recorder.connected(slot.connect_ns, now_ns);
        slot.phase = Phase::Ready;
        slot.deadline_ns = u64::MAX;
        if self.plan.opening_is_all() {
            return self.opened_for_nothing_else(index, now_ns);
        }
        if !slot.operations.is_empty() {
            return self.ask(index, now_ns);
        }
        self.free.extend(std::iter::repeat_n((index, now_ns), self.plan.pipeline));
        self.tried(index);
        // An empty push settles the interest: reading, to notice a close.
        self.push(index);
    }

    /// The opening was the operation: record it and end the connection, at once or when its tickets are there.
    fn opened_for_nothing_else(&mut self, index: usize, now_ns: u64) {
        let resumes = self.tls.as_ref().is_some_and(TlsClient::resumes);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let not_resumed = resumes && slot.transport.as_ref().and_then(Transport::resumed) == Some(false);
        let verdict = if not_resumed { Err(ErrorKind::NotResumed) } else { Ok(slot.talk.server()) };
        let tickets_to_come = resumes && slot.transport.as_ref().is_some_and(Transport::tickets_come_late);
        self.answered(index, verdict, now_ns);
        if !tickets_to_come {
            return self.leave(index);
        }
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.phase = Phase::Lingering;
        slot.deadline_ns = now_ns.saturating_add(nanoseconds(LINGER));
        self.settle(index);
    }

    /// Reads until the tickets are there, or will not come.
    pub(super) fn linger(&mut self, index: usize) {
        let before = self.tls.as_ref().map_or(0, TlsClient::tickets_received);
        let Some(transport) = self.slots.get_mut(index).and_then(|slot| slot.transport.as_mut()) else { return };
        let result = transport.read(&mut self.scratch);
        let waits = matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if self.tls.as_ref().map_or(0, TlsClient::tickets_received) > before || !waits {
            self.leave(index);
        }
    }

    /// Ends a connection whose operation is done; its slot is free for the next.
    pub(super) fn leave(&mut self, index: usize) {
        self.close(index);
        self.tried(index);
        self.free.push_back((index, self.clock.now()));
    }
}
