//! The OpenAPI document agrees with the interface, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use tricast::{
    app,
    config::{AuthMode, Config},
};

use crate::helpers::{SECRET, spawn_app, spawn_app_with, spawn_app_with_tokens, token};

/// Methods that the document can describe.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

fn document() -> Value {
    serde_json::to_value(app::openapi::document(&Config::default())).unwrap()
}

/// Returns a path as in the document: `/static/{path}`, `/tiles/order` for `/static/{path:.*}`, `/tiles/{tile:order}`.
fn without_expressions(path: &str) -> String {
    let plain = |part: &str| match part.split_once(':') {
        Some((_, word)) if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'}') => {
            word.trim_end_matches('}').to_owned()
        }
        Some((name, _)) => format!("{name}}}"),
        None => part.to_owned(),
    };
    path.split('/').map(plain).collect::<Vec<_>>().join("/")
}

fn described(document: &Value) -> BTreeSet<(String, String)> {
    operations(document).into_iter().map(|(path, method, _)| (path, method)).collect()
}

/// Returns every operation with its path and its method.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (path.clone(), method.to_uppercase(), operation))
    });
    each.collect()
}

#[test]
fn every_registered_path_and_method_is_described_and_no_other() {
    let registered: BTreeSet<_> = app::openapi::registered(&Config::default())
        .iter()
        .flat_map(|route| {
            let path = without_expressions(&route.path);
            route.allow.split(", ").map(move |method| (path.clone(), method.to_owned())).collect::<Vec<_>>()
        })
        .collect();
    assert!(registered.len() > 20, "{registered:?}");
    let described = described(&document());
    let missing: Vec<_> = registered.difference(&described).collect();
    let invented: Vec<_> = described.difference(&registered).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not described: {missing:?}; not there: {invented:?}");
}

#[tokio::test]
async fn described_methods_are_routed_and_others_are_405() {
    let app = spawn_app();
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method) in described(&document()) {
        methods.entry(path).or_default().insert(method);
    }
    for (path, known) in methods {
        let address = path.replace(['{', '}'], "");
        for method in METHODS {
            let endless = path.ends_with("/events") && method == "GET";
            if endless {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let response = app.request(method.clone(), &address).send().await.unwrap();
            let refused = response.status() == 405;
            assert_eq!(refused, !known.contains(method.as_str()), "{method} {path}: {}", response.status());
            if refused {
                let allow = response.headers()["allow"].to_str().unwrap().split(", ").map(str::to_owned).collect();
                assert_eq!(known, allow, "{method} {path}");
            }
        }
    }
}

#[test]
fn the_document_is_consistent() {
    let document = document();
    let mut ids = BTreeSet::new();
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).map(Value::to_string).collect();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"));
        assert!(ids.insert(id.to_owned()), "{id} occurs twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{id} has no summary");
        let of = operation["tags"].as_array().unwrap();
        assert!(of.len() == 1 && tags.contains(&of[0].to_string()), "{id}: {of:?}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{id}: {status}");
        }
        for name in path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
            let declared = operation["parameters"].as_array().into_iter().flatten().any(|parameter| {
                parameter["in"] == "path" && parameter["name"] == name && parameter["required"] == true
            });
            assert!(declared, "{id}: {name}");
        }
    }
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref") {
            assert!(!resolve(&document, value).is_null(), "{reference}");
        }
    });
}

/// Returns the target of a `$ref`, or the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap_or(&Value::Null),
        None => value,
    }
}

fn walk(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Array(list) => list.iter().for_each(|value| walk(value, look)),
        Value::Object(fields) => fields.values().for_each(|value| walk(value, look)),
        _ => {}
    }
}

#[test]
fn a_pushed_line_cannot_ask_for_no_deletion() {
    let delete = &document()["components"]["schemas"]["PushedEnd"]["properties"]["delete"];
    assert_eq!(delete["enum"], serde_json::json!([true]), "as POST /api/metrics accepts it");
}

#[test]
fn every_definition_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            used.insert(reference.to_owned());
        }
    });
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "{kind}: {name}");
        }
    }
}

#[tokio::test]
async fn the_document_needs_no_token_and_follows_the_settings() {
    let open = spawn_app().get_json("/api/openapi.json").await;
    assert_eq!(open["openapi"], "3.1.0");
    assert_eq!(open, document());
    assert!(
        open["security"].as_array().unwrap().iter().any(|way| way.as_object().unwrap().is_empty()),
        "no credential is needed"
    );

    let app = spawn_app_with_tokens(|config| {
        config.auth.cookie = Some("session".into());
        config.public_url = Some("https://live.example".into());
    });
    let closed = app.get_json("/api/openapi.json").await;
    assert_eq!(closed["components"]["securitySchemes"]["cookie"]["name"], "session");
    assert_eq!(closed["servers"][0]["url"], "https://live.example");
    assert!(closed["security"].as_array().unwrap().iter().all(|way| !way.as_object().unwrap().is_empty()));
    assert_eq!(app.get("/docs").await.status(), 200);
}

#[tokio::test]
async fn only_operations_described_as_open_need_no_token() {
    let app = spawn_app_with_tokens(|_| {});
    let document = app.get_json("/api/openapi.json").await;
    let may_do_all = app.with(token("ada", "default", &["admin"]));
    for (path, method, operation) in operations(&document) {
        if operation["responses"].get("101").is_some() {
            continue;
        }
        let open = operation["security"]
            .as_array()
            .is_some_and(|ways| ways.iter().any(|way| way.as_object().unwrap().is_empty()));
        let address = path.replace(['{', '}'], "");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let status = app.request(method.clone(), &address).send().await.unwrap().status();
        assert_eq!(status == 401, !open, "{method} {path}: {status}");
        let status = may_do_all.request(method.clone(), &address).send().await.unwrap().status();
        assert!(status != 401 && status != 403, "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn the_document_supports_conditions_and_codings() {
    let app = spawn_app();
    let first = app.get("/api/openapi.json").await;
    let tag = first.headers()["etag"].clone();
    let again = app.request(Method::GET, "/api/openapi.json").header("if-none-match", tag.clone());
    assert_eq!(again.send().await.unwrap().status(), 304);
    let small = app.request(Method::GET, "/api/openapi.json").header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!((&small.headers()["content-encoding"], &small.headers()["etag"]), (&"gzip".parse().unwrap(), &tag));
    assert!(small.bytes().await.unwrap().len() * 4 < first.bytes().await.unwrap().len());
}

#[tokio::test]
async fn the_document_depends_on_nothing_secret() {
    let app = spawn_app_with(|config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.secret = SECRET.into();
    });
    let text = app.get("/api/openapi.json").await.text().await.unwrap();
    assert!(!text.contains(SECRET));
}

#[test]
fn the_command_prints_the_document_of_the_server() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tricast"));
    let output = command.arg("openapi").env_clear().current_dir(std::env::temp_dir()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), document());
}

#[tokio::test]
async fn a_list_is_not_read_as_the_fields_of_an_object() {
    let app = spawn_app();
    for path in ["/api/customers", "/api/visits", "/api/orders", "/api/dashboards"] {
        for list in ["[]", " [null, null]", "[1, 1, \"Ada\", null]"] {
            assert_eq!(app.post(path, list).await.status(), 400, "{path}: {list}");
        }
    }
    for path in ["/api/customers", "/api/visits"] {
        assert!(app.post(path, "null").await.status().is_success(), "{path}");
    }
}

#[test]
fn optional_bodies_and_durations_as_numbers_are_described() {
    let document = document();
    for path in ["/api/doctor/echo", "/api/customers", "/api/visits"] {
        assert_ne!(document["paths"][path]["post"]["requestBody"]["required"], true, "{path}");
    }
    assert_eq!(document["paths"]["/api/orders"]["post"]["requestBody"]["required"], true);
    let duration = &document["components"]["schemas"]["Duration"];
    assert_eq!((&duration["type"], &duration["minimum"]), (&json!(["string", "integer"]), &json!(0)));
    let absence = &document["components"]["schemas"]["Condition"]["oneOf"][3]["properties"];
    assert_eq!((&absence["absentFor"]["type"], &absence["clear"]["type"]), (&duration["type"], &json!("string")));
}
