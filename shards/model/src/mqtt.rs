//! What proxies are told about MQTT: health checks that speak it. HAProxy has no such options; these are ours.

use std::sync::Arc;

/// `option mqtt-check`: servers are healthy when they accept a CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttCheck {
    /// `version`, 3.1.1 when not given.
    pub version: MqttVersion,
    /// `user`, up to 65,535 bytes.
    pub user: Option<Arc<str>>,
    /// `password`, up to 65,535 bytes; without a user only in MQTT 5.0.
    pub password: Option<Arc<str>>,
    /// `client-id`, up to 65,535 bytes; another one for each check when not given, so that no two checks take each other's session over.
    pub client_id: Option<Arc<str>>,
}

/// Versions of MQTT that checks speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1, which every broker knows.
    #[default]
    V3_1_1,
    /// MQTT 5.0.
    V5,
}

impl MqttVersion {
    /// As configurations write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5",
        }
    }
}
