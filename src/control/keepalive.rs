//! The warning about clients whose keep alive is too long for the timeout that ends them. Shards find them, the loop says so.

/// The line, for a keep alive in seconds and a timeout in milliseconds.
pub fn warning(frontend: &str, keepalive_s: u16, timeout_ms: u64, is_tunnel: bool) -> String {
    let timeout = if is_tunnel { "timeout tunnel" } else { "timeout client" };
    let needed = (u64::from(keepalive_s) * 3).div_ceil(2);
    format!(
        "frontend {frontend}: an MQTT client announced a keep alive of {keepalive_s}s, but '{timeout}' ends its connection after {} of silence. \
         Set '{timeout}' to {needed}s at least (1.5 times the keep alive), or have clients announce less. 'show mqtt' counts such clients.",
        seconds(timeout_ms)
    )
}

fn seconds(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1000) { format!("{}s", milliseconds / 1000) } else { format!("{milliseconds}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_to_do() {
        let line = warning("mqtt", 60, 30_000, false);
        assert!(
            line.starts_with("frontend mqtt: ") && line.contains("keep alive of 60s") && line.contains("after 30s of silence"),
            "{line}"
        );
        assert!(line.contains("Set 'timeout client' to 90s at least"), "{line}");
        assert!(warning("mqtt", 61, 90_000, false).contains("to 92s at least"), "91 seconds would not be enough");
        assert!(warning("mqtt", 65_535, 1500, true).contains("'timeout tunnel' ends its connection after 1500ms"));
    }
}
