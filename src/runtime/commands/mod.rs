//! The commands, by family. Each handler reads its words, calls the fleet or statistics, and says what HAProxy would.

mod change;
mod connection;
mod limit;
mod mqtt;
mod read;
mod server;
mod stat;
mod state;
mod table;
mod variable;

pub use change::CHANGES;
pub use connection::CONNECTION;
pub use limit::LIMITS;
pub use mqtt::MQTT;
pub use read::READS;
pub use server::SERVERS;
pub use stat::STATISTICS;
pub use state::STATES;
pub use table::TABLES;
pub use variable::VARIABLES;
