//! Section headers: `frontend NAME from DEFAULTS` and its like (manual sections 2.1, 3 and 4).

use super::super::diagnostic::{Diagnostics, Span};
use super::super::draft::{Section, SectionKind, Word};

/// Sections that are understood, then those that HAProxy knows beyond them.
pub const SECTION_NAMES: &[&str] = &["global", "defaults", "frontend", "backend", "listen", "peers"];
const OTHER_SECTIONS: &[&str] =
    &["userlist", "mailers", "namespace_list", "resolvers", "cache", "program", "http-errors", "ring", "log-forward", "fcgi-app"];

/// Whether a word begins a section wherever it stands first.
pub fn is_section(word: &str) -> bool {
    SECTION_NAMES.contains(&word) || OTHER_SECTIONS.contains(&word)
}

/// Reads a header. `None` when its lines cannot be read either; every mistake was reported.
pub fn read(words: &[Word], diagnostics: &mut Diagnostics) -> Option<Section> {
    let (keyword, arguments) = words.split_first()?;
    let kind = match keyword.text.as_str() {
        "global" => SectionKind::Global,
        "defaults" => SectionKind::Defaults,
        "frontend" => SectionKind::Frontend,
        "backend" => SectionKind::Backend,
        "listen" => SectionKind::Listen,
        "peers" => SectionKind::Peers,
        other => {
            diagnostics
                .unsupported(keyword.span, format!("HAProxy's section '{other}' is not supported here yet"))
                .label("this section was skipped");
            return None;
        }
    };
    let end = words.last().map_or(keyword.span.end, |last| last.span.end);
    let mut section = Section { kind, name: None, from: None, statements: Vec::new(), span: Span { end, ..keyword.span } };
    let rest = match (kind, arguments) {
        (SectionKind::Global, rest) => rest,
        (SectionKind::Defaults, []) => &[],
        (SectionKind::Peers, [name, rest @ ..]) => {
            check_name(keyword, name, diagnostics);
            section.name = Some(name.clone());
            rest
        }
        // "defaults from X" has no name: 'from' is only a name when it stands alone.
        (SectionKind::Defaults, [from, base, rest @ ..]) if from.text == "from" => {
            section.from = Some(base.clone());
            rest
        }
        (_, []) => {
            diagnostics.error(keyword.span, format!("'{}' needs a name", keyword.text));
            return Some(section);
        }
        (_, [name, rest @ ..]) => {
            check_name(keyword, name, diagnostics);
            section.name = Some(name.clone());
            match rest {
                [from, base, rest @ ..] if from.text == "from" => {
                    section.from = Some(base.clone());
                    rest
                }
                rest => rest,
            }
        }
    };
    if let Some(extra) = rest.first() {
        report_extra(keyword, kind, extra, diagnostics);
    }
    Some(section)
}

fn check_name(keyword: &Word, name: &Word, diagnostics: &mut Diagnostics) {
    let bad = name.text.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"-_.:".contains(*letter));
    // HAProxy takes any name for 'defaults'; nothing else could refer to an empty one.
    if keyword.text == "defaults" {
        return;
    }
    if let Some(bad) = bad {
        diagnostics
            .error(name.span, format!("'{}' cannot be part of the name of a {}", bad.escape_debug(), keyword.text))
            .help("letters, digits, '-', '_', '.' and ':' can");
    } else if name.text.is_empty() {
        diagnostics.error(name.span, format!("the name of this {} is empty", keyword.text));
    }
}

fn report_extra(keyword: &Word, kind: SectionKind, extra: &Word, diagnostics: &mut Diagnostics) {
    match kind {
        // HAProxy ignores words here; nobody means them to be.
        SectionKind::Defaults => {
            diagnostics.warning(extra.span, format!("'{}' after the name of a 'defaults' section is ignored", extra.text));
        }
        SectionKind::Global => {
            diagnostics.error(extra.span, format!("'global' takes no argument, found '{}'", extra.text));
        }
        SectionKind::Peers | SectionKind::Table => {
            diagnostics.error(extra.span, format!("unexpected '{}' after the name of this section", extra.text));
        }
        SectionKind::Frontend | SectionKind::Backend | SectionKind::Listen => {
            let finding = diagnostics.error(extra.span, format!("unexpected '{}' after the name of this {}", extra.text, keyword.text));
            if extra.text == "from" {
                finding.help("name the 'defaults' section after 'from'");
            } else {
                finding.help("write listening addresses with the keyword 'bind'");
            }
        }
    }
}
