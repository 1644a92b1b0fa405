//! What `tricast push` sends: fields of arguments and lines of standard input, as lines of the protocol (`docs/protocol.md`, section 7).

use serde_json::{Map, Number, Value, json};

use super::output::printable;
use crate::config::Span;

/// Fields with their values.
pub(super) type Fields = Map<String, Value>;

/// Kind of line that the fields are pushed as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// They are the value of the channel, or replace the fields of the same names.
    Value { merge: bool },
    /// They are the data of an event of this name.
    Event(String),
    /// Each is a sample of this type.
    Sample(&'static str),
}

/// Where fields go.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) channel: String,
    pub(super) target: Target,
    /// Labels of samples.
    pub(super) labels: Fields,
    /// Time to live.
    pub(super) ttl: Option<Span>,
}

impl Shape {
    /// Returns the lines to push.
    ///
    /// # Errors
    /// A sample that is neither a number nor a member of a set.
    pub(super) fn lines(&self, fields: Fields) -> Result<Vec<String>, String> {
        let channel = &self.channel;
        let mut lines = match &self.target {
            Target::Value { merge: false } => vec![json!({"channel": channel, "data": fields})],
            Target::Value { merge: true } => vec![json!({"channel": channel, "data": fields, "merge": true})],
            Target::Event(event) => vec![json!({"channel": channel, "event": event, "data": fields})],
            Target::Sample(kind) => {
                fields.into_iter().map(|(field, value)| self.sample(kind, &field, &value)).collect::<Result<_, _>>()?
            }
        };
        if let Some(ttl) = self.ttl {
            for line in &mut lines {
                line["ttl"] = ttl.as_millis().into();
            }
        }
        Ok(lines.iter().map(Value::to_string).collect())
    }

    fn sample(&self, kind: &str, field: &str, value: &Value) -> Result<Value, String> {
        let fits = value.is_number() || (kind == "set" && value.is_string());
        if !fits {
            return Err(format!("{}={}: a {kind} takes a number", printable(field), printable(&value.to_string())));
        }
        // The name of a sample is that of the channel without `metrics.`, and the field.
        let channel = self.channel.strip_prefix("metrics.").unwrap_or(&self.channel);
        let mut line = json!({"metric": format!("{channel}.{field}"), "type": kind, "value": value});
        if !self.labels.is_empty() {
            line["labels"] = self.labels.clone().into();
        }
        Ok(line)
    }
}

/// Reads a value: a number, `true`, `false`, `null` or other JSON as such, everything else as text.
///
/// # Errors
/// A number that JSON does not have.
pub(super) fn value(text: &str) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Ok(value);
    }
    // `007` is rather a name than a number.
    let digits = text.trim_start_matches(['-', '+']);
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        return Ok(text.into());
    }
    match text.parse::<f64>() {
        Ok(number) => match Number::from_f64(number) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(format!("{text} is not a number that a value can hold; leave the field out, or push null")),
        },
        Err(_) => Ok(text.into()),
    }
}

/// Reads `FIELD=VALUE`.
///
/// # Errors
/// Another form, with an explanation.
pub(super) fn pair(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, content)) if !name.is_empty() => {
            let content = value(content).map_err(|error| format!("{}: {error}", printable(name)))?;
            Ok((name.to_owned(), content))
        }
        Some(_) => Err(format!("{}: the name of the field is missing before =", printable(text))),
        None => Err(format!("{} is not FIELD=VALUE, such as latency=180", printable(text))),
    }
}

/// Form of the lines of standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Numbers,
    Pairs,
    Json,
    /// Names of the columns, and what separates them.
    Csv(Vec<String>, char),
}

/// Reads lines. The first one decides the form of all: numbers, `k=v` pairs, JSON objects, or CSV with a header.
pub(super) struct Reader {
    form: Option<Form>,
    /// Name of the field of bare numbers.
    field: String,
}

impl Reader {
    /// Creates a reader that gives bare numbers the name `field`.
    pub(super) fn new(field: String) -> Self {
        Self { form: None, field }
    }

    /// Reads a line. An empty line, and the header of CSV, have no fields.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn read(&mut self, line: &str) -> Result<Option<Fields>, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(None);
        }
        let form = match &self.form {
            Some(form) => form,
            None => {
                let form = form_of(line)?;
                let is_header = matches!(form, Form::Csv(..));
                let form = &*self.form.insert(form);
                if is_header {
                    return Ok(None);
                }
                form
            }
        };
        match form {
            Form::Numbers => Ok(Some(Fields::from_iter([(self.field.clone(), number(line)?)]))),
            Form::Pairs => words(line)?.iter().map(|word| pair(word)).collect::<Result<_, _>>().map(Some),
            Form::Json => match serde_json::from_str(line) {
                Ok(Value::Object(fields)) => Ok(Some(fields)),
                Ok(_) => Err("a line has to be a JSON object".into()),
                Err(error) => Err(format!("not JSON: {error}")),
            },
            Form::Csv(names, separator) => row(names, *separator, line).map(Some),
        }
    }
}

/// Returns the form that a first line has.
fn form_of(line: &str) -> Result<Form, String> {
    if line.starts_with('{') {
        return Ok(Form::Json);
    }
    if line.parse::<f64>().is_ok() {
        return Ok(Form::Numbers);
    }
    let is_pair = |word: &str| word.find('=').is_some_and(|at| at > 0);
    if line.split_whitespace().next().is_some_and(is_pair) {
        return Ok(Form::Pairs);
    }
    if let Some(separator) = [',', ';', '\t'].into_iter().find(|separator| line.contains(*separator)) {
        let names = cells(separator, line)?;
        let is_name = |name: &String| !name.is_empty() && name.parse::<f64>().is_err();
        if names.iter().all(is_name) {
            return Ok(Form::Csv(names, separator));
        }
        return Err("CSV needs a first line with the names of its columns".into());
    }
    Err(format!("{} is not a number, FIELD=VALUE, a JSON object, or a header of CSV", printable(line)))
}

fn number(line: &str) -> Result<Value, String> {
    match value(line) {
        Ok(number @ Value::Number(_)) => Ok(number),
        Ok(_) if line.contains(',') => Err(format!("{} is not a number; decimals have a point", printable(line))),
        Ok(_) => Err(format!("{} is not a number", printable(line))),
        Err(error) => Err(error),
    }
}

/// Splits a line into words; a part in double quotes may have spaces, as in a shell.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted, mut started) = (Vec::new(), String::new(), false, false);
    for char in line.chars() {
        match char {
            '"' => (quoted, started) = (!quoted, true),
            char if char.is_whitespace() && !quoted => {
                if std::mem::take(&mut started) {
                    words.push(std::mem::take(&mut word));
                }
            }
            char => {
                word.push(char);
                started = true;
            }
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if started {
        words.push(word);
    }
    Ok(words)
}

/// Reads a row of CSV. An empty cell has no field.
fn row(names: &[String], separator: char, line: &str) -> Result<Fields, String> {
    let cells = cells(separator, line)?;
    if cells.len() != names.len() {
        return Err(format!("{} columns instead of the {} of the header", cells.len(), names.len()));
    }
    let filled = names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
    filled.map(|(name, cell)| Ok((name.clone(), value(&cell)?))).collect()
}

/// Splits a row of CSV (RFC 4180); a cell in quotes can't contain line ends.
fn cells(separator: char, line: &str) -> Result<Vec<String>, String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            char if char == separator && !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            char => cell.push(char),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    cells.push(cell.trim().to_owned());
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Result<Value, String>> {
        let mut reader = Reader::new("value".into());
        lines.iter().filter_map(|line| reader.read(line).transpose()).map(|read| read.map(Value::Object)).collect()
    }

    #[test]
    fn a_value_has_the_type_that_it_looks_like() {
        for (text, expected) in [
            ("180", json!(180)),
            ("-1.5e3", json!(-1500.0)),
            (".5", json!(0.5)),
            ("true", json!(true)),
            ("null", json!(null)),
            ("ok", json!("ok")),
            ("\"1.10\"", json!("1.10")),
            ("007", json!("007")),
            ("1.2.3", json!("1.2.3")),
            ("[1,2]", json!([1, 2])),
            ("", json!("")),
        ] {
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
        for text in ["NaN", "inf", "-Infinity", "1e999"] {
            assert!(value(text).unwrap_err().contains("null"), "{text}");
        }
    }

    #[test]
    fn the_first_line_decides_the_form() {
        let ok = |lines: &[&str]| read(lines).into_iter().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(ok(&["1", "", " 2.5 "]), [json!({"value": 1}), json!({"value": 2.5})]);
        assert_eq!(ok(&["a=1 b=x", "name=\"a b\""]), [json!({"a": 1, "b": "x"}), json!({"name": "a b"})]);
        assert_eq!(ok(&["{\"a\": 1}"]), [json!({"a": 1})]);
        let csv = ["time_s,\"na\"\"me\"", "1,\"x, y\"", ",z"];
        assert_eq!(ok(&csv), [json!({"time_s": 1, "na\"me": "x, y"}), json!({"na\"me": "z"})]);
        assert_eq!(ok(&["a;b", "1;2"]), [json!({"a": 1, "b": 2})]);
    }

    #[test]
    fn faults_of_lines_are_explained() {
        for (lines, part) in [
            (&["hello"][..], "FIELD=VALUE"),
            (&["1", "x"], "x is not a number"),
            (&["1", "2,5"], "decimals have a point"),
            (&["a=1", "b"], "FIELD=VALUE"),
            (&["a=1", "=2"], "missing before ="),
            (&["{", ""], "not JSON"),
            (&["a,b", "1"], "1 columns instead of the 2"),
            (&["1,2"], "names of its columns"),
            (&["a,b", "\"1,2"], "quote"),
            (&["a=NaN"], "a: NaN"),
        ] {
            let error = read(lines).pop().unwrap().unwrap_err();
            assert!(error.contains(part), "{lines:?}: {error}");
        }
    }

    #[test]
    fn fields_become_lines_of_the_protocol() {
        let fields = || Fields::from_iter([("latency".to_owned(), json!(12)), ("rows".to_owned(), json!(3))]);
        let shape = |target| Shape { channel: "metrics.shop".into(), target, labels: Fields::new(), ttl: None };
        for (target, expected) in [
            (Target::Value { merge: false }, vec![json!({"channel": "metrics.shop", "data": fields()})]),
            (Target::Value { merge: true }, vec![json!({"channel": "metrics.shop", "data": fields(), "merge": true})]),
            (Target::Event("x".into()), vec![json!({"channel": "metrics.shop", "event": "x", "data": fields()})]),
            (
                Target::Sample("timing"),
                vec![
                    json!({"metric": "shop.latency", "type": "timing", "value": 12}),
                    json!({"metric": "shop.rows", "type": "timing", "value": 3}),
                ],
            ),
        ] {
            let lines = shape(target).lines(fields()).unwrap();
            let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines, expected);
        }
        for target in [Target::Value { merge: true }, Target::Event("x".into()), Target::Sample("timing")] {
            let shape = Shape { ttl: Some(Span::from_secs(300)), ..shape(target) };
            for line in shape.lines(fields()).unwrap() {
                assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["ttl"], 300_000);
            }
        }
        let text = Fields::from_iter([("latency".to_owned(), json!("fast"))]);
        assert!(shape(Target::Sample("timing")).lines(text).unwrap_err().contains("a timing takes a number"));
    }
}
