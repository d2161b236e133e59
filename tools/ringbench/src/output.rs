//! Text to standard output for people and pipes. A reader that goes away early (`| head`) ends nothing and panics nobody.

use std::fmt::Arguments;
use std::io::Write;

/// Writes formatted text and flushes it, so that a reader sees each part when it is said.
pub fn write(text: Arguments<'_>) {
    let mut output = std::io::stdout().lock();
    // Nobody listens any more: the run goes on for its exit code and its files.
    let _ = output.write_fmt(text).and_then(|()| output.flush());
}

/// `println!` that survives a closed pipe.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($($part)*)))
    };
}
