//! A process without shards, for the commands of the runtime socket: they see and change everything that they would in a real one.

use std::sync::{Arc, OnceLock};

use ringmain::control::registry::Registry;
use ringmain::control::{ControlState, Fleet};
use ringmain::runtime::line::{Input, LINE_LIMIT, LineReader};
use ringmain::runtime::{ControlContext, Progress, Reply, Session, Surroundings, execute};
use ringmain::stats::Averages;
use ringmain_engine::live::ProcessLive;
use ringmain_model::{Model, StatsLevel};

/// Servers with everything that commands touch: checks, tracking, backups, slowstart, limits, names of hosts.
const CONFIGURATION: &str = "
global
  maxconn 100
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend f
  bind 127.0.0.1:1 maxconn 5
  maxconn 50
  default_backend b
backend b
  balance leastconn
  server a 127.0.0.1:2 check inter 1s slowstart 10s weight 10 maxconn 4 minconn 2
  server b 127.0.0.1:3 track b/a
  server c 127.0.0.1:4 backup disabled
  server d localhost:5 check port 6 weight 0
listen l
  bind 127.0.0.1:7
  balance source
  hash-type consistent
  server a 127.0.0.1:8 check observe layer4 error-limit 3 on-error mark-down
";

/// Steps that the longest answer takes at most.
const STEPS_MAX: usize = 1000;

/// Reads the bytes as a client's, runs every command in them and takes every answer to its end. The first byte says how the rest is cut.
pub fn converse(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let model = model();
    let proposal = Registry::new(2, "fuzz".into()).propose(model.clone());
    let process = Arc::new(ProcessLive::new(2, model.global.maxconn));
    let mut state = ControlState::new("fuzz".into(), process, 0);
    state.describe(&proposal.generation, 0);
    let mut fleet = Fleet::new(proposal.generation, 0);
    let mut averages = Averages::default();
    let mut session = Session { level: StatsLevel::Admin, interactive: false, expert: false, experimental: false, timeout_ms: 10_000 };
    let mut reader = LineReader::default();
    for piece in bytes.chunks(usize::from(cut) + 1) {
        assert!(reader.room() <= LINE_LIMIT, "more room than a line may take");
        reader.push(piece);
        while let Some(input) = reader.next_input() {
            let (text, payload) = match input {
                Input::Command { text, payload, .. } => (text, payload),
                Input::PayloadLine => continue,
                Input::TooLong => return,
            };
            let mut context = ControlContext { fleet: &mut fleet, state: &mut state, averages: &mut averages };
            let reply = execute(&text, payload.as_deref(), &mut session, Surroundings::default(), &mut context);
            if matches!(reply, Reply::Close) {
                return;
            }
            take(reply, &mut context);
            let now_ms = fleet.now_ms() + 1500;
            fleet.set_now(now_ms);
            drop(fleet.take_effects());
            state.requests.clear();
        }
    }
}

fn take(reply: Reply, context: &mut ControlContext<'_>) {
    match reply {
        Reply::Text(text) => assert!(text.is_empty() || text.ends_with('\n'), "a line without an end in {text:?}"),
        Reply::Message(message) => assert!(!message.is_empty(), "a message without words"),
        Reply::Stream(mut producer) => {
            let mut text = String::new();
            let ends = (0..STEPS_MAX).any(|_| {
                text.clear();
                producer.produce(context, &mut text) == Progress::Done
            });
            assert!(ends, "an answer without an end");
        }
        Reply::Done | Reply::AfterReload | Reply::Close => {}
    }
}

/// The model is never changed: one for all runs.
fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let load = || {
        let loaded = crate::load_text("fuzz.cfg", CONFIGURATION);
        Arc::new(loaded.model.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)))
    };
    MODEL.get_or_init(load).clone()
}
