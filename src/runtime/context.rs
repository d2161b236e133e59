//! What the control loop lends to commands.

use crate::control::{ControlState, Fleet};
use crate::stats::Averages;

/// The state that commands read and change, for one turn of the control loop.
pub struct ControlContext<'a> {
    /// Servers, backends and frontends; its time is the time of the turn.
    pub fleet: &'a mut Fleet,
    /// Facts about the process, and the list of requests that commands leave for the loop.
    pub state: &'a mut ControlState,
    /// Mean times, kept from one reading to the next.
    pub averages: &'a mut Averages,
}
