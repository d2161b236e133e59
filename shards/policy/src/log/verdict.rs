//! Whether and when a session is logged, and how severe its line is (HAProxy manual sections 8.3.1 to 8.3.4).

use ringmain_model::log_format::LogFormat;
use ringmain_model::{FrontendOptions, Level};

use crate::record::{Cause, Record};

/// The point of a session at which its line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As soon as it is accepted: the "Connect from" line of a frontend without a format.
    Accept,
    /// When the connection to the server stands, or at the end of a session that never gets one.
    Connect,
    /// At the end.
    End,
}

/// When the sessions of a frontend are logged: without a format at once, with `option logasap` or a format without final values as soon as
/// the server is connected, else at the end.
pub fn moment(format: Option<&LogFormat>, options: &FrontendOptions) -> Moment {
    match format {
        None => Moment::Accept,
        Some(format) if options.logasap || !format.needs_end() => Moment::Connect,
        Some(_) => Moment::End,
    }
}

/// The level of a session's line, `None` for no line. `ended` tells whether the session has ended: `option dontlognull` cannot judge a
/// session whose client may still send. A session whose early line is not wanted is judged again at its end, where it may have failed.
pub fn verdict(options: &FrontendOptions, record: &Record<'_>, ended: bool) -> Option<Level> {
    if ended && options.dontlognull && record.bytes_from_client == 0 {
        return None;
    }
    let cause = record.termination.cause;
    let error = record.redispatched || cause.is_error() || (cause == Cause::None && record.retries > 0);
    match (error, options.dontlog_normal, options.log_separate_errors) {
        (false, true, _) => None,
        (true, _, true) => Some(Level::Err),
        _ => Some(Level::Info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::render::tests::record;
    use crate::record::{Phase, Termination};

    #[test]
    fn a_normal_session_is_info_unless_normal_ones_are_not_wanted() {
        let options = FrontendOptions { log_separate_errors: true, ..Default::default() };
        assert_eq!(verdict(&options, &record(), true), Some(Level::Info));
        let options = FrontendOptions { dontlog_normal: true, ..options };
        assert_eq!(verdict(&options, &record(), true), None);
    }

    #[test]
    fn errors_retries_and_redispatches_are_errors() {
        let options = FrontendOptions { dontlog_normal: true, log_separate_errors: true, ..Default::default() };
        let broken = Record { termination: Termination { cause: Cause::ClientAbort, phase: Phase::Data }, ..record() };
        for record in [broken, Record { retries: 1, ..record() }, Record { redispatched: true, ..record() }] {
            assert_eq!(verdict(&options, &record, true), Some(Level::Err));
            assert_eq!(verdict(&FrontendOptions::default(), &record, true), Some(Level::Info));
        }
    }

    #[test]
    fn silent_clients_are_hidden_only_at_their_end() {
        let options = FrontendOptions { dontlognull: true, ..Default::default() };
        let silent = Record { bytes_from_client: 0, ..record() };
        assert_eq!(verdict(&options, &silent, true), None);
        assert_eq!(verdict(&options, &silent, false), Some(Level::Info));
        assert_eq!(verdict(&options, &record(), true), Some(Level::Info));
    }
}
