//! Tests of the way from text to sections.

use super::*;
use crate::config::diagnostic::Class;

fn read(text: &str) -> (Vec<Section>, Diagnostics) {
    let mut sources = Sources::default();
    let source = sources.add("f.cfg", text);
    let mut environment: Environment = [("HOME".to_owned(), "/root".to_owned())].into_iter().collect();
    let mut diagnostics = Diagnostics::default();
    let sections = parse(source, &sources, &mut environment, &mut diagnostics);
    (sections, diagnostics)
}

fn statements(text: &str) -> Vec<String> {
    let (sections, diagnostics) = read(text);
    assert!(diagnostics.list().iter().all(|finding| finding.class != Class::Error), "{diagnostics:?}");
    let statements = sections.iter().flat_map(|section| &section.statements);
    statements.map(|statement| statement.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")).collect()
}

fn messages(text: &str) -> Vec<String> {
    read(text).1.list().iter().map(|finding| finding.message.clone()).collect()
}

#[test]
fn sections_keep_names_and_bases() {
    let (sections, diagnostics) =
        read("global\ndefaults a\ndefaults b from a # c\nlisten l from b\r\n bind :80\ndefaults from b\nfrontend f\n");
    assert!(diagnostics.list().is_empty(), "{diagnostics:?}");
    let seen: Vec<_> = sections
        .iter()
        .map(|section| {
            let text = |word: &Option<Word>| word.as_ref().map_or("-", |word| word.text.as_str()).to_owned();
            (section.kind, text(&section.name), text(&section.from), section.statements.len())
        })
        .collect();
    use SectionKind::*;
    let expected = [
        (Global, "-", "-", 0),
        (Defaults, "a", "-", 0),
        (Defaults, "b", "a", 0),
        (Listen, "l", "b", 1),
        (Defaults, "-", "b", 0),
        (Frontend, "f", "-", 0),
    ];
    assert_eq!(seen, expected.map(|(kind, name, from, count)| (kind, name.to_owned(), from.to_owned(), count)));
}

#[test]
fn conditional_blocks_choose_lines() {
    let text = "global\n.if 0\n one\n .if 1\n  two\n .else\n  three\n .endif\n.elif defined(HOME)\n four\n.elif 1\n five\n.else\n six\n.endif\n seven\n";
    assert_eq!(statements(text), ["four", "seven"]);
    assert_eq!(statements("global\n.if 0\n .if garbage(\n .elif garbage(\n .endif\n .foo\n.else\n x\n.endif\n"), ["x"]);
}

#[test]
fn broken_blocks_are_reported() {
    assert_eq!(messages(".if 1\n"), ["this '.if' has no '.endif'"]);
    assert_eq!(messages(".endif\n.else\n.elif 1\n"), ["'.endif' without '.if'", "'.else' without '.if'", "'.elif' without '.if'"]);
    assert_eq!(messages(".if 1\n.else\n.else\n.elif 1\n.endif\n"), ["'.else' after '.else'", "'.elif' after '.else'"]);
    assert_eq!(messages(".if 1 2\n.endif x\n"), ["bad condition: unexpected '2' after the condition", "'.endif' takes no argument"]);
    assert_eq!(messages(".fi\n"), ["unknown directive '.fi'"]);
}

#[test]
fn messages_have_their_class() {
    let (_, diagnostics) = read(".notice a\n.warning b\n.alert c\n.diag d\n.alert e f\n");
    let classes: Vec<_> = diagnostics.list().iter().map(|finding| finding.class).collect();
    assert_eq!(classes, [Class::NoEffect, Class::Warning, Class::Error, Class::NoEffect, Class::Error]);
}

#[test]
fn variables_set_in_global_are_seen_by_later_lines() {
    let text = "global\n setenv A one\n presetenv A two\n presetenv B two\n log-tag \"$A-$B-$HOME\"\n resetenv B\n log-tag \"$A-$B-$HOME\"\n unsetenv B\n log-tag \"${B-gone}\"\n";
    let tags: Vec<_> = statements(text).into_iter().filter(|text| text.starts_with("log-tag")).collect();
    assert_eq!(tags, ["log-tag one-two-/root", "log-tag -two-", "log-tag gone"]);
}

#[test]
fn refused_sections_are_skipped_with_one_finding() {
    let (sections, diagnostics) = read("mailers p\n mailer x 1.2.3.4:5\nfrontend f\n bind :80\n");
    assert_eq!(sections.len(), 1);
    assert_eq!(diagnostics.list().len(), 1);
    assert_eq!(diagnostics.list()[0].class, Class::Unsupported);
}

#[test]
fn misplaced_words_are_reported() {
    assert_eq!(messages("bind :80\n"), ["'bind' stands outside of any section"]);
    assert_eq!(messages("frontend\n"), ["'frontend' needs a name"]);
    assert_eq!(messages("frontend a :80\n"), ["unexpected ':80' after the name of this frontend"]);
    assert_eq!(messages("listen a/b\n"), ["'/' cannot be part of the name of a listen"]);
    assert_eq!(messages("global\n no\n"), ["a keyword is missing after this word"]);
    assert_eq!(messages("global\n x"), ["the last line does not end with a line feed; the file may have been cut off"]);
}

#[test]
fn negations_leave_the_keyword_first() {
    let (sections, _) = read("defaults\n no option tcpka\n default option tcpka\n");
    let negations: Vec<_> = sections[0].statements.iter().map(|statement| (statement.words[0].text.as_str(), statement.negation)).collect();
    assert_eq!(negations, [("option", Some(Negation::No)), ("option", Some(Negation::Default))]);
}
