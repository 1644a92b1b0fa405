//! OpenAPI schema of a condition. Compiled with the feature `openapi` only.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema,
        schema::{AdditionalProperties, Type},
    },
};

use super::Condition;
use tricast_core::span::Span;

impl PartialSchema for Condition {
    fn schema() -> RefOr<Schema> {
        let clear = "Threshold that resolves the alert. Default: the one that raises it.";
        let above = variant([("above", number("Raises an alert above this value."))]);
        let below = variant([("below", number("Raises an alert below this value."))]);
        let ratio = "Raises an alert below this ratio to the earlier value: above 0, at most 1.";
        let drop = variant([
            ("dropsBelowRatio", number(ratio)),
            ("comparedTo", duration("Age of the earlier value: `1s` to `7d`.")),
        ]);
        let absence = "Raises an alert when the field was not written for this time: `1s` to `7d`.";
        let absent = variant([("absentFor", duration(absence))]);
        let written = "Time for which the field has to be written before the alert is resolved. Default: at once.";
        let one = OneOfBuilder::new()
            .item(above.property("clear", number(clear)))
            .item(below.property("clear", number(clear)))
            .item(drop.property("clear", number("Ratio that resolves the alert. Default: the one that raises it.")))
            .item(absent.property("clear", text_of(duration(written))));
        one.description(Some("Condition that raises an alert; `clear` resolves it.")).into()
    }
}

impl ToSchema for Condition {}

/// Returns an object with these required fields and no unknown ones.
fn variant<const N: usize>(fields: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let closed = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    fields.into_iter().fold(closed, |object, (name, schema)| object.property(name, schema).required(name))
}

fn number(description: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Number).description(Some(description)).into()
}

/// Returns the schema without the number of milliseconds: a number is the threshold of another condition.
fn text_of(duration: RefOr<Schema>) -> RefOr<Schema> {
    match duration {
        RefOr::T(Schema::Object(span)) => {
            ObjectBuilder::from(span).schema_type(Type::String).minimum(None::<usize>).into()
        }
        other => other,
    }
}

fn duration(description: &str) -> RefOr<Schema> {
    match Span::schema() {
        RefOr::T(Schema::Object(span)) => ObjectBuilder::from(span).description(Some(description)).into(),
        other => other,
    }
}
