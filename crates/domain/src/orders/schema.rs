//! OpenAPI schema of a change of an order. Compiled with the feature `openapi` only.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use super::{Changes, Priority, Status};

/// [`Changes`] with at least one field that is not `null`, which a derived schema can't express.
pub struct OrderChanges;

impl PartialSchema for OrderChanges {
    fn schema() -> RefOr<Schema> {
        let with = |name: &str, schema| ObjectBuilder::new().property(name, reference(schema)).required(name);
        let one = AnyOfBuilder::new().item(with("status", Status::name())).item(with("priority", Priority::name()));
        let both = AllOfBuilder::new().item(reference(Changes::name())).item(one);
        both.description(Some("Changes of an order: at least one of the fields.")).into()
    }
}

impl ToSchema for OrderChanges {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Changes::name().into(), Changes::schema()));
        Changes::schemas(schemas);
    }
}

fn reference(name: Cow<'_, str>) -> Ref {
    Ref::from_schema_name(name)
}
