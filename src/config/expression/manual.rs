//! What the program says about fetches and converters: `--help-keyword` and README's tables, from their registries.

use std::fmt::Write;

use ringmain_policy::expression::{CONVERTERS, ConverterEntry, FETCHES, FetchEntry, Parameter, converter, fetch_entry};

/// The help of every fetch and converter with this name; empty when there is none.
pub fn help(name: &str) -> String {
    let mut text = String::new();
    if let Some((_, entry)) = fetch_entry(name) {
        let _ = writeln!(text, "{}\n  {}\n  fetch, gives: {}\n", fetch_usage(entry), entry.summary, entry.output.name());
    }
    if let Some((_, entry)) = converter(name) {
        let types = format!("takes: {}, gives: {}", entry.input.name(), entry.output.name());
        let _ = writeln!(text, "{}\n  {}\n  converter, {types}\n", converter_usage(entry), entry.summary);
    }
    text
}

/// The names of all fetches and converters.
pub fn names() -> impl Iterator<Item = &'static str> {
    FETCHES.iter().map(|entry| entry.name).chain(CONVERTERS.iter().map(|entry| entry.name))
}

/// All fetches and converters, one in a line.
pub fn overview() -> String {
    let mut text = String::from("Fetches\n");
    for entry in FETCHES.iter() {
        let _ = writeln!(text, "  {:<30} {}", entry.name, entry.summary);
    }
    text.push_str("\nConverters\n");
    for entry in CONVERTERS.iter() {
        let _ = writeln!(text, "  {:<30} {}", entry.name, entry.summary);
    }
    text.push('\n');
    text
}

/// README's tables in Markdown.
pub fn markdown() -> String {
    let mut text = String::from("#### Fetches\n\n| fetch | gives | what it is |\n|---|---|---|\n");
    for entry in FETCHES.iter() {
        let _ = writeln!(text, "| `{}` | {} | {} |", escape(&fetch_usage(entry)), entry.output.name(), escape(entry.summary));
    }
    text.push_str("\n#### Converters\n\n| converter | takes | gives | what it does |\n|---|---|---|---|\n");
    for entry in CONVERTERS.iter() {
        let (input, output) = (entry.input.name(), entry.output.name());
        let _ = writeln!(text, "| `{}` | {input} | {output} | {} |", escape(&converter_usage(entry)), escape(entry.summary));
    }
    text.push('\n');
    text
}

fn fetch_usage(entry: &FetchEntry) -> String {
    usage(entry.name, entry.parameters, entry.required)
}

fn converter_usage(entry: &ConverterEntry) -> String {
    usage(entry.name, entry.parameters, entry.required)
}

/// `name(<argument>[,<argument>])`.
fn usage(name: &str, parameters: &[Parameter], required: usize) -> String {
    if parameters.is_empty() {
        return name.to_owned();
    }
    let mut text = format!("{name}(");
    for (position, parameter) in parameters.iter().enumerate() {
        let comma = if position > 0 { "," } else { "" };
        let what = placeholder(*parameter);
        // What has a default by the place it stands in may always be left out.
        let implied = matches!(parameter, Parameter::Frontend | Parameter::Backend | Parameter::Table);
        if position < required && !implied {
            let _ = write!(text, "{comma}{what}");
        } else {
            let _ = write!(text, "[{comma}{what}]");
        }
    }
    text.push(')');
    text
}

fn placeholder(parameter: Parameter) -> String {
    let name = match parameter {
        Parameter::Integer => "number",
        Parameter::Text => "text",
        Parameter::Word(words) => return words.join("|"),
        Parameter::Mask4 => "mask",
        Parameter::Mask6 => "mask6",
        Parameter::Time => "time",
        Parameter::Size => "size",
        Parameter::Frontend => "frontend",
        Parameter::Backend => "backend",
        Parameter::Server => "backend/server",
        Parameter::Table | Parameter::OtherTable => "table",
        Parameter::Environment => "name",
        Parameter::Variable | Parameter::VariableName => "variable",
        Parameter::IntegerOrVariable => "number or variable",
        Parameter::Regex => "regex",
        Parameter::Map => "file",
        Parameter::MapDefault => "default",
    };
    format!("<{name}>")
}

/// A bar would end a table's cell, even within code.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_tells_arguments_and_types() {
        let text = help("length");
        assert!(text.starts_with("length\n") && text.contains("converter, takes: string, gives: integer"), "{text}");
        assert!(help("be_conn").starts_with("be_conn([<backend>])\n"), "{}", help("be_conn"));
        assert!(help("int").starts_with("int(<number>)\n"));
        assert_eq!(help("nosuch"), "");
    }

    #[test]
    fn every_name_is_in_the_overview_and_the_tables() {
        let (overview, markdown) = (overview(), markdown());
        for name in names() {
            assert!(overview.contains(&format!("  {name} ")), "{name}");
            assert!(markdown.contains(&format!("| `{name}")), "{name}");
        }
    }
}
