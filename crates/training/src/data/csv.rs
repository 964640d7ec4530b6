//! Tables as comma-separated values (RFC 4180): a header, quoted fields, and errors that name row and column.

use crate::error::{Result, TrainingError};

const MAX_COLUMNS: usize = 8_192;
const MAX_ROWS: usize = 10_000_000;

/// A table of text fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvTable {
    /// What the table is called in errors.
    pub name: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows after the header, each as long as it; the first is row 2 of the file.
    pub rows: Vec<Vec<String>>,
}

impl CsvTable {
    /// The place of a column.
    ///
    /// # Errors
    /// [`TrainingError::BadData`] where there is none of that name.
    pub fn column(&self, name: &str) -> Result<usize> {
        let place = self.header.iter().position(|column| column == name);
        place.ok_or_else(|| {
            TrainingError::bad_data(&self.name, 1, name, format!("there is no such column, only {}", self.header.join(", ")))
        })
    }

    /// An error about a field; `row` counts from 0 after the header.
    pub(crate) fn wrong(&self, row: usize, column: usize, why: String) -> TrainingError {
        TrainingError::bad_data(&self.name, row + 2, self.header.get(column).map_or("?", String::as_str), why)
    }
}

/// Reads a table whose first row names the columns; `name` stands for it in errors.
///
/// # Errors
/// [`TrainingError::BadData`] with row and column: bytes that are no UTF-8, a quote that does not end or stands within a
/// field, a row of another length than the header, a column without a name or named twice, no row at all, more than ten
/// million.
pub fn read_csv(bytes: &[u8], name: &str) -> Result<CsvTable> {
    let bad = |row: usize, column: &str, why: String| TrainingError::bad_data(name, row, column, why);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let row = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        bad(row, "", format!("byte {} of the file is no UTF-8", error.valid_up_to()))
    })?;
    let mut reader = Reader { text: text.trim_start_matches('\u{feff}').chars().peekable(), row: 1 };
    let header =
        reader.next_row(name, &[])?.ok_or_else(|| bad(1, "", "the file is empty: its first row must name the columns".to_owned()))?;
    for (index, column) in header.iter().enumerate() {
        if column.is_empty() || header[..index].contains(column) || index >= MAX_COLUMNS {
            let why =
                if column.is_empty() { "has no name".to_owned() } else { format!("stands there twice, or beyond column {MAX_COLUMNS}") };
            return Err(bad(1, &format!("{} ({column})", index + 1), why));
        }
    }
    let mut rows = Vec::new();
    while let Some(fields) = reader.next_row(name, &header)? {
        let row = rows.len() + 2;
        if fields.len() != header.len() {
            let last = header.get(fields.len().min(header.len()) - 1).map_or("", String::as_str);
            return Err(bad(row, last, format!("the row has {} fields, the header names {}", fields.len(), header.len())));
        }
        rows.push(fields);
        if rows.len() > MAX_ROWS {
            return Err(bad(row, "", format!("more than {MAX_ROWS} rows")));
        }
    }
    if rows.is_empty() {
        return Err(bad(2, "", "there is no row after the header".to_owned()));
    }
    Ok(CsvTable { name: name.to_owned(), header, rows })
}

/// The table as a file that [`read_csv`] reads; fields are quoted where they must be.
pub(super) fn write_csv(table: &CsvTable) -> Vec<u8> {
    let field = |field: &String| {
        if field.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
    };
    let lines = std::iter::once(&table.header).chain(&table.rows);
    lines.flat_map(|row| (row.iter().map(field).collect::<Vec<_>>().join(",") + "\n").into_bytes()).collect()
}

struct Reader<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    row: usize,
}

impl Reader<'_> {
    /// The next row; none at the end. An empty line at the very end is no row.
    fn next_row(&mut self, name: &str, header: &[String]) -> Result<Option<Vec<String>>> {
        if self.text.peek().is_none() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        loop {
            let column = header.get(fields.len()).map_or_else(|| (fields.len() + 1).to_string(), Clone::clone);
            let (field, ended) = self.next_field().map_err(|why| TrainingError::bad_data(name, self.row, &column, why.to_owned()))?;
            fields.push(field);
            if ended {
                self.row += 1;
                return Ok(Some(fields));
            }
        }
    }

    /// The next field, and whether the row ends with it.
    fn next_field(&mut self) -> std::result::Result<(String, bool), &'static str> {
        let mut field = String::new();
        if self.text.next_if_eq(&'"').is_some() {
            loop {
                match self.text.next() {
                    Some('"') if self.text.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(character) => field.push(character),
                    None => return Err("a quote does not end"),
                }
            }
            self.text.next_if_eq(&'\r');
            return match self.text.next() {
                Some(',') => Ok((field, false)),
                Some('\n') | None => Ok((field, true)),
                Some(_) => Err("text stands behind the quote that ends the field"),
            };
        }
        loop {
            match self.text.next() {
                Some(',') => return Ok((field, false)),
                Some('\n') | None => {
                    if field.ends_with('\r') {
                        field.pop();
                    }
                    return Ok((field, true));
                }
                Some('"') => return Err("a quote stands within a field that does not begin with one"),
                Some(character) => field.push(character),
            }
        }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> String {
        read_csv(text, "t.csv").expect_err("refused").to_string()
    }

    #[test]
    fn csv__should_read_quotes_and_both_line_ends() {
        let table = read_csv("\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n,\n".as_bytes(), "t.csv").expect("readable");
        assert_eq!(table.header, ["a", "b"]);
        assert_eq!(table.rows, [vec!["1", "x, \"y\"\nz"], vec!["", ""]]);
        assert_eq!(read_csv(&write_csv(&table), "t.csv").expect("readable"), table);
        assert_eq!(table.column("b").expect("there"), 1);
        assert!(table.column("c").expect_err("refused").to_string().contains("only a, b"));
    }

    #[test]
    fn csv__should_name_row_and_column_of_what_is_wrong() {
        assert_eq!(refused(b""), "t.csv, row 1: the file is empty: its first row must name the columns");
        assert_eq!(refused(b"a,b\n"), "t.csv, row 2: there is no row after the header");
        assert!(refused(b"a,a\n1,2\n").contains("column `2 (a)`: stands there twice"));
        assert!(refused(b"a,\n1,2\n").contains("has no name"));
        assert_eq!(refused(b"a,b\n1,2\n3\n"), "t.csv, row 3, column `a`: the row has 1 fields, the header names 2");
        assert_eq!(refused(b"a,b\n1,\"2\n"), "t.csv, row 2, column `b`: a quote does not end");
        assert_eq!(refused(b"a,b\n1,2\"\n"), "t.csv, row 2, column `b`: a quote stands within a field that does not begin with one");
        assert!(refused(b"a,b\n\"1\"2,3\n").contains("row 2, column `a`: text stands behind the quote"));
        assert_eq!(refused(b"a,b\n1,\xff\n"), "t.csv, row 2: byte 6 of the file is no UTF-8");
    }
}
