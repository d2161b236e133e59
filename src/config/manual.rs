//! What the program says about keywords, fetches and converters: `--help-keyword NAME` and README's tables, all from the registries.
//!
//! Called by the command line and by the test that keeps README.md current. Never prints by itself.

use std::fmt::Write;

use super::expression::manual as expressions;
use super::keyword::{self, Keyword, Scope, Status};
use super::toml::key_of;

/// The scopes in the order in which they are shown, with their headings.
const SCOPES: [(Scope, &str, &str); 5] = [
    (Scope::Global, "Section `global`", "[global]"),
    (Scope::Proxy, "Sections `defaults`, `frontend`, `backend`, `listen`", "[frontend.NAME] and its like"),
    (Scope::Bind, "Options of `bind` and `stats socket`", "the table of a bind"),
    (Scope::Server, "Options of `server` and `default-server`", "the table of a server"),
    (Scope::Peers, "Section `peers`", "the top of the file, as in [table.NAME]"),
];

/// The text of `--help-keyword NAME`: every keyword with this name in either language's spelling, in every place it may stand, and every
/// fetch and converter of this name.
///
/// # Errors
/// A sentence that says that there is none, and which one was probably meant.
pub fn help(name: &str) -> Result<String, String> {
    let entries: Vec<(Scope, &Keyword)> =
        all().filter(|(scope, keyword)| keyword.name == name || key_of(*scope, keyword.name) == name).collect();
    let of_expressions = expressions::help(name);
    if entries.is_empty() && of_expressions.is_empty() {
        let meant = keyword::nearest(name, all().map(|(_, keyword)| keyword.name).chain(expressions::names()));
        let hint = meant.map(|meant| format!("; did you mean '{meant}'?")).unwrap_or_default();
        return Err(format!("there is no keyword '{name}'{hint}"));
    }
    let mut text = String::new();
    for (scope, keyword) in entries {
        text.push_str(&keyword.help());
        if keyword.status() != Status::Unsupported {
            let table = SCOPES.iter().find(|(other, _, _)| *other == scope).map_or("", |(_, _, table)| table);
            let _ = writeln!(text, "  TOML: key '{}' of {table}", key_of(scope, keyword.name));
        }
        text.push('\n');
    }
    text.push_str(&of_expressions);
    Ok(text)
}

/// The text of `--help-keyword` without a name: every keyword in one line, by the place it stands in.
pub fn overview() -> String {
    let mut text = String::new();
    for (scope, heading, _) in SCOPES {
        let _ = writeln!(text, "{}", heading.replace('`', ""));
        for keyword in keyword::all(scope) {
            let note = match keyword.status() {
                Status::Supported => "",
                Status::NoEffect => " (accepted, without effect)",
                Status::Unsupported => " (not supported yet)",
            };
            let _ = writeln!(text, "  {:<30} {}{note}", keyword.name, keyword.summary);
        }
        text.push('\n');
    }
    text.push_str(&expressions::overview());
    text
}

/// README's tables in Markdown: what is supported, what is accepted without effect, what is refused by name.
pub fn markdown() -> String {
    let mut text = String::new();
    for (scope, heading, _) in SCOPES {
        let _ = writeln!(text, "#### {heading}\n\n| haproxy.cfg | TOML | where | what it does |\n|---|---|---|---|");
        for keyword in keyword::all(scope).filter(|keyword| keyword.status() == Status::Supported) {
            text.push_str(&row(scope, keyword));
        }
        text.push('\n');
        list(&mut text, "Accepted without effect, listed by `-c -V`", scope, Status::NoEffect);
        list(&mut text, "Known, refused as \"not supported yet\"", scope, Status::Unsupported);
    }
    text.push_str(&expressions::markdown());
    text
}

fn row(scope: Scope, keyword: &Keyword) -> String {
    let places: Vec<&str> = keyword.places.names().collect();
    let negation = if keyword.negatable { "[no] " } else { "" };
    let usage = format!("{negation}{} {}", keyword.name, keyword.syntax);
    let usage = escape(usage.trim_end());
    format!("| `{usage}` | `{}` | {} | {} |\n", key_of(scope, keyword.name), places.join(", "), escape(keyword.summary))
}

fn list(text: &mut String, title: &str, scope: Scope, status: Status) {
    let mut names: Vec<&str> = keyword::all(scope).filter(|keyword| keyword.status() == status).map(|keyword| keyword.name).collect();
    if names.is_empty() {
        return;
    }
    names.sort_unstable();
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(text, "{title}: {}.\n", names.join(", "));
}

/// A bar would end a table's cell, even within code.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

fn all() -> impl Iterator<Item = (Scope, &'static Keyword)> {
    SCOPES.into_iter().flat_map(|(scope, _, _)| keyword::all(scope).map(move |keyword| (scope, keyword)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const BEGIN: &str = "<!-- keywords:begin -->\n";
    const END: &str = "<!-- keywords:end -->";

    #[test]
    fn help_names_both_languages_and_guesses() {
        let text = help("timeout client-fin").expect("known");
        assert!(text.contains("timeout client-fin <time>") && text.contains("key 'timeout.client_fin'"), "{text}");
        assert_eq!(help("timeout.client_fin"), Ok(text));
        assert_eq!(help("maxcon"), Err("there is no keyword 'maxcon'; did you mean 'maxconn'?".into()));
        assert!(help("src").expect("known").contains("fetch, gives: "));
        assert_eq!(help("lenght"), Err("there is no keyword 'lenght'; did you mean 'length'?".into()));
        assert!(help("maxconn").expect("known").matches("status: supported").count() >= 4, "global, proxy, bind and server");
    }

    #[test]
    fn the_overview_has_every_keyword() {
        let text = overview();
        assert!(all().all(|(_, keyword)| text.contains(&format!("  {} ", keyword.name))));
        assert!(text.lines().any(|line| line.starts_with("  http-request ") && line.ends_with("(not supported yet)")), "{text}");
    }

    /// README.md holds the tables between two markers; `UPDATE=1 cargo test` writes them.
    #[test]
    fn the_tables_in_readme_are_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = fs::read_to_string(&path).expect("README.md");
        let (before, rest) = readme.split_once(BEGIN).expect("README.md has the marker keywords:begin");
        let (tables, after) = rest.split_once(END).expect("README.md has the marker keywords:end");
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", markdown())).expect("README.md is written");
            return;
        }
        assert!(tables == markdown(), "README.md's keyword tables are out of date: run 'UPDATE=1 cargo test -p ringmain manual'");
    }
}
