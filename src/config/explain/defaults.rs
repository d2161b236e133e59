//! What all proxies say, said once: the `[defaults]` of the converter's text.

use super::writer::Section;
use crate::config::draft::SectionKind;
use crate::config::keyword::Places;
use crate::config::toml::keyword_at;

/// Moves settings that every section they apply to has, with the same value, into a `[defaults]` section; `None` when there is none.
pub fn collect(sections: &mut [Section]) -> Option<Section> {
    let mut defaults = Section::new(SectionKind::Defaults, None);
    // What all sections have, the first of its kind has, too.
    let first = |kind: SectionKind| sections.iter().find(|section| section.kind == kind);
    let firsts = [SectionKind::Listen, SectionKind::Frontend, SectionKind::Backend].into_iter().filter_map(first);
    let candidates: Vec<_> = firsts.flat_map(|section| section.settings.clone()).collect();
    for (path, value) in candidates {
        let Some(keyword) = keyword_at(SectionKind::Listen, &path) else { continue };
        let taken = defaults.settings.iter().any(|(known, _)| *known == path);
        // A defaults section that disables all proxies would be a trap for the next one.
        // Rules and what belongs to them need a defaults section with a name.
        let is_rule = keyword.name == "acl" || keyword.name.starts_with("tcp-");
        if taken || is_rule || keyword.name == "disabled" || !keyword.places.contains(Places::DEFAULTS) {
            continue;
        }
        let applies: Vec<&Section> = sections.iter().filter(|section| keyword.places.contains(Places::of(section.kind))).collect();
        let same = |section: &&Section| section.settings.iter().any(|(known, other)| *known == path && *other == value);
        if applies.len() < 2 || !applies.iter().all(same) {
            continue;
        }
        for section in sections.iter_mut() {
            section.settings.retain(|(known, _)| *known != path);
        }
        defaults.set(&path, value);
    }
    (!defaults.is_empty()).then_some(defaults)
}
