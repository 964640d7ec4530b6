//! JSON lines: one object a line, with errors that name row and field.

use serde_json::{Map, Value};

use crate::error::{Result, TrainingError};

const MAX_LINE_BYTES: usize = 16 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonLine {
    name: String,
    /// Counted from 1; empty lines count and are left out.
    pub row: usize,
    /// The object.
    pub fields: Map<String, Value>,
}

impl JsonLine {
    /// A field's text; a number or truth as it is written.
    ///
    /// # Errors
    /// [`TrainingError::BadData`] where the field is missing, empty, or is a list, an object or null.
    pub fn text(&self, field: &str) -> Result<String> {
        let why = match self.fields.get(field) {
            Some(Value::String(text)) if !text.is_empty() => return Ok(text.clone()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => return Ok(value.to_string()),
            Some(Value::String(_)) => "the text is empty".to_owned(),
            Some(other) => format!("{} where a text is needed", kind(other)),
            None => format!("the field is missing; there are {}", self.fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        Err(TrainingError::bad_data(&self.name, self.row, field, why))
    }
}

/// Reads a file of objects; `name` stands for it in errors.
///
/// # Errors
/// [`TrainingError::BadData`] with the row, and the column where JSON breaks off: bytes that are no UTF-8, a line that is
/// no object or longer than 16 MiB, no line at all.
pub fn read_json_lines(bytes: &[u8], name: &str) -> Result<Vec<JsonLine>> {
    let mut lines = Vec::new();
    for (row, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let bad = |column: &str, why: String| TrainingError::bad_data(name, row, column, why);
        let text = std::str::from_utf8(line).map_err(|error| bad(&(error.valid_up_to() + 1).to_string(), "no UTF-8".to_owned()))?;
        if text.trim().is_empty() {
            continue;
        }
        if text.len() > MAX_LINE_BYTES {
            return Err(bad("", format!("the line has {} bytes, at most {MAX_LINE_BYTES} are allowed", text.len())));
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => lines.push(JsonLine { name: name.to_owned(), row, fields }),
            Ok(other) => return Err(bad("", format!("{} where an object is needed", kind(&other)))),
            Err(error) => return Err(bad(&error.column().to_string(), format!("not JSON: {error}"))),
        }
    }
    if lines.is_empty() {
        return Err(TrainingError::bad_data(name, 1, "", "the file holds no object".to_owned()));
    }
    Ok(lines)
}

/// Objects of texts as a file that [`read_json_lines`] reads.
pub(super) fn write_json_lines<'a, const FIELDS: usize>(lines: impl Iterator<Item = [(&'a str, &'a String); FIELDS]>) -> Vec<u8> {
    let mut file = Vec::new();
    for fields in lines {
        let object: Map<String, Value> = fields.into_iter().map(|(name, text)| (name.to_owned(), text.clone().into())).collect();
        file.extend_from_slice(Value::Object(object).to_string().as_bytes());
        file.push(b'\n');
    }
    file
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null stands",
        Value::Bool(_) => "a truth stands",
        Value::Number(_) => "a number stands",
        Value::String(_) => "a text stands",
        Value::Array(_) => "a list stands",
        Value::Object(_) => "an object stands",
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn json_lines__should_name_row_and_field_of_what_is_wrong() {
        let lines = read_json_lines(b"{\"text\":\"a\",\"label\":3}\n\n{\"text\":\"\",\"label\":null}\n", "t.jsonl").expect("readable");
        assert_eq!((lines[0].text("text").expect("there"), lines[0].text("label").expect("there")), ("a".to_owned(), "3".to_owned()));
        let wrong = |field: &str| lines[1].text(field).expect_err("refused").to_string();
        assert_eq!(wrong("text"), "t.jsonl, row 3, column `text`: the text is empty");
        assert_eq!(wrong("label"), "t.jsonl, row 3, column `label`: null stands where a text is needed");
        assert!(wrong("body").contains("the field is missing; there are label, text"));
        let refused = |text: &[u8]| read_json_lines(text, "t.jsonl").expect_err("refused").to_string();
        assert!(refused(b"{\"a\":1}\n{\"a\":}\n").starts_with("t.jsonl, row 2, column `6`: not JSON"));
        assert_eq!(refused(b"[1]\n"), "t.jsonl, row 1: a list stands where an object is needed");
        assert_eq!(refused(b"\n \n"), "t.jsonl, row 1: the file holds no object");
        assert_eq!(refused(b"{\"a\":\"\xff\"}"), "t.jsonl, row 1, column `7`: no UTF-8");
    }
}
