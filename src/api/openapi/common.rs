//! Parts that all operations share: errors, headers, security schemes, HEAD.

use std::collections::BTreeSet;

use utoipa::{
    Modify,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
        ServerBuilder, Type,
        path::{Operation, ParameterIn},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::Facts;
use crate::web::problem::PROBLEM_JSON;

/// Errors that any operation can have: status, name below `components`, description.
const ERRORS: [(&str, &str, &str); 12] = [
    (
        "400",
        "BadRequest",
        "The request is not valid: its syntax, a parameter out of bounds, or a missing, wrong or unknown field.",
    ),
    ("401", "Unauthorized", "A token is required, or the given one is not valid."),
    (
        "403",
        "Forbidden",
        "The token lacks a permission, or the request comes from a page of an origin that is not allowed.",
    ),
    ("404", "NotFound", "The resource does not exist, or the caller may not see it."),
    ("408", "Timeout", "The body was not received in time. The connection is closed."),
    ("412", "PreconditionFailed", "The resource has changed since the tag in `If-Match`."),
    ("413", "TooLarge", "The body is larger than `limits.max_body`. The connection is closed."),
    ("415", "UnsupportedMediaType", "The body has an unsupported content coding. The connection is closed."),
    ("429", "TooMany", "A limit was exceeded. `Retry-After` is the time to wait."),
    ("500", "Internal", "Internal error. The server log has details under the request ID."),
    ("503", "Unavailable", "The server is shutting down or at a limit. `Retry-After` is the time to wait."),
    (
        "504",
        "Unconfirmed",
        "The store did not confirm the change, which may have been made. Read the resource before you repeat the request.",
    ),
];

/// Prefixes of the paths of stored resources, whose changes can remain unconfirmed.
const STORED: [&str; 5] = ["/api/orders", "/api/customers", "/api/visits", "/api/dashboards", "/api/alerts"];

/// Adds the shared parts to the document.
pub struct Common(pub Facts);

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        self.add_security(document);
        let mut used = BTreeSet::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                complete(path, method, operation, &mut used);
            }
            add_head(item);
        }
        let components = document.components.get_or_insert_default();
        for (_, name, description) in ERRORS.into_iter().filter(|(_, name, _)| used.contains(name)) {
            components.responses.insert(name.into(), RefOr::T(error(name, description)));
        }
        components.responses.insert("NotModified".into(), RefOr::T(not_modified()));
    }
}

impl Common {
    fn add_security(&self, document: &mut OpenApi) {
        let Facts { tokens, cookie, url } = &self.0;
        let url = match url.trim_end_matches('/') {
            "" => "/",
            url => url,
        };
        document.servers = Some(vec![ServerBuilder::new().url(url).build()]);
        let components = document.components.get_or_insert_default();
        let mut schemes = vec![
            ("bearer", {
                let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
                SecurityScheme::Http(scheme.description(Some("`Authorization: Bearer TOKEN`")).build())
            }),
            (
                "apiKey",
                SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                    "X-API-Key",
                    "The same token for programs that send a key in this header. `Authorization: Token` and the password of \
                        `Authorization: Basic` are accepted too.",
                ))),
            ),
            (
                "token",
                SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(
                    "token",
                    "The same token in the URL, for clients that cannot set headers. URLs are logged by proxies: a ticket is safer.",
                ))),
            ),
            (
                "ticket",
                SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(
                    "ticket",
                    "A ticket of `POST /api/tickets`, valid for one request within 30 s.",
                ))),
            ),
        ];
        if let Some(name) = cookie {
            let value = ApiKeyValue::with_description(
                name.clone(),
                "The token in a cookie, as the server's own pages send it.".into(),
            );
            schemes.push(("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(value))));
        }
        let mut any: Vec<SecurityRequirement> = Vec::new();
        if !tokens {
            // Authentication is off: no credential is needed.
            any.push(SecurityRequirement::default());
        }
        for (name, scheme) in schemes {
            any.push(SecurityRequirement::new::<_, [&str; 0], &str>(name, []));
            components.security_schemes.insert(name.into(), scheme.into());
        }
        document.security = Some(any);
    }
}

/// Returns the operations of a path, each with its method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let all = [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Adds the errors that an operation can have by its nature, and the headers of all responses.
fn complete(path: &str, method: &str, operation: &mut Operation, used: &mut BTreeSet<&'static str>) {
    let protected = operation.security.is_none();
    let writes = method != "get";
    let takes_body = operation.request_body.is_some();
    let conditional = has_header(operation, "If-None-Match");
    let guarded = has_header(operation, "If-Match");
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, applies: bool| {
        let line = ERRORS.into_iter().find(|(known, ..)| *known == status);
        let Some((_, name, _)) = line.filter(|_| applies) else { return };
        responses.entry(status.to_owned()).or_insert_with(|| {
            used.insert(name);
            RefOr::Ref(Ref::from_response_name(name))
        });
    };
    add("400", true);
    add("401", protected);
    add("403", protected || writes);
    add("404", path.contains('{'));
    add("412", guarded);
    for status in ["408", "413", "415"] {
        add(status, takes_body);
    }
    add("429", protected);
    add("500", true);
    add("503", protected && writes);
    add("504", writes && STORED.iter().any(|kept| path.starts_with(kept)));
    if conditional {
        let reference = RefOr::Ref(Ref::from_response_name("NotModified"));
        responses.entry("304".into()).or_insert(reference);
    }
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else { continue };
        add_header(response, "X-Request-Id", "ID of the request, also in the log.");
        if conditional && status == "200" {
            add_header(response, "ETag", "Tag of the representation, for `If-None-Match`.");
        }
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            response.content.insert(PROBLEM_JSON.into(), problem().into());
        }
    }
}

fn has_header(operation: &Operation, name: &str) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|parameter| match parameter {
        RefOr::T(parameter) => matches!(parameter.parameter_in, ParameterIn::Header) && parameter.name == name,
        RefOr::Ref(_) => false,
    })
}

fn add_header(response: &mut Response, name: &str, description: &str) {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let header = HeaderBuilder::new().schema(Some(text)).description(Some(description)).build();
    response.headers.entry(name.into()).or_insert(header.into());
}

/// Adds HEAD: GET without the body, also for streams. A HEAD is never a handshake.
fn add_head(item: &mut PathItem) {
    let Some(get) = &item.get else { return };
    let mut head = get.clone();
    if head.responses.responses.remove("101").is_some() {
        // A handshake needs no token.
        head.security = Some(vec![SecurityRequirement::default()]);
    }
    head.operation_id = head.operation_id.map(|id| format!("head{}", id.trim_start_matches("get")));
    head.summary = head.summary.map(|summary| format!("{summary}, without the body"));
    head.description = None;
    for response in head.responses.responses.values_mut() {
        match response {
            RefOr::T(response) => response.content.clear(),
            RefOr::Ref(reference) => {
                let of = |(_, name, _): &(_, &str, _)| reference.ref_location.ends_with(&format!("/{name}"));
                let Some((_, name, description)) = ERRORS.into_iter().find(of) else { continue };
                let mut bare = error(name, description);
                bare.content.clear();
                *response = RefOr::T(bare);
            }
        }
    }
    item.head = Some(head);
}

fn problem() -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build()
}

fn error(name: &str, description: &str) -> Response {
    let mut response = ResponseBuilder::new().description(description).content(PROBLEM_JSON, problem()).build();
    add_header(&mut response, "X-Request-Id", "ID of the request, also in the log.");
    match name {
        "Unauthorized" => {
            add_header(&mut response, "WWW-Authenticate", "`Bearer`, with an error (RFC 6750, section 3).")
        }
        "TooMany" | "Unavailable" => add_header(&mut response, "Retry-After", "Seconds after which to retry."),
        _ => {}
    }
    response
}

fn not_modified() -> Response {
    let description = "The client has the current representation.";
    let mut response = ResponseBuilder::new().description(description).build();
    add_header(&mut response, "X-Request-Id", "ID of the request, also in the log.");
    add_header(&mut response, "ETag", "Tag of the representation, as with status 200.");
    response
}

/// Adds `path` under another name too, as a copy with operation IDs of its own.
pub fn alias(document: &mut OpenApi, path: &str, name: &str, suffix: &str) {
    let Some(mut item) = document.paths.paths.get(path).cloned() else { return };
    let PathItem { get, put, post, delete, patch, head, .. } = &mut item;
    for operation in [get, put, post, delete, patch, head].into_iter().flatten() {
        operation.operation_id = operation.operation_id.take().map(|id| format!("{id}{suffix}"));
        operation.description = Some(format!("The same as `{path}`."));
    }
    document.paths.paths.insert(name.into(), item);
}
