//! OpenAPI schemas of texts that several resources contain. Compiled with the feature `openapi` only.

#![expect(dead_code, reason = "read by the derive macro alone")]

use utoipa::ToSchema;

/// Text: not blank, without control characters, at most 200 bytes.
#[derive(ToSchema)]
#[schema(value_type = String, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$")]
pub struct Text(String);

/// Message: not blank, without control characters, at most 1,000 bytes.
#[derive(ToSchema)]
#[schema(value_type = String, max_length = 1_000, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$")]
pub struct Message(String);

/// Name of a field: not blank, without control characters, at most 256 bytes.
#[derive(ToSchema)]
#[schema(value_type = String, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$")]
pub struct FieldName(String);

/// ID of a dashboard, a tile or a rule, chosen by a client or the server.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$", example = "cpu")]
pub struct Id(String);
