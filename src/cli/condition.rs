//! Conditions of `tricast wait`: `ready == 3`, `errors < 5 && state == "done"`.
//!
//! ```text
//! or      = and *( "||" and )
//! and     = not *( "&&" not )
//! not     = "!" not / "(" or ")" / compare
//! compare = field [ ("==" / "!=" / "<" / "<=" / ">" / ">=") value ]
//! ```
//!
//! A field alone is met if it is there and neither `null`, `false`, 0 nor empty. A value is a number, `true`, `false`, `null`, a word, or a
//! text in quotes.

use serde_json::Value;

use super::fields;

/// Levels of parentheses and negations.
const DEEPEST: usize = 50;

/// Parsed condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    Or(Vec<Condition>),
    And(Vec<Condition>),
    Not(Box<Condition>),
    Compare { field: String, operator: Operator, value: Value },
    Holds(String),
}

/// Comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Operator(Operator),
    And,
    Or,
    Not,
    Open,
    Close,
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, depth: 0 };
        let condition = parser.or()?;
        match parser.tokens {
            [] => Ok(condition),
            _ => Err("there is more after the end of the condition; join conditions by && or ||".into()),
        }
    }

    /// Returns whether a value meets the condition.
    pub(super) fn is_met(&self, data: &Value) -> bool {
        match self {
            Self::Or(parts) => parts.iter().any(|part| part.is_met(data)),
            Self::And(parts) => parts.iter().all(|part| part.is_met(data)),
            Self::Not(part) => !part.is_met(data),
            Self::Holds(field) => fields::find(data, field).is_some_and(holds),
            Self::Compare { field, operator, value } => compare(fields::find(data, field), *operator, value),
        }
    }

    /// Returns the fields that it names.
    pub(super) fn fields(&self) -> Vec<&str> {
        match self {
            Self::Or(parts) | Self::And(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
            Self::Compare { field, .. } | Self::Holds(field) => vec![field],
        }
    }

    /// Returns an explanation if a field has another type than the value that it is compared with, so that the comparison can never be
    /// met as it stands.
    pub(super) fn wrong_type(&self, data: &Value) -> Option<String> {
        match self {
            Self::Or(parts) | Self::And(parts) => parts.iter().find_map(|part| part.wrong_type(data)),
            Self::Not(part) => part.wrong_type(data),
            Self::Holds(_) => None,
            Self::Compare { field, value, .. } => {
                let found = fields::find(data, field)?;
                let (is, wanted) = (kind(found), kind(value));
                let differs = !found.is_null() && !value.is_null() && is != wanted;
                differs.then(|| {
                    let found = fields::inline(found);
                    format!("{field} is {is} ({found}), and the condition compares it with {wanted}")
                })
            }
        }
    }
}

/// Names the type of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn compare(found: Option<&Value>, operator: Operator, value: &Value) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    // A missing field is like null: it equals null, and is neither less nor greater than anything.
    let found = found.unwrap_or(&Value::Null);
    let order = match (found, value) {
        (Value::Number(one), Value::Number(other)) => {
            one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))
        }
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (one, other) => (one == other).then_some(Equal),
    };
    match operator {
        Operator::Equal => order == Some(Equal),
        Operator::NotEqual => order != Some(Equal),
        Operator::Less => order == Some(Less),
        Operator::LessOrEqual => matches!(order, Some(Less | Equal)),
        Operator::Greater => order == Some(Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [(&str, Token); 12] = [
        ("&&", Token::And),
        ("||", Token::Or),
        ("==", Token::Operator(Operator::Equal)),
        ("!=", Token::Operator(Operator::NotEqual)),
        ("<=", Token::Operator(Operator::LessOrEqual)),
        (">=", Token::Operator(Operator::GreaterOrEqual)),
        ("=", Token::Operator(Operator::Equal)),
        ("<", Token::Operator(Operator::Less)),
        (">", Token::Operator(Operator::Greater)),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            tokens.push(token.clone());
            rest = &rest[sign.len()..];
        } else if let Some(quote) = rest.chars().next().filter(|char| matches!(char, '"' | '\'')) {
            let Some(end) = rest[1..].find(quote) else { return Err("a quote is not closed".into()) };
            tokens.push(Token::Text(rest[1..=end].to_owned()));
            rest = &rest[end + 2..];
        } else {
            let is_end = |char: char| char.is_whitespace() || "=!<>()&|\"'".contains(char);
            let end = rest.find(is_end).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("{} can't stand here; write && or ||", &rest[..1]));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, token: &Token) -> bool {
        let is_next = self.tokens.first() == Some(token);
        if is_next {
            self.tokens = &self.tokens[1..];
        }
        is_next
    }

    fn or(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.and()?];
        while self.take(&Token::Or) {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Or(parts) })
    }

    fn and(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.not()?];
        while self.take(&Token::And) {
            parts.push(self.not()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::And(parts) })
    }

    fn not(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("there are too many parentheses".into());
        }
        let condition = if self.take(&Token::Not) {
            Condition::Not(Box::new(self.not()?))
        } else if self.take(&Token::Open) {
            let inner = self.or()?;
            if !self.take(&Token::Close) {
                return Err("a parenthesis is not closed".into());
            }
            inner
        } else {
            self.compare()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn compare(&mut self) -> Result<Condition, String> {
        let (field, rest) = match self.tokens {
            [Token::Word(field), rest @ ..] => (field.clone(), rest),
            [Token::Text(text), ..] => return Err(format!("a condition begins with a field; {text:?} is a text")),
            _ => return Err("a field is missing, such as in: ready == 3".into()),
        };
        let (operator, value, rest) = match rest {
            [Token::Operator(operator), Token::Word(word), rest @ ..] => {
                let value = super::input::value(word)?;
                (*operator, value, rest)
            }
            [Token::Operator(operator), Token::Text(text), rest @ ..] => (*operator, Value::from(&**text), rest),
            [Token::Operator(_), ..] => return Err(format!("a value is missing after {field}")),
            _ => {
                self.tokens = rest;
                return Ok(Condition::Holds(field));
            }
        };
        self.tokens = rest;
        Ok(Condition::Compare { field, operator, value })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_met_as_they_read() {
        let data =
            json!({"ready": 3, "state": "done", "latency": {"p95": 12.5}, "ok": true, "none": null, "text": "3"});
        for (text, expected) in [
            ("ready == 3", true),
            ("ready==3.0", true),
            ("ready = 3", true),
            ("ready != 3", false),
            ("ready >= 3 && ready < 4", true),
            ("ready > 3 || state == done", true),
            ("state == \"done\"", true),
            ("state == 'done' && !(ready > 3)", true),
            ("latency.p95 <= 12.5", true),
            ("ok", true),
            ("!ok", false),
            ("none", false),
            ("none == null", true),
            ("missing == null", true),
            ("missing != 3", true),
            ("missing < 3", false),
            ("text == 3", false),
            ("text == \"3\"", true),
            ("ready == 1 || ready == 3 && ok", true),
        ] {
            assert_eq!(Condition::parse(text).unwrap().is_met(&data), expected, "{text}");
        }
    }

    #[test]
    fn faults_are_explained() {
        for (text, part) in [
            ("", "a field is missing"),
            ("ready ==", "a value is missing"),
            ("ready == 3 4", "more after"),
            ("(ready", "parenthesis"),
            ("ready & ok", "&&"),
            ("state == \"x", "quote"),
            ("\"x\" == state", "begins with a field"),
            ("ready == NaN", "NaN"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Condition::parse(&"(".repeat(10_000)).is_err());
    }

    #[test]
    fn a_wrong_type_is_noticed() {
        let condition = Condition::parse("ready == three").unwrap();
        let text = condition.wrong_type(&json!({"ready": 2})).unwrap();
        assert_eq!(text, "ready is a number (2), and the condition compares it with a text");
        assert_eq!(condition.wrong_type(&json!({"ready": null})), None);
        assert_eq!(condition.fields(), ["ready"]);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = Condition::parse(&text);
        }
    }
}
