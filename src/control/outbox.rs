//! Mail to the shards that must arrive: what a full mailbox refuses waits here, in order, and is sent again shortly.

use std::collections::VecDeque;
use std::sync::Arc;

use ringmain_engine::mailbox::{Mail, Port};

use super::tables::Tables;

/// Mail kept for one shard at most. A shard that takes none of so much has stopped working; what comes on top is dropped.
const KEPT_LIMIT: usize = 10_000;

/// Ports of all shards with what they have not taken yet.
#[derive(Debug)]
pub struct Outbox {
    ports: Vec<Arc<Port>>,
    waiting: Vec<VecDeque<Mail>>,
}

impl Outbox {
    /// An empty outbox over these ports.
    pub fn new(ports: Vec<Arc<Port>>) -> Self {
        let waiting = ports.iter().map(|_| VecDeque::new()).collect();
        Self { ports, waiting }
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.ports.len()
    }

    /// The way to the tables of these shards.
    pub fn tables(&self) -> Tables {
        Tables::new(self.ports.clone())
    }

    /// Sends to one shard, after everything that it has not taken yet.
    pub fn send(&mut self, shard: usize, mail: Mail) {
        let (Some(port), Some(waiting)) = (self.ports.get(shard), self.waiting.get_mut(shard)) else { return };
        let refused = if waiting.is_empty() { port.send(mail).err() } else { Some(Box::new(mail)) };
        if let Some(mail) = refused.filter(|_| waiting.len() < KEPT_LIMIT) {
            waiting.push_back(*mail);
        }
    }

    /// Sends one mail to each shard.
    pub fn broadcast(&mut self, mail: impl Fn() -> Mail) {
        (0..self.ports.len()).for_each(|shard| self.send(shard, mail()));
    }

    /// Sends again what was refused. `true` when all of it was taken.
    pub fn retry(&mut self) -> bool {
        for (port, waiting) in self.ports.iter().zip(&mut self.waiting) {
            while let Some(mail) = waiting.pop_front() {
                if let Err(mail) = port.send(mail) {
                    waiting.push_front(*mail);
                    break;
                }
            }
        }
        self.is_empty()
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Wakes all shards, so that they look at what they share.
    pub fn ring(&self) {
        self.ports.iter().for_each(|port| port.ring());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_engine::mailbox::MAILBOX_CAPACITY;

    #[test]
    fn refused_mail_arrives_later_and_in_order() {
        let (port, inbox) = Port::new(0);
        let mut outbox = Outbox::new(vec![port]);
        for number in 0..MAILBOX_CAPACITY as u64 + 2 {
            outbox.send(0, Mail::ShutdownGenerationsBefore(number));
        }
        assert!(!outbox.is_empty() && !outbox.retry());
        let number = |mail| match mail {
            Ok(Mail::ShutdownGenerationsBefore(number)) => number,
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(number(inbox.try_recv()), 0);
        assert_eq!(number(inbox.try_recv()), 1);
        assert!(outbox.retry(), "there was room for the two that waited");
        let rest: Vec<u64> = std::iter::from_fn(|| inbox.try_recv().ok()).map(|mail| number(Ok(mail))).collect();
        assert_eq!(rest, (2..MAILBOX_CAPACITY as u64 + 2).collect::<Vec<_>>());
    }
}
