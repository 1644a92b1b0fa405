//! Files of `static/`, embedded in the binary.

use std::sync::OnceLock;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;

use crate::web::{encoding, etag, parameters::IfNoneMatch, problem::Problem};

#[derive(rust_embed::Embed)]
#[folder = "static/"]
struct Files;

/// Content security policy of pages: they load from this server only, without inline scripts or styles.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Handles `GET` and `HEAD /static/{path}`.
#[utoipa::path(
    get,
    path = "/static/{path}",
    tag = "Pages",
    operation_id = "getFile",
    summary = "Get a static file",
    params(("path" = String, Path, description = "Path of the file, with its slashes", example = "css/tokens.css"), IfNoneMatch),
    responses((status = 200, description = "The file; its extension determines the media type", body = String, content_type = "*/*")),
    security(())
)]
pub async fn get(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    serve(&request, &path)
}

/// Handles `GET` and `HEAD /`: the dashboard.
#[utoipa::path(
    get,
    path = "/",
    tag = "Pages",
    operation_id = "getDashboard",
    summary = "Dashboard page",
    params(IfNoneMatch),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
    security(())
)]
pub async fn index(request: HttpRequest) -> Result<HttpResponse, Problem> {
    serve(&request, "index.html")
}

/// Handles `GET` and `HEAD /explore`: every channel that the reader may read, live.
#[utoipa::path(
    get,
    path = "/explore",
    tag = "Pages",
    operation_id = "getExplorePage",
    summary = "Page of all channels",
    params(IfNoneMatch),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
    security(())
)]
pub async fn explore(request: HttpRequest) -> Result<HttpResponse, Problem> {
    serve(&request, "explore.html")
}

/// Handles `GET` and `HEAD /docs`: the API reference.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "Pages",
    operation_id = "getDocs",
    summary = "API reference page",
    params(IfNoneMatch),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
    security(())
)]
pub async fn docs(request: HttpRequest) -> Result<HttpResponse, Problem> {
    serve(&request, "docs.html")
}

/// Handles `GET` and `HEAD /doctor`: the page that tests the path between a browser and this server.
#[utoipa::path(
    get,
    path = "/doctor",
    tag = "Pages",
    operation_id = "getDoctorPage",
    summary = "Path doctor page",
    params(IfNoneMatch),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
    security(())
)]
pub async fn doctor(request: HttpRequest) -> Result<HttpResponse, Problem> {
    serve(&request, "doctor.html")
}

fn serve(request: &HttpRequest, path: &str) -> Result<HttpResponse, Problem> {
    let file = Files::get(path).ok_or_else(|| Problem::not_found("there is no such file"))?;
    let body = Bytes::from(file.data.into_owned());
    let compressible = file.metadata.mimetype().starts_with("text/")
        || ["application/javascript", "application/json", "image/svg+xml"].contains(&file.metadata.mimetype());
    let accepted = request.headers().get(header::ACCEPT_ENCODING).filter(|_| compressible);
    let (body, coding) = match encoding::choose(accepted, body.len()) {
        Some(coding) => match compressed(path, coding, &body) {
            Some(small) => (small, Some(coding)),
            None => (body, None),
        },
        None => (body, None),
    };
    // Weak, because it is the same in every coding.
    let tag = etag::tag(&file.metadata.sha256_hash());
    let fresh = etag::is_fresh(request.headers(), &tag);
    let mut response = if fresh { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((header::CACHE_CONTROL, "no-cache")).insert_header((header::VARY, "Accept-Encoding"));
    response.insert_header((header::ETAG, tag));
    if fresh {
        return Ok(response.finish());
    }
    let kind = file.metadata.mimetype();
    if kind == "text/html" {
        harden(&mut response);
    }
    let charset = if kind.starts_with("text/") { "; charset=utf-8" } else { "" };
    response.insert_header((header::CONTENT_TYPE, format!("{kind}{charset}")));
    if let Some(coding) = coding {
        response.insert_header((header::CONTENT_ENCODING, coding));
    }
    Ok(response.body(body))
}

/// Adds the security headers of a page.
pub fn harden(response: &mut actix_web::HttpResponseBuilder) {
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"));
}

/// Compresses a file on first use and caches the result; the number of files bounds the cache.
fn compressed(path: &str, coding: &'static str, body: &Bytes) -> Option<Bytes> {
    type Kept = parking_lot::Mutex<std::collections::HashMap<(String, &'static str), Option<Bytes>>>;
    static KEPT: OnceLock<Kept> = OnceLock::new();
    if cfg!(debug_assertions) {
        // A debug build reads the file at each request, so that an edit shows.
        return encoding::compress(coding, body);
    }
    let kept = KEPT.get_or_init(Kept::default);
    if let Some(known) = kept.lock().get(&(path.to_owned(), coding)) {
        return known.clone();
    }
    let small = encoding::compress(coding, body);
    kept.lock().insert((path.to_owned(), coding), small.clone());
    small
}
