//! Turns findings into text for people: class word, place, the line with a caret, advice.
//!
//! Called with the result of a load by the command line, a reload and tests. Output is bounded whatever the input: long lines are shown as a
//! window around the caret, long messages are cut, and after `RenderOptions::limit` findings only their number is given. Control characters
//! of the configuration never reach the terminal.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Class, Diagnostic, Diagnostics, Source, Sources};

/// Longest part of a line that is shown, in bytes, on each side of the caret's first character.
const WINDOW: usize = 400;
/// Longest message, label or help text that is shown, in characters.
const LONGEST_TEXT: usize = 600;

/// How findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Use the terminal's colours; only for a terminal.
    pub colour: bool,
    /// Show findings of the class `NoEffect` too (`-c -V`).
    pub show_no_effect: bool,
    /// How many findings are shown in full, at least 1.
    pub limit: usize,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self { colour: false, show_no_effect: false, limit: 100 }
    }
}

/// All findings as text, each followed by an empty line; empty when there is nothing to show.
///
/// Findings that fail the load come first where the limit would otherwise hide them.
pub fn render(sources: &Sources, diagnostics: &Diagnostics, options: RenderOptions) -> String {
    let renderer = if options.colour { Renderer::styled() } else { Renderer::plain() };
    let shown: Vec<&Diagnostic> =
        diagnostics.list().iter().filter(|finding| options.show_no_effect || finding.class != Class::NoEffect).collect();
    let limit = options.limit.max(1);
    let mut text = String::new();
    for finding in within_limit(&shown, limit) {
        text.push_str(&render_one(&renderer, sources, finding));
        text.push_str("\n\n");
    }
    if shown.len() > limit {
        text.push_str(&format!("and {} more\n", shown.len() - limit));
    }
    text
}

/// The first findings in their order; when there are more than the limit, those that fail the load are kept before the others.
fn within_limit<'a>(shown: &[&'a Diagnostic], limit: usize) -> Vec<&'a Diagnostic> {
    if shown.len() <= limit {
        return shown.to_vec();
    }
    let fatal = |finding: &&&Diagnostic| matches!(finding.class, Class::Error | Class::Unsupported);
    let fatals = shown.iter().filter(fatal).take(limit);
    let others = shown.iter().filter(|finding| !fatal(finding)).take(limit);
    fatals.chain(others).take(limit).copied().collect()
}

fn render_one(renderer: &Renderer, sources: &Sources, finding: &Diagnostic) -> String {
    let message = clean(&finding.message);
    let mut group = Group::with_title(level(finding.class).primary_title(message));
    let window = finding.span.and_then(|span| sources.get(span.source).map(|source| Window::around(source, span.start, span.end)));
    if let Some(window) = &window {
        let mut annotation = AnnotationKind::Primary.span(window.caret.clone());
        if let Some(label) = &finding.label {
            annotation = annotation.label(clean(label));
        }
        let snippet = Snippet::source(window.text.as_str()).line_start(window.line).annotation(annotation);
        group = match window.cut_column {
            None => group.element(snippet.path(clean(&window.name))),
            Some(column) => group.element(Origin::path(clean(&window.name)).line(window.line).char_column(column)).element(snippet),
        };
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    renderer.render(&[group])
}

fn level(class: Class) -> Level<'static> {
    match class {
        Class::Error => Level::ERROR,
        Class::Unsupported => Level::ERROR.with_name("not supported yet"),
        Class::Warning => Level::WARNING,
        Class::NoEffect => Level::NOTE,
    }
}

/// The part of one line that is shown.
struct Window {
    name: String,
    text: String,
    caret: std::ops::Range<usize>,
    /// From 1.
    line: usize,
    /// Where the line's beginning is cut off: the true column, from 1, in characters.
    cut_column: Option<usize>,
}

impl Window {
    fn around(source: &Source, start: u32, end: u32) -> Self {
        let range = source.line_range(start);
        let line = source.text.get(range.clone()).unwrap_or("");
        let begin = floor_boundary(line, (start as usize).saturating_sub(range.start));
        let finish = ceil_boundary(line, (end as usize).saturating_sub(range.start)).max(begin);
        let first = floor_boundary(line, begin.saturating_sub(WINDOW));
        let last = floor_boundary(line, begin + WINDOW);
        let part = line.get(first..last).unwrap_or("");
        let text = part.chars().map(|character| if is_c1(character) { '\u{b7}' } else { character }).collect();
        let cut_column = (first > 0).then(|| line.get(..begin).unwrap_or("").chars().count() + 1);
        Self {
            name: source.name.to_string(),
            text,
            caret: begin - first..finish.min(last).max(begin) - first,
            line: source.line_number(start),
            cut_column,
        }
    }
}

/// C1 controls: terminals may obey them. Two bytes in UTF-8, like the middle dot that replaces them, so offsets stay true.
fn is_c1(character: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&character)
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

fn ceil_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (offset..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// Text that quotes the configuration, made safe for a terminal and bounded.
fn clean(text: &str) -> String {
    let mut cut: String = text.chars().take(LONGEST_TEXT).collect();
    if cut.len() < text.len() {
        cut.push_str("...");
    }
    annotate_snippets::normalize_untrusted_str(&cut)
        .chars()
        .map(|character| if character.is_control() && character != '\n' { '\u{b7}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Span;

    fn show(text: &str, start: usize, end: usize, build: impl FnOnce(&mut Diagnostics, Span)) -> String {
        let mut sources = Sources::default();
        let source = sources.add("a.cfg", text);
        let mut diagnostics = Diagnostics::default();
        build(&mut diagnostics, Span { source, start: start as u32, end: end as u32 });
        render(&sources, &diagnostics, RenderOptions::default())
    }

    #[test]
    fn shows_class_place_line_caret_and_help() {
        let shown = show("global\n\tmaxcon 10 # more\n", 8, 14, |diagnostics, span| {
            diagnostics.error(span, "unknown keyword 'maxcon' in 'global'").label("not known").help("did you mean 'maxconn'?");
        });
        insta::assert_snapshot!(shown, @r"
        error: unknown keyword 'maxcon' in 'global'
         --> a.cfg:2:2
          |
        2 |     maxcon 10 # more
          |     ^^^^^^ not known
          |
          = help: did you mean 'maxconn'?
        ");
    }

    #[test]
    fn every_class_has_its_word() {
        let shown = show("x y\n", 2, 3, |diagnostics, span| {
            diagnostics.unsupported(span, "one");
            diagnostics.warning(span, "two");
            diagnostics.no_effect(span, "hidden");
            diagnostics.error(None, "no such file");
        });
        assert!(shown.starts_with("not supported yet: one\n"), "{shown}");
        assert!(shown.contains("\nwarning: two\n"), "{shown}");
        assert!(shown.ends_with("\nerror: no such file\n\n"), "{shown}");
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn a_very_long_line_is_shown_as_a_window_with_its_true_column() {
        let line = "\u{e9}".repeat(1_000_000);
        let shown = show(&line, 1_000_000, 1_000_002, |diagnostics, span| {
            diagnostics.error(span, "here");
        });
        assert!(shown.len() < 2_000, "{} bytes", shown.len());
        assert!(shown.contains("a.cfg:1:500001"), "{shown}");
    }

    #[test]
    fn terminal_control_never_passes() {
        let shown = show("a \u{1b}[2J\u{9b}31m b\n", 2, 6, |diagnostics, span| {
            diagnostics.error(span, "bad \u{1b}[2J word \u{9b}").label("\u{1b}]0;x\u{7}").help("\u{8}\u{9b}");
        });
        assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown:?}");
    }

    #[test]
    fn spans_outside_the_text_and_at_line_ends_are_shown() {
        for (start, end) in [(0, 0), (3, 3), (4, 9), (9, 900), (2, 1), (900, 901)] {
            let shown = show("ab\r\n\u{20ac}", start, end, |diagnostics, span| {
                diagnostics.error(span, "odd span");
            });
            assert!(shown.contains("odd span") && shown.contains(" --> a.cfg:"), "{shown}");
        }
    }

    #[test]
    fn errors_are_kept_before_warnings_at_the_limit() {
        let shown = show("x\n", 0, 1, |diagnostics, span| {
            for number in 0..150 {
                diagnostics.warning(span, format!("warning {number}"));
            }
            diagnostics.error(span, "the last one");
        });
        assert!(shown.starts_with("error: the last one"), "{shown}");
        assert!(shown.ends_with("and 51 more\n"), "{shown}");
    }
}
