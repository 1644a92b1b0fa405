//! JSON responses without an entity tag.

use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::{StatusCode, header},
};
use serde::Serialize;

/// Response with a JSON body and a value of `Cache-Control` (RFC 9111, section 5.2.2).
pub struct JsonResponse<T> {
    status: StatusCode,
    cache: &'static str,
    body: T,
}

impl<T: Serialize> JsonResponse<T> {
    /// Creates a response with 200 that caches have to revalidate, which they can't without a tag.
    pub fn no_cache(body: T) -> Self {
        Self { status: StatusCode::OK, cache: "no-cache", body }
    }

    /// Creates a response with 200 of the caller alone, which the caller's own cache has to revalidate.
    pub fn private_no_cache(body: T) -> Self {
        Self { cache: "private, no-cache", ..Self::no_cache(body) }
    }

    /// Creates a response with 200 that caches may not store.
    pub fn no_store(body: T) -> Self {
        Self { cache: "no-store", ..Self::no_cache(body) }
    }

    /// Returns the same response with another status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

impl<T: Serialize> Responder for JsonResponse<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::build(self.status).insert_header((header::CACHE_CONTROL, self.cache)).json(self.body)
    }
}
