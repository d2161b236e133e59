//! The control thread's way to the stick tables: each shard is asked for its share. For runtime commands, snapshots and the start.

use std::sync::Arc;
use std::time::Duration;

use ringmain_engine::live::TableLive;
use ringmain_engine::mailbox::{Mail, Port, TableOrder};
use ringmain_policy::table::{Answer, Request};

/// How long a shard may take; it does so little for one order that only one that has stopped takes longer.
const PATIENCE: Duration = Duration::from_millis(500);

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

    /// Asks one shard and waits for the answer. `None` when the shard has no room for the order or gives no answer in time.
    pub fn ask(&self, shard: usize, table: &Arc<TableLive>, request: Request) -> Option<Answer> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let order = TableOrder { table: table.clone(), request, reply };
        self.ports.get(shard)?.send(Mail::TableOrder(Box::new(order))).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }
}
