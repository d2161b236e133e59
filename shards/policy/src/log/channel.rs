//! A channel: the targets of one proxy with everything the writer needs to address them, shared by all its lines through one `Arc`.
//!
//! Built once per generation of the model for each proxy. A line holds its channel, so a line of an old generation still goes to the
//! targets it was written for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ringmain_model::{Global, Level, LogSample, LogSettings, LogTarget};

/// Where the lines of one proxy go.
#[derive(Debug)]
pub struct LogChannel {
    targets: Box<[ChannelTarget]>,
    tag: Arc<str>,
    hostname: Option<Arc<str>>,
    /// Level of the least severe line that any target wants.
    lowest: Option<Level>,
    longest: usize,
}

/// One target with its place in the sampling round.
#[derive(Debug)]
pub struct ChannelTarget {
    /// The `log` line.
    pub target: LogTarget,
    /// `sample`, when given.
    pub sampler: Option<Sampler>,
}

impl LogChannel {
    /// The channel of a proxy with these settings. `tag` and `hostname` are the global section's `log-tag` and `log-send-hostname`; `program`
    /// is the tag where neither section has one.
    pub fn new(settings: &LogSettings, tag: Option<&Arc<str>>, hostname: Option<&Arc<str>>, program: &str) -> Self {
        let tag = settings.tag.as_ref().or(tag).cloned().unwrap_or_else(|| program.into());
        Self::with_targets(&settings.targets, tag, hostname.cloned())
    }

    /// The channel of the process itself: the global targets.
    pub fn global(global: &Global, program: &str) -> Self {
        let tag = global.log_tag.clone().unwrap_or_else(|| program.into());
        Self::with_targets(&global.log_targets, tag, global.log_hostname.clone())
    }

    fn with_targets(targets: &[LogTarget], tag: Arc<str>, hostname: Option<Arc<str>>) -> Self {
        Self {
            lowest: targets.iter().map(|target| target.level).max(),
            longest: targets.iter().map(|target| usize::from(target.length)).max().unwrap_or(0).saturating_sub(1),
            targets: targets
                .iter()
                .map(|target| ChannelTarget { target: target.clone(), sampler: target.sample.clone().map(Sampler::new) })
                .collect(),
            tag,
            hostname,
        }
    }

    /// The targets, in the order of the configuration.
    pub fn targets(&self) -> &[ChannelTarget] {
        &self.targets
    }

    /// `log-tag`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The host name of envelopes (`log-send-hostname`); `None` when it is not to be sent.
    pub fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// Whether any target takes lines of this level; when none does, the line need not be rendered.
    pub fn wants(&self, level: Level) -> bool {
        self.lowest.is_some_and(|lowest| level <= lowest)
    }

    /// Bytes of the longest text that is rendered: HAProxy keeps one byte of the longest `len` for the end of the line. 0 without targets.
    pub fn longest_line(&self) -> usize {
        self.longest
    }
}

/// Counts lines for `sample RANGES:SIZE`.
#[derive(Debug)]
pub struct Sampler {
    sample: LogSample,
    position: AtomicU32,
}

impl Sampler {
    /// A sampler before its first line.
    pub fn new(sample: LogSample) -> Self {
        Self { sample, position: AtomicU32::new(0) }
    }

    /// Counts one line and tells whether it is in one of the ranges. Only the writer calls it.
    pub fn take(&self) -> bool {
        let position = self.position.load(Ordering::Relaxed) + 1;
        self.position.store(if position >= self.sample.size { 0 } else { position }, Ordering::Relaxed);
        self.sample.ranges.iter().any(|&(low, high)| (low..=high).contains(&position))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ringmain_model::{Facility, LogDestination, LogEncoding};

    pub fn channel(targets: &[(Level, u16)]) -> Arc<LogChannel> {
        let targets: Vec<LogTarget> = targets
            .iter()
            .map(|&(level, length)| LogTarget {
                destination: LogDestination::Descriptor(1),
                encoding: Some(LogEncoding::Raw),
                length,
                facility: Facility::Daemon,
                level,
                minimum_level: Level::Emerg,
                sample: None,
            })
            .collect();
        Arc::new(LogChannel::with_targets(&targets, "tag".into(), None))
    }

    #[test]
    fn a_channel_wants_what_its_most_talkative_target_wants() {
        assert!(!channel(&[]).wants(Level::Emerg));
        let channel = channel(&[(Level::Err, 80), (Level::Notice, 1024)]);
        assert!(channel.wants(Level::Notice) && channel.wants(Level::Emerg) && !channel.wants(Level::Info));
        assert_eq!(channel.longest_line(), 1023);
    }

    #[test]
    fn sampling_takes_its_ranges_of_every_round() {
        let sampler = Sampler::new(LogSample { ranges: vec![(1, 1), (3, 4)], size: 5 });
        let taken: Vec<bool> = (0..10).map(|_| sampler.take()).collect();
        let round = [true, false, true, true, false];
        assert_eq!(taken, [round, round].concat());
    }
}
