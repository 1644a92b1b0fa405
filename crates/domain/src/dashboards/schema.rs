//! OpenAPI schemas of bodies that are merged into a [`Tile`] field by field. Compiled with the feature `openapi` only.

use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema,
        schema::{Object, SchemaType, Type},
    },
};

use super::{NewTile, Tile};

/// Changes of a tile: each named field is replaced, and removed by `null`.
pub struct TileChanges;

impl PartialSchema for NewTile {
    fn schema() -> RefOr<Schema> {
        let mut tile = tile(&["type", "title"]);
        tile.description = Some("A new tile. Without an ID the server assigns an ID.".into());
        tile.examples =
            vec![json!({"type": "chart", "title": "CPU", "channel": "metrics.infrastructure", "field": "cpu_usage"})];
        tile.into()
    }
}

impl ToSchema for NewTile {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Tile::schemas(schemas);
    }
}

impl PartialSchema for TileChanges {
    fn schema() -> RefOr<Schema> {
        let mut tile = tile(&[]);
        // The ID of a tile cannot change.
        tile.properties.remove("id");
        tile.description = Some("Changes of a tile: each named field is replaced, and removed by `null`.".into());
        tile.examples = vec![json!({"title": "Load", "width": 2})];
        tile.into()
    }
}

impl ToSchema for TileChanges {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Tile::schemas(schemas);
    }
}

/// Returns the schema of a tile in a request: only the fields of `required` are required, and those that a tile need not have
/// may be `null`.
fn tile(required: &[&str]) -> Object {
    let RefOr::T(Schema::Object(mut tile)) = Tile::schema() else { return Object::default() };
    tile.example = None;
    let always = std::mem::replace(&mut tile.required, required.iter().map(|&name| name.to_owned()).collect());
    for (name, property) in &mut tile.properties {
        if !always.contains(name) {
            *property = nullable(std::mem::replace(property, RefOr::T(Object::default().into())));
        }
    }
    tile
}

fn nullable(schema: RefOr<Schema>) -> RefOr<Schema> {
    let or_null = |schema_type: SchemaType| match schema_type {
        SchemaType::Type(one) => SchemaType::Array(vec![one, Type::Null]),
        other => other,
    };
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = or_null(object.schema_type);
            object.into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = or_null(array.schema_type);
            RefOr::T(Schema::Array(array))
        }
        reference => OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(reference).into(),
    }
}
