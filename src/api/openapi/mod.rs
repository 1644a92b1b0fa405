//! `GET /api/openapi.json`: the API of the server as an OpenAPI 3.1 document, which `/docs` shows.
//!
//! Each handler has its description beside its code (`#[utoipa::path]`), and each type of a body is its own schema
//! (`utoipa::ToSchema`). JSON that is written or parsed by hand has a file `schema.rs` beside that code. `app` combines
//! the parts, because it knows all handlers; [`common`] adds the parts that all operations share.

use std::fmt;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web,
};
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use crate::web::{encoding, etag, parameters::IfNoneMatch, problem::Problem, typed_query::NoParameters};

pub mod common;

/// Parts of the document that depend on the settings.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether a token is required.
    pub tokens: bool,
    /// Name of the cookie that may contain the token.
    pub cookie: Option<String>,
    /// URL of the server, `https://live.example/tricast`, if configured; otherwise its path on the host.
    pub url: String,
}

/// The document as text. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Document {
    json: Bytes,
    tag: HeaderValue,
}

impl Document {
    /// Serializes the document and computes its tag.
    pub fn new(document: &OpenApi) -> Self {
        // Maps with text keys and plain values cannot fail to serialize.
        let json = Bytes::from(document.to_pretty_json().unwrap_or_default());
        Self { tag: etag::tag(&json), json }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.json))
    }
}

/// Handles `GET` and `HEAD /api/openapi.json`.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "Operation",
    operation_id = "getOpenApi",
    summary = "OpenAPI document",
    description = "An OpenAPI 3.1 document of every path of this server, according to its settings. `tricast openapi` prints the \
        same document.",
    params(IfNoneMatch),
    responses((status = 200, description = "The document", body = BTreeMap<String, Value>)),
    security(())
)]
pub async fn get(
    request: HttpRequest,
    document: web::Data<Document>,
    _: NoParameters,
) -> Result<HttpResponse, Problem> {
    let fresh = etag::is_fresh(request.headers(), &document.tag);
    let mut response = if fresh { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, document.tag.clone()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::VARY, "Accept-Encoding"));
    if fresh {
        return Ok(response.finish());
    }
    response.insert_header((header::CONTENT_TYPE, "application/json"));
    let json = document.json.clone();
    let coding = encoding::choose(request.headers().get(header::ACCEPT_ENCODING), json.len());
    let small = match coding {
        // Compression takes some tens of milliseconds in a debug build: too long for a worker.
        Some(coding) => web::block(move || encoding::compress(coding, &json)).await.ok().flatten(),
        None => None,
    };
    match (small, coding) {
        (Some(small), Some(coding)) => {
            response.insert_header((header::CONTENT_ENCODING, coding));
            Ok(response.body(small))
        }
        _ => Ok(response.body(document.json.clone())),
    }
}
