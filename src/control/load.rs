//! Loading the configuration, the same way at start and at each reload: read, check, apply what the command line overrides.

use std::io::IsTerminal;

use nix::sys::resource::{Resource, getrlimit};
use ringmain_model::{Model, SplicePolicy};

use crate::cli::Options;
use crate::config::check::{Context, SystemNames};
use crate::config::diagnostic::{Class, RenderOptions, render};
use crate::config::{self, Loaded, source::Request};

use super::state::host_name;

/// What to load and how; kept for reloads.
#[derive(Clone, Debug)]
pub struct Loader {
    options: Options,
    host_name: String,
    descriptor_limit: u64,
    cpu_count: u16,
}

/// What a load came to.
#[derive(Debug)]
pub struct Outcome {
    /// The model, unless something is wrong.
    pub model: Option<Model>,
    /// All findings as text; empty when there are none to show.
    pub findings: String,
    /// Whether there was a warning.
    pub warned: bool,
}

impl Loader {
    /// A loader for these options on this machine. Take it before limits are raised and CPUs are chosen.
    pub fn new(options: &Options) -> Self {
        let descriptor_limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard);
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
        Self { options: options.clone(), host_name: host_name(), descriptor_limit, cpu_count: u16::try_from(cpus).unwrap_or(u16::MAX) }
    }

    /// Reads and checks. May block on files and name servers.
    pub fn load(&self) -> Outcome {
        let names = SystemNames::default();
        let loaded = config::load(&self.request(), &self.context(&names));
        let mut findings = self.render(&loaded);
        let warned = loaded.diagnostics.list().iter().any(|finding| finding.class == Class::Warning);
        let refused = warned && self.options.zero_warning;
        if refused && loaded.model.is_some() {
            findings.push_str("warnings were found and '-dW' does not allow any\n");
        }
        let model = loaded.model.filter(|_| !refused).map(|model| self.overridden(model));
        Outcome { model, findings, warned }
    }

    /// Reads, checks and gives the configuration as TOML, if it is one, with the findings.
    pub fn convert(&self) -> (String, Option<String>) {
        let names = SystemNames::default();
        let (loaded, text) = config::explain::convert(&self.request(), &self.context(&names));
        (self.render(&loaded), text)
    }

    fn request(&self) -> Request {
        Request { paths: self.options.files.clone(), directory: None }
    }

    fn context<'a>(&'a self, names: &'a SystemNames) -> Context<'a> {
        Context { descriptor_limit: self.descriptor_limit, cpu_count: self.cpu_count, host_name: &self.host_name, names }
    }

    fn render(&self, loaded: &Loaded) -> String {
        let options = RenderOptions {
            colour: std::io::stderr().is_terminal(),
            show_no_effect: self.options.verbose || self.options.diagnostics,
            ..RenderOptions::default()
        };
        render(&loaded.sources, &loaded.diagnostics, options)
    }

    /// The model with what the command line says in place of the configuration.
    fn overridden(&self, mut model: Model) -> Model {
        let options = &self.options;
        let configured = model.global.maxconn;
        let maxconn = options.maxconn.filter(|maxconn| *maxconn > 0).unwrap_or(configured);
        model.global.maxconn = maxconn;
        for frontend in &mut model.frontends {
            // A frontend that is not limited itself has the process's limit.
            if frontend.maxconn >= configured {
                frontend.maxconn = options.proxy_maxconn.filter(|limit| *limit > 0).unwrap_or(maxconn);
            }
            frontend.maxconn = frontend.maxconn.min(maxconn);
            if options.no_splice {
                frontend.options.splice_request = SplicePolicy::Never;
                frontend.options.splice_response = SplicePolicy::Never;
            }
        }
        if let Some(pidfile) = &options.pidfile {
            model.global.pidfile = Some(pidfile.clone());
        }
        model.global.daemon = (options.daemon || model.global.daemon) && !options.foreground;
        model
    }
}
