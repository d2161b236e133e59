//! The proxies that are compared, and what makes each of them different. Pure.

use super::plan::VersusWorkload;
use super::subject::{BASELINE, BASELINE_MQTT, BASELINE_TABLE, BASELINE_TWO, FLOOR, FLOOR_MQTT};
use std::path::{Path, PathBuf};

/// How a program is told what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By `ringbench floor`'s arguments.
    Floor,
    /// By haproxy.cfg and variables.
    Haproxy,
    /// By a filled-in nginx.conf.
    Nginx,
}

/// What one proxy takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// All plain TCP.
    Tcp,
    /// Bulk only: elsewhere it is the same as another one.
    Bulk,
    /// MQTT as plain TCP.
    Mqtt,
    /// MQTT with a stick table of client identifiers.
    MqttTable,
}

impl Role {
    /// Whether this role includes a workload.
    pub(super) fn includes(self, workload: VersusWorkload) -> bool {
        match workload {
            VersusWorkload::Sessions(_) => self == Self::Mqtt,
            VersusWorkload::SessionsTable(_) => self == Self::MqttTable,
            VersusWorkload::Bulk(_) => matches!(self, Self::Tcp | Self::Bulk),
            _ => self == Self::Tcp,
        }
    }

    /// Whether the server behind it is a broker.
    pub(super) fn speaks_mqtt(self) -> bool {
        matches!(self, Self::Mqtt | Self::MqttTable)
    }
}

/// How one proxy is started.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// Name in results, without blanks.
    pub(super) key: &'static str,
    /// Name in tables.
    pub(super) title: &'static str,
    /// Path, or a name to look for.
    pub(super) program: PathBuf,
    pub(super) kind: Kind,
    pub(super) threads: usize,
    pub(super) role: Role,
    /// Environment of haproxy.cfg.
    pub(super) variables: &'static [(&'static str, &'static str)],
}

/// All of them, in the order of the tables; `myself` is this program, which is the floor too, and `other` a second Ringmain, if any.
pub(super) fn recipes(first: &Path, other: Option<&Path>, myself: &Path) -> Vec<Recipe> {
    let haproxy = |key, title| Recipe {
        key,
        title,
        program: PathBuf::from("haproxy"),
        kind: Kind::Haproxy,
        threads: 1,
        role: Role::Tcp,
        variables: &[],
    };
    let nginx = |key, title, threads| Recipe { program: PathBuf::from("nginx"), kind: Kind::Nginx, threads, ..haproxy(key, title) };
    let ringmain = |key, title, threads, program: &Path| Recipe { program: program.to_owned(), threads, ..haproxy(key, title) };
    let mut all = vec![
        Recipe { program: myself.to_owned(), kind: Kind::Floor, ..haproxy(FLOOR, "bare floor") },
        ringmain("ringmain", "Ringmain", 1, first),
        haproxy(BASELINE, "HAProxy"),
        Recipe { variables: &[("VERSUS_SPLICE_AUTO", "1")], ..haproxy("haproxy-splice-auto", "HAProxy splice-auto") },
        Recipe { variables: &[("VERSUS_SPLICE", "1")], role: Role::Bulk, ..haproxy("haproxy-splice", "HAProxy splice") },
        Recipe {
            variables: &[("VERSUS_SPLICE", "1"), ("VERSUS_PIPESIZE", "1048576")],
            role: Role::Bulk,
            ..haproxy("haproxy-splice-1m", "HAProxy splice 1 MiB")
        },
        nginx("nginx", "nginx stream", 1),
        ringmain("ringmain-2", "Ringmain, 2 shards", 2, first),
        Recipe { threads: 2, ..haproxy(BASELINE_TWO, "HAProxy, 2 threads") },
        nginx("nginx-2", "nginx, 2 workers", 2),
        Recipe { program: myself.to_owned(), kind: Kind::Floor, role: Role::Mqtt, ..haproxy(FLOOR_MQTT, "bare floor") },
        Recipe { role: Role::Mqtt, ..ringmain("ringmain-mqtt", "Ringmain", 1, first) },
        Recipe { role: Role::Mqtt, ..haproxy(BASELINE_MQTT, "HAProxy") },
        Recipe { role: Role::Mqtt, ..nginx("nginx-mqtt", "nginx stream", 1) },
        Recipe { role: Role::MqttTable, ..ringmain("ringmain-table", "Ringmain, table", 1, first) },
        Recipe { role: Role::MqttTable, ..haproxy(BASELINE_TABLE, "HAProxy, table") },
    ];
    if let Some(other) = other {
        all.insert(2, ringmain("ringmain-other", "Ringmain, other", 1, other));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_the_baselines_are_there() {
        let all = recipes(Path::new("ringmain"), Some(Path::new("ringmain-old")), Path::new("ringbench"));
        let mut keys: Vec<&str> = all.iter().map(|recipe| recipe.key).collect();
        assert!([BASELINE, BASELINE_TWO, BASELINE_MQTT, BASELINE_TABLE, FLOOR, FLOOR_MQTT].iter().all(|key| keys.contains(key)));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
    }

    #[test]
    fn every_standard_workload_has_its_proxies_and_its_baseline() {
        let all = recipes(Path::new("ringmain"), None, Path::new("ringbench"));
        for workload in crate::versus::plan::workloads(&[]).expect("standard ones") {
            let takes_part = |recipe: &&Recipe| recipe.threads == workload.threads() && recipe.role.includes(workload);
            let keys: Vec<&str> = all.iter().filter(takes_part).map(|recipe| recipe.key).collect();
            assert!(keys.contains(&workload.baseline()), "{workload}: {keys:?}");
            assert!(keys.iter().any(|key| key.starts_with("ringmain")), "{workload}: {keys:?}");
            assert!(workload.floor().is_none_or(|floor| keys.contains(&floor)), "{workload}: {keys:?}");
        }
    }
}
