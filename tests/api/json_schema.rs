//! Validation of JSON against the schemas of an OpenAPI document (JSON Schema 2020-12, the keywords that the document has).

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value, json};

/// Keywords that say nothing about the validity of a value, or are checked with another keyword.
const ANNOTATIONS: [&str; 7] = ["description", "example", "examples", "format", "default", "title", "propertyNames"];

/// Schemas of a document.
#[derive(Clone, Copy)]
pub(crate) struct Schemas<'a> {
    document: &'a Value,
    /// Whether an object may have members that its schema does not name. JSON Schema allows them; a complete description has
    /// all members.
    allows_unknown: bool,
}

impl<'a> Schemas<'a> {
    /// Returns schemas that describe every member of an object.
    pub(crate) fn complete(document: &'a Value) -> Self {
        Self { document, allows_unknown: false }
    }

    /// Returns the target of a `$ref`, or the value itself.
    pub(crate) fn resolve(self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => value,
        }
    }

    /// Returns the differences between `value` and `schema`, each with its place.
    pub(crate) fn faults(self, schema: &'a Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults
    }

    fn fits(self, schema: &'a Value, value: &Value) -> bool {
        self.faults(schema, value).is_empty()
    }

    fn check(self, schema: &'a Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        let schema = self.resolve(schema);
        for (keyword, bound) in schema.as_object().unwrap() {
            let number = || (value.as_f64(), bound.as_f64().unwrap_or(f64::NAN));
            let is_broken = match keyword.as_str() {
                "type" => !is_of_type(bound, value),
                "enum" => !bound.as_array().unwrap().contains(value),
                "minimum" => matches!(number(), (Some(value), bound) if value < bound),
                "maximum" => matches!(number(), (Some(value), bound) if value > bound),
                "exclusiveMaximum" => matches!(number(), (Some(value), bound) if value >= bound),
                "pattern" => {
                    let pattern = Regex::new(bound.as_str().unwrap()).unwrap();
                    value.as_str().is_some_and(|text| !pattern.is_match(text))
                }
                "maxLength" => value.as_str().is_some_and(|text| text.chars().count() as u64 > bound.as_u64().unwrap()),
                "minItems" => value.as_array().is_some_and(|list| (list.len() as u64) < bound.as_u64().unwrap()),
                "maxItems" => value.as_array().is_some_and(|list| list.len() as u64 > bound.as_u64().unwrap()),
                "maxProperties" => value.as_object().is_some_and(|map| map.len() as u64 > bound.as_u64().unwrap()),
                "anyOf" => !bound.as_array().unwrap().iter().any(|schema| self.fits(schema, value)),
                "oneOf" => {
                    let lenient = Self { allows_unknown: true, ..self };
                    let fitting: Vec<_> =
                        bound.as_array().unwrap().iter().filter(|schema| lenient.fits(schema, value)).collect();
                    match fitting[..] {
                        [one] => self.check(one, value, place, faults),
                        _ => faults.push(format!("{place}: {value} fits {} of the alternatives", fitting.len())),
                    }
                    continue;
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(bound, item, &format!("{place}[{index}]"), faults);
                    }
                    continue;
                }
                "required" => {
                    for name in bound.as_array().unwrap().iter().filter_map(Value::as_str) {
                        if value.as_object().is_some_and(|members| !members.contains_key(name)) {
                            faults.push(format!("{place}: {name:?} is missing"));
                        }
                    }
                    continue;
                }
                // Below, together.
                "properties" | "additionalProperties" | "allOf" => false,
                known if ANNOTATIONS.contains(&known) => false,
                other => panic!("{place}: no check of the keyword {other:?}"),
            };
            if is_broken {
                faults.push(format!("{place}: {value} against {keyword:?}: {bound}"));
            }
        }
        let Some(members) = value.as_object().filter(|_| describes_members(schema)) else { return };
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            // Its members are among those of the whole.
            Self { allows_unknown: true, ..self }.check(part, value, place, faults);
        }
        self.check_members(schema, members, place, faults);
    }

    fn check_members(self, schema: &'a Value, members: &Map<String, Value>, place: &str, faults: &mut Vec<String>) {
        let named = self.named(schema);
        for (name, member) in members {
            let place = format!("{place}.{name}");
            match (schema.get("properties").and_then(|all| all.get(name)), schema.get("additionalProperties")) {
                (Some(schema), _) => self.check(schema, member, &place, faults),
                (None, Some(Value::Object(more))) if more.is_empty() => {}
                (None, Some(schema @ Value::Object(_))) => self.check(schema, member, &place, faults),
                (None, Some(Value::Bool(false))) => faults.push(format!("{place}: is not allowed")),
                (None, _) if self.allows_unknown || named.contains(name.as_str()) => {}
                (None, _) => faults.push(format!("{place}: is not described")),
            }
        }
    }

    /// Returns the names of the members that `schema` describes.
    fn named(self, schema: &'a Value) -> BTreeSet<&'a str> {
        let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let mut names: BTreeSet<_> = own.map(|(name, _)| name.as_str()).collect();
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            names.extend(self.named(self.resolve(part)));
        }
        names
    }
}

/// Returns whether a schema says anything about the members of an object.
fn describes_members(schema: &Value) -> bool {
    ["properties", "additionalProperties", "allOf"].iter().any(|keyword| schema.get(keyword).is_some())
}

fn is_of_type(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("no type {other:?}"),
    };
    match types {
        Value::Array(types) => types.iter().any(is),
        one => is(one),
    }
}

#[test]
fn differences_are_found_with_their_places() {
    let document = json!({"schemas": {
        "Order": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string", "pattern": "^ord-"},
            "items": {"type": ["integer", "null"], "minimum": 1}}},
        "Page": {"allOf": [{"$ref": "#/schemas/Order"}, {"type": "object", "properties": {
            "more": {"oneOf": [{"type": "boolean"}, {"type": "string", "enum": ["all"]}]},
            "list": {"type": "array", "items": {"$ref": "#/schemas/Order"}}}}]},
    }});
    let schemas = Schemas::complete(&document);
    let faults = |name: &str, value: Value| schemas.faults(&document["schemas"][name], &value).join("; ");
    assert_eq!(faults("Order", json!({"id": "ord-1", "items": null})), "");
    assert_eq!(faults("Page", json!({"id": "ord-1", "more": "all", "list": [{"id": "ord-2"}]})), "");
    for (name, value, fault) in [
        ("Order", json!({"items": 1}), ": \"id\" is missing"),
        ("Order", json!({"id": "1"}), ".id: \"1\" against \"pattern\""),
        ("Order", json!({"id": "ord-1", "items": 0}), ".items: 0 against \"minimum\""),
        ("Order", json!({"id": "ord-1", "items": 1.5}), ".items: 1.5 against \"type\""),
        ("Order", json!({"id": "ord-1", "colour": 1}), ".colour: is not described"),
        ("Page", json!({"id": "ord-1", "colour": 1}), ".colour: is not described"),
        ("Page", json!({"id": "ord-1", "more": 1}), "fits 0 of the alternatives"),
        ("Page", json!({"id": "ord-1", "list": [{}]}), ".list[0]: \"id\" is missing"),
    ] {
        let found = faults(name, value);
        assert!(found.contains(fault), "{found:?} instead of {fault:?}");
    }
}
