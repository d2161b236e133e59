//! The control thread's way to the stick tables: each shard is asked for its share. For runtime commands, snapshots and the start.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use ringmain_engine::live::TableLive;
use ringmain_engine::mailbox::{Mail, Port, TableOrder};
use ringmain_policy::table::{Answer, Request};

/// How long a shard may take; it does so little for one order that only one that has stopped takes longer.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Asks shards about their shares.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    ports: Vec<Arc<Port>>,
}

impl Tables {
    /// Over these ports.
    pub fn new(ports: Vec<Arc<Port>>) -> Self {
        Self { ports }
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.ports.len()
    }

    /// Asks one shard whose answer comes on a channel, which must have room for it. `false` when the shard has no room for the order.
    pub(super) fn tell(&self, shard: usize, table: &Arc<TableLive>, request: Request, reply: &Sender<Answer>) -> bool {
        let order = TableOrder { table: table.clone(), request, reply: reply.clone() };
        self.ports.get(shard).is_some_and(|port| port.send(Mail::TableOrder(Box::new(order))).is_ok())
    }

    /// Asks one shard and waits for the answer. `None` when the shard has no room for the order or gives no answer in time.
    pub fn ask(&self, shard: usize, table: &Arc<TableLive>, request: Request) -> Option<Answer> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.tell(shard, table, request, &reply).then(|| answer.recv_timeout(PATIENCE).ok()).flatten()
    }
}
