//! Frontends: open, paused, stopped, and their limits.

use ringmain_model::{FrontendId, Level};

use super::{Effect, Fleet, FrontendService, FrontendState, Proxy};

impl FrontendState {
    /// The state in which a frontend starts.
    pub fn new(frontend: &ringmain_model::Frontend, now_ms: u64) -> Self {
        let service = if frontend.disabled { FrontendService::Stopped } else { FrontendService::Open };
        Self { service, maxconn: None, last_change_ms: now_ms }
    }
}

impl Fleet {
    /// `disable frontend`, `enable frontend` and `shutdown frontend`.
    ///
    /// # Errors
    /// HAProxy's words when the frontend is already in that state, or was stopped for good.
    pub fn set_frontend_service(&mut self, id: FrontendId, wanted: FrontendService) -> Result<(), String> {
        let name = self.model().frontend(id).name.clone();
        let text = match (self.frontends[id.index()].service, wanted) {
            (FrontendService::Stopped, FrontendService::Stopped) => return Err("Frontend was already shut down.".into()),
            (FrontendService::Stopped, FrontendService::Open) => {
                return Err("Frontend was previously shut down, cannot enable.".into());
            }
            (FrontendService::Stopped, FrontendService::Paused) => {
                return Err("Frontend was previously shut down, cannot disable.".into());
            }
            (FrontendService::Open, FrontendService::Open) => return Err("All sockets are already enabled.".into()),
            (FrontendService::Paused, FrontendService::Paused) => return Err("All sockets are already disabled.".into()),
            (_, FrontendService::Paused) => format!("Paused frontend {name}."),
            (_, FrontendService::Open) => format!("Resumed frontend {name}."),
            (_, FrontendService::Stopped) => self.stopped_text(&name),
        };
        let state = &mut self.frontends[id.index()];
        state.service = wanted;
        state.last_change_ms = self.now_ms;
        self.effects.push(Effect::Listeners(id));
        self.effects.push(Effect::Log { proxy: Proxy::Frontend(id), level: Level::Warning, text, console_text: None });
        Ok(())
    }

    /// `set maxconn frontend`; 0 is back to the configured limit.
    ///
    /// # Errors
    /// When the value is no number.
    pub fn set_frontend_maxconn(&mut self, id: FrontendId, text: &str) -> Result<(), String> {
        let wanted = super::parse_limit(text)?;
        let maxconn = if wanted == 0 { self.model().frontend(id).maxconn } else { wanted };
        self.frontends[id.index()].maxconn = Some(maxconn);
        self.generation.frontend(id).sessions.set_limit(maxconn);
        self.effects.push(Effect::LimitsRaised);
        Ok(())
    }

    /// The limit of the process was changed: connections that wait for it are looked at again.
    pub fn process_limit_changed(&mut self) {
        self.effects.push(Effect::LimitsRaised);
    }

    /// Stops every proxy for good (soft stop): a line for each, frontends first, listens once.
    pub fn stop_all(&mut self) {
        let model = self.model().clone();
        for (index, frontend) in model.frontends.iter().enumerate() {
            if self.frontends[index].service != FrontendService::Stopped {
                self.frontends[index].service = FrontendService::Stopped;
                let text = self.stopped_text(&frontend.name);
                let proxy = Proxy::Frontend(FrontendId::new(index));
                self.effects.push(Effect::Log { proxy, level: Level::Warning, text, console_text: None });
            }
        }
        for (index, backend) in model.backends.iter().enumerate() {
            if !model.frontends.iter().any(|frontend| frontend.proxy_id == backend.proxy_id) {
                let text = self.stopped_text(&backend.name);
                let proxy = Proxy::Backend(ringmain_model::BackendId::new(index));
                self.effects.push(Effect::Log { proxy, level: Level::Warning, text, console_text: None });
            }
        }
    }

    /// `Proxy NAME stopped (cumulated conns: FE: N, BE: N).`, as HAProxy words it.
    fn stopped_text(&self, name: &str) -> String {
        let frontends = self.generation.frontends.iter().filter(|live| &*live.name == name);
        let frontend: u64 = frontends.flat_map(|live| live.counters.iter()).map(|shard| shard.connections.get()).sum();
        let backends = self.generation.backends.iter().filter(|live| &*live.name == name);
        let backend: u64 = backends.flat_map(|live| live.counters.iter()).map(|shard| shard.sessions.get()).sum();
        format!("Proxy {name} stopped (cumulated conns: FE: {frontend}, BE: {backend}).")
    }
}
