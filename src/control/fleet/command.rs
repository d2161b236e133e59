//! The runtime commands that change servers and limits, with HAProxy's answers (management guide section 9.3).

use std::net::IpAddr;

use ringmain_model::{Balance, HashMethod, ServerHost, ServerId, ServerPort};

use super::{Effect, Fleet};

impl Fleet {
    /// `set server ... weight` and `set weight`: an absolute weight, or `N%` of the configured one.
    ///
    /// # Errors
    /// HAProxy's words for a weight that is missing, malformed, out of range, or not possible with a static algorithm.
    pub fn set_weight(&mut self, id: ServerId, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Err("Require <weight> or <weight%>.".into());
        }
        let configured = i64::from(self.model().server(id).weight);
        let (number, rest) = leading_integer(text).ok_or("Empty weight string empty or preceded by garbage")?;
        let weight = match rest {
            "" if (0..=256).contains(&number) => number,
            "" => return Err("Absolute weight can only be between 0 and 256 inclusive.".into()),
            "%" if number < 0 => return Err("Relative weight must be positive.".into()),
            "%" => (configured.saturating_mul(number) / 100).min(256),
            _ => return Err("Trailing garbage in weight string".into()),
        };
        if weight != 0 && weight != configured && !self.weights_may_change(id) {
            return Err("Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.".into());
        }
        self.change_weight(id, weight as u16);
        Ok(())
    }

    fn weights_may_change(&self, id: ServerId) -> bool {
        let backend = self.model().backend(self.model().server(id).backend);
        match backend.balance {
            Balance::StaticRoundRobin => false,
            Balance::Source => backend.hash.method == HashMethod::Consistent,
            _ => true,
        }
    }

    /// `set server ... addr ADDRESS [port PORT]`, from words without the command. Returns the sentence to answer.
    ///
    /// # Errors
    /// The sentence, when nothing was understood.
    pub fn set_address(&mut self, id: ServerId, address: &str, port: Option<&str>) -> Result<String, String> {
        const BY: &str = " by 'stats socket command'";
        let new: IpAddr = address.parse().map_err(|_| format!("Invalid addr '{address}'{BY}"))?;
        let state = &self.servers[id.index()];
        if matches!(state.host, ServerHost::Unix(_) | ServerHost::Abstract(_)) {
            return Err("can't change the address of a server that is reached over a unix socket".into());
        }
        let mut sentence = match &state.host {
            ServerHost::Ip(old) if *old == new => "no need to change the addr".to_string(),
            ServerHost::Ip(old) => format!("IP changed from '{old}' to '{new}'"),
            _ => format!("IP changed from '' to '{new}'"),
        };
        let mut new_port = state.port;
        if let Some(text) = port {
            sentence.push_str(", ");
            match self.parse_port(id, text) {
                Ok(port) if port == new_port => sentence.push_str("no need to change the port"),
                Ok(port) => {
                    sentence.push_str(&format!("port changed from '{}' to '{}'", show_port(new_port), show_port(port)));
                    new_port = port;
                }
                // As HAProxy: a port that is not understood leaves the address untouched too.
                Err(why) => return Err(format!("{sentence}{why}{BY}")),
            }
        }
        let state = &mut self.servers[id.index()];
        state.host = ServerHost::Ip(new);
        state.port = new_port;
        self.set_resolved(id, true);
        self.settle(id);
        Ok(format!("{sentence}{BY}"))
    }

    fn parse_port(&self, id: ServerId, text: &str) -> Result<ServerPort, String> {
        let number: i32 = text.parse().map_err(|_| format!("problem converting port '{text}' to an int"))?;
        if !text.starts_with(['+', '-']) {
            let port = u16::try_from(number).map_err(|_| format!("problem converting port '{text}' to an int"))?;
            return Ok(ServerPort::Fixed(port));
        }
        let checked_by_port = self.model().server(id).check.is_some_and(|check| check.port.is_none());
        if checked_by_port && self.servers[id.index()].check.port.is_none() {
            return Err("can't change <port> to port map because it is incompatible with current health check port \
                        configuration (use 'port' statement from the 'server' directive."
                .into());
        }
        Ok(ServerPort::Offset(number))
    }

    /// `set server ... check-port`.
    ///
    /// # Errors
    /// HAProxy's words for a server without checks or an impossible port.
    pub fn set_check_port(&mut self, id: ServerId, text: &str) -> Result<String, String> {
        if self.model().server(id).check.is_none() {
            return Err("Health checks are not enabled on this server.".into());
        }
        let port = text.parse::<u16>().ok().filter(|port| *port > 0).ok_or("provided port is not valid.")?;
        self.servers[id.index()].check.port = Some(port);
        Ok("health check port updated.".into())
    }

    /// `set server ... check-addr ADDRESS [port PORT]`.
    ///
    /// # Errors
    /// HAProxy's words for a server without checks or an impossible address.
    pub fn set_check_address(&mut self, id: ServerId, address: &str, port: Option<&str>) -> Result<(), String> {
        if self.model().server(id).check.is_none() {
            return Err("Health checks are not enabled on this server.".into());
        }
        let address: IpAddr = address.parse().map_err(|_| "provided check-addr is not valid.".to_string())?;
        if let Some(port) = port {
            self.set_check_port(id, port)?;
        }
        self.servers[id.index()].check.address = Some(address);
        Ok(())
    }

    /// `enable health` and `disable health`.
    ///
    /// # Errors
    /// HAProxy's words for a server without a configured check.
    pub fn set_check_enabled(&mut self, id: ServerId, enabled: bool) -> Result<(), String> {
        let configured = self.model().server(id).check.is_some();
        if enabled && !configured {
            return Err("Health check was not configured on this server, cannot enable.".into());
        }
        if configured {
            self.health.set_check_enabled(id.index(), enabled, self.now_ms);
            self.copy_state(id);
            self.effects.push(Effect::Reschedule(id));
        }
        Ok(())
    }

    /// `set maxconn server`.
    ///
    /// # Errors
    /// HAProxy's words for a number that is missing or malformed.
    pub fn set_server_maxconn(&mut self, id: ServerId, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Err("Require <maxconn>.".into());
        }
        let (number, rest) = leading_integer(text).ok_or("maxconn string empty or preceded by garbage")?;
        if !rest.is_empty() {
            return Err("Trailing garbage in maxconn string".into());
        }
        let Ok(maxconn) = u32::try_from(number) else { return Err("maxconn must not be negative".into()) };
        let state = &mut self.servers[id.index()];
        if state.minconn == state.maxconn {
            state.minconn = maxconn;
        }
        state.maxconn = maxconn;
        self.settle(id);
        Ok(())
    }

    /// `shutdown sessions server`.
    pub fn shutdown_sessions(&mut self, id: ServerId) {
        self.effects.push(Effect::KillSessions(self.generation.server(id).clone()));
    }
}

/// A limit of a runtime command.
///
/// # Errors
/// HAProxy's words when it is missing or no number.
pub(crate) fn parse_limit(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "Integer value expected.".to_string())
}

fn show_port(port: ServerPort) -> String {
    match port {
        ServerPort::Fixed(port) => port.to_string(),
        ServerPort::Client => "+0".into(),
        ServerPort::Offset(offset) => format!("{offset:+}"),
    }
}

/// The integer at the start of a text and what follows it, as strtol(3) reads it.
fn leading_integer(text: &str) -> Option<(i64, &str)> {
    let digits_at = usize::from(text.starts_with(['+', '-']));
    let end = text[digits_at..].find(|letter: char| !letter.is_ascii_digit()).map_or(text.len(), |offset| digits_at + offset);
    let (number, rest) = text.split_at(end);
    number.parse().ok().map(|number| (number, rest))
}
