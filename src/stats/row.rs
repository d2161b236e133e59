//! One line of statistics: an object and its value in each column.

use super::column::{COLUMNS, Column};

/// What a row is about, with HAProxy's numbers (column `type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A frontend.
    Frontend = 0,
    /// A backend.
    Backend = 1,
    /// A server.
    Server = 2,
    /// A listening address (`option socket-stats`).
    Listener = 3,
}

impl ObjectKind {
    /// The letter that starts a line of typed output.
    pub const fn letter(self) -> char {
        match self {
            Self::Frontend => 'F',
            Self::Backend => 'B',
            Self::Server => 'S',
            Self::Listener => 'L',
        }
    }

    /// The word in JSON output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Frontend => "Frontend",
            Self::Backend => "Backend",
            Self::Server => "Server",
            Self::Listener => "Listener",
        }
    }
}

/// One value with the type that typed and JSON output name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// The column has no meaning for this object.
    #[default]
    Empty,
    /// Text.
    Text(String),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    S32(i32),
    /// Unsigned, 64 bits.
    U64(u64),
}

impl Value {
    /// The name of its type in typed output, `None` for no value.
    pub const fn type_name(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::Text(_) => Some("str"),
            Self::U32(_) => Some("u32"),
            Self::S32(_) => Some("s32"),
            Self::U64(_) => Some("u64"),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Text(text) => formatter.write_str(text),
            Self::U32(number) => number.fmt(formatter),
            Self::S32(number) => number.fmt(formatter),
            Self::U64(number) => number.fmt(formatter),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::U32(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::S32(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::U64(number)
    }
}

/// One object's line.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about.
    pub kind: ObjectKind,
    /// HAProxy's proxy id (`iid`).
    pub proxy_id: u32,
    /// Server or listener id within the proxy (`sid`); 0 for frontends and backends.
    pub object_id: u32,
    values: Vec<Value>,
}

impl Row {
    /// A row with the columns that every object has.
    pub fn new(kind: ObjectKind, proxy: &str, proxy_id: u32, object: &str, object_id: u32) -> Self {
        let mut row = Self { kind, proxy_id, object_id, values: vec![Value::Empty; COLUMNS.len()] };
        row.set(Column::PxName, proxy);
        row.set(Column::SvName, object);
        row.set(Column::Pid, 1u32);
        row.set(Column::Iid, proxy_id);
        row.set(Column::Sid, object_id);
        row.set(Column::Type, kind as u32);
        row
    }

    /// Sets a value.
    pub fn set(&mut self, column: Column, value: impl Into<Value>) {
        if let Some(place) = self.values.get_mut(column as usize) {
            *place = value.into();
        }
    }

    /// Sets counters of 64 bits to 0, by position.
    pub(super) fn zero(&mut self, positions: std::ops::Range<usize>) {
        let end = positions.end;
        self.values.iter_mut().take(end).skip(positions.start).for_each(|value| *value = Value::U64(0));
    }

    /// A value.
    pub fn get(&self, column: Column) -> &Value {
        self.values.get(column as usize).unwrap_or(&Value::Empty)
    }

    /// All values, by position.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The tags of a column in this row: HAProxy counts what a backend sums up as a gauge of the process, where it is a state or a rate
    /// elsewhere.
    pub fn tags(&self, position: usize) -> &'static str {
        const SUMMED: [usize; 4] = [Column::Act as usize, Column::Bck as usize, Column::Rate as usize, Column::RateMax as usize];
        if self.kind == ObjectKind::Backend && SUMMED.contains(&position) {
            return "MGP";
        }
        COLUMNS.get(position).map_or("", |column| column.tags)
    }
}
