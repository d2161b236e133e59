//! Rows and process facts as text: CSV, typed, JSON (HAProxy management guide sections 9.1 and 9.2).

use std::fmt::Write;

use super::column::{COLUMNS, FIXED_COLUMNS};
use super::{InfoField, Row, Value};

/// Which text a command asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// CSV for statistics, `name: value` for process facts.
    #[default]
    Plain,
    /// One value per line with type and tags.
    Typed,
    /// JSON.
    Json,
}

/// The title line of the CSV output, line end included.
pub fn csv_header(out: &mut String) {
    out.push_str("# ");
    for (position, column) in COLUMNS.iter().enumerate() {
        if position == FIXED_COLUMNS {
            out.push_str("-,");
        }
        out.push_str(column.name);
        out.push(',');
    }
    out.push('\n');
}

/// One CSV line.
pub fn csv_row(out: &mut String, row: &Row) {
    for (position, value) in row.values().iter().enumerate() {
        if position == FIXED_COLUMNS {
            out.push_str("-,");
        }
        match value {
            Value::Text(text) => csv_text(out, text),
            other => push(out, format_args!("{other}")),
        }
        out.push(',');
    }
    out.push('\n');
}

/// Quotes a text only where CSV needs it.
fn csv_text(out: &mut String, text: &str) {
    if text.contains(['"', ',', '\r', '\n']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

/// One line per value of a row.
pub fn typed_row(out: &mut String, row: &Row, describe: bool) {
    for (position, (column, value)) in COLUMNS.iter().zip(row.values()).enumerate() {
        let Some(kind) = value.type_name() else { continue };
        let letter = row.kind.letter();
        let (proxy, object, tags) = (row.proxy_id, row.object_id, row.tags(position));
        push(out, format_args!("{letter}.{proxy}.{object}.{position}.{}.1:{tags}:{kind}:{value}", column.name));
        end_line(out, describe.then_some(column.description));
    }
}

/// A row as a JSON array of its values.
pub fn json_row(out: &mut String, row: &Row) {
    out.push('[');
    let mut first = true;
    for (position, (column, value)) in COLUMNS.iter().zip(row.values()).enumerate() {
        let Some(kind) = value.type_name() else { continue };
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        push(out, format_args!("{{\"objType\":\"{}\",\"proxyId\":{},\"id\":{},", row.kind.word(), row.proxy_id, row.object_id));
        json_value(out, position, column.name, row.tags(position), kind, value);
    }
    out.push(']');
}

/// One process fact as `name: value`.
pub fn info_line(out: &mut String, field: &InfoField, describe: bool) {
    push(out, format_args!("{}: ", field.name));
    match &field.value {
        // HAProxy quotes here as in CSV.
        Value::Text(text) => csv_text(out, text),
        other => push(out, format_args!("{other}")),
    }
    end_line(out, describe.then_some(field.description));
}

/// One process fact in typed form.
pub fn typed_info(out: &mut String, field: &InfoField, describe: bool) {
    let kind = field.value.type_name().unwrap_or("str");
    push(out, format_args!("{}.{}.1:{}:{kind}:{}", field.position, field.name, field.tags, field.value));
    end_line(out, describe.then_some(field.description));
}

/// One process fact as a JSON object.
pub fn json_info(out: &mut String, field: &InfoField) {
    out.push('{');
    let kind = field.value.type_name().unwrap_or("str");
    json_value(out, field.position, field.name, field.tags, kind, &field.value);
}

/// The part that facts and statistics share, closing the object.
fn json_value(out: &mut String, position: usize, name: &str, tags: &str, kind: &str, value: &Value) {
    let mut letters = tags.chars();
    let (origin, nature, scope) = (origin_word(letters.next()), nature_word(letters.next()), scope_word(letters.next()));
    push(out, format_args!("\"field\":{{\"pos\":{position},\"name\":\"{name}\"}},\"processNum\":1,"));
    push(out, format_args!("\"tags\":{{\"origin\":\"{origin}\",\"nature\":\"{nature}\",\"scope\":\"{scope}\"}},"));
    push(out, format_args!("\"value\":{{\"type\":\"{kind}\",\"value\":"));
    match value {
        Value::Text(text) => json_text(out, text),
        Value::Empty => out.push_str("\"\""),
        number => push(out, format_args!("{number}")),
    }
    out.push_str("}}");
}

/// A JSON string (RFC 8259 section 7).
pub fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => push(out, format_args!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn end_line(out: &mut String, description: Option<&str>) {
    if let Some(description) = description {
        push(out, format_args!(":\"{description}\""));
    }
    out.push('\n');
}

fn origin_word(letter: Option<char>) -> &'static str {
    match letter {
        Some('M') => "Metric",
        Some('S') => "Status",
        Some('K') => "Key",
        Some('C') => "Config",
        Some('P') => "Product",
        _ => "Unknown",
    }
}

fn nature_word(letter: Option<char>) -> &'static str {
    match letter {
        Some('A') => "Age",
        Some('a') => "Avg",
        Some('C') => "Counter",
        Some('D') => "Duration",
        Some('G') => "Gauge",
        Some('L') => "Limit",
        Some('M') => "Max",
        Some('m') => "Min",
        Some('N') => "Name",
        Some('O') => "Output",
        Some('R') => "Rate",
        Some('T') => "Time",
        _ => "Unknown",
    }
}

fn scope_word(letter: Option<char>) -> &'static str {
    match letter {
        Some('C') => "Cluster",
        Some('P') => "Process",
        Some('S') => "Service",
        Some('s') => "System",
        _ => "Unknown",
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::super::{Column, ObjectKind};
    use super::*;

    fn row() -> Row {
        let mut row = Row::new(ObjectKind::Server, "b,1", 3, "s\"x", 2);
        row.set(Column::SCur, 4u32);
        row.set(Column::LastSess, -1i32);
        row.set(Column::STot, 9u64);
        row
    }

    #[test]
    fn the_header_and_a_row_have_as_many_fields() {
        let (mut header, mut line) = (String::new(), String::new());
        csv_header(&mut header);
        csv_row(&mut line, &Row::new(ObjectKind::Backend, "b", 3, "BACKEND", 0));
        assert!(header.starts_with("# pxname,svname,qcur,") && header.ends_with("h1_spliced_bytes_out,\n"));
        assert_eq!(header.matches(',').count(), line.matches(',').count());
        assert!(header.contains(",agg_check_status,-,ssl_sess,"));
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let mut line = String::new();
        csv_row(&mut line, &row());
        assert!(line.starts_with("\"b,1\",\"s\"\"x\",,,4,,,9,"), "{line}");
    }

    #[test]
    fn typed_lines_name_object_position_tags_and_type() {
        let mut text = String::new();
        typed_row(&mut text, &row(), false);
        assert!(text.contains("S.3.2.4.scur.1:MGP:u32:4\n"));
        assert!(text.contains("S.3.2.55.lastsess.1:MAP:s32:-1\n"));
        assert!(!text.contains("qcur"), "empty values are left out");
    }

    #[test]
    fn json_escapes_text() {
        let mut text = String::new();
        json_text(&mut text, "a\"b\\\n\u{1}é");
        assert_eq!(text, "\"a\\\"b\\\\\\u000a\\u0001é\"");
        let mut line = String::new();
        json_row(&mut line, &row());
        assert!(line.starts_with("[{\"objType\":\"Server\",\"proxyId\":3,\"id\":2,\"field\":{\"pos\":0,\"name\":\"pxname\"},"), "{line}");
    }
}
