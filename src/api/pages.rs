//! `/basic`: the metrics as plain HTML that refreshes itself, for browsers without scripts.

use std::{fmt::Write, sync::atomic::Ordering};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use serde_json::Value;

use super::assets;
use crate::web::{access, problem::Problem, state::WorkerState};
use tricast_auth::Permission;
use tricast_core::{
    built_in::{CHANNELS, Kind},
    channel::Channel,
    clock::rfc3339,
    snapshot::{SNAPSHOT, View},
};

/// Refresh interval of the page, in seconds.
const REFRESH: u32 = 5;

/// Handles `GET` and `HEAD /basic`.
#[utoipa::path(
    get,
    path = "/basic",
    tag = "Pages",
    operation_id = "getBasicPage",
    summary = "Text-only page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub async fn basic(request: HttpRequest, WorkerState(state): WorkerState) -> Result<HttpResponse, Problem> {
    let caller = match access::identify(&state, &request).await {
        Ok(caller) => caller,
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED && prefers_html(&request) => return Ok(signed_out()),
        Err(problem) => return Err(problem),
    };
    caller.needs(Permission::ReadMetrics)?;
    let log = &caller.tenant.log;
    let mut tables = String::new();
    // Sections that the caller may not read are left out.
    let view = tricast_auth::view(&caller.identity);
    let snapshot: Value = serde_json::from_slice(&log.snapshot(view).data).unwrap_or(Value::Null);
    for (name, section) in snapshot.as_object().into_iter().flatten() {
        if name == "business" && view == View::WithoutBusiness {
            continue;
        }
        if name == "custom" {
            for (name, values) in section.as_object().into_iter().flatten() {
                table(&mut tables, name, values);
            }
        } else {
            table(&mut tables, name, section);
        }
    }
    // The other built-in values follow the snapshot.
    let others = CHANNELS.iter().filter(|row| row.kind == Kind::State && row.section.is_none());
    for name in others.map(|row| row.name) {
        let channel =
            Channel::parse(name).ok().filter(|channel| tricast_auth::may_read_channel(&caller.identity, channel));
        let channel = channel.and_then(|channel| log.state(&channel, View::Full));
        if let Some(values) = channel.and_then(|state| serde_json::from_slice(&state.data).ok()) {
            table(&mut tables, name.trim_start_matches(SNAPSHOT).trim_start_matches('.'), &values);
        }
    }
    let now = state.shared.clock.now();
    let (time, clock) = (rfc3339(now), now.strftime("%H:%M:%S UTC").to_string());
    let demo = if state.shared.demo.load(Ordering::Relaxed) {
        "Demo data: the numbers of the shop are simulated. "
    } else {
        ""
    };
    let intro = format!("{demo}Updated <time datetime=\"{time}\">{clock}</time>. Refreshes every {REFRESH} seconds.");
    let mut response = HttpResponse::Ok();
    response.insert_header((header::REFRESH, REFRESH));
    Ok(page(&mut response, &intro, &tables))
}

/// Returns whether the client prefers HTML, as browsers do.
fn prefers_html(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Creates the 401 for browsers: a page with a link to the page where users sign in.
fn signed_out() -> HttpResponse {
    let main = "<p>Sign in on the <a href=\"./\">live dashboard</a> to see the numbers here, too.</p>\n";
    let mut response = HttpResponse::Unauthorized();
    response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"tricast\""));
    page(&mut response, "You are not signed in.", main)
}

fn page(response: &mut HttpResponseBuilder, intro: &str, main: &str) -> HttpResponse {
    let page = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tricast: text-only view</title>
<meta name="description" content="Live metrics as a plain page that refreshes itself, without scripts.">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="static/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/css/tokens.css">
<link rel="stylesheet" href="static/css/basic.css">
</head>
<body>
<header>
<h1>tricast</h1>
<p>{intro} <a href="./">Live dashboard</a></p>
</header>
<main>
{main}</main>
</body>
</html>
"#
    );
    assets::harden(response);
    response
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(page)
}

fn table(out: &mut String, name: &str, values: &Value) {
    let name = escape(&name.replace('_', " "));
    // Writing to a String cannot fail.
    let _ = write!(out, "<section>\n<h2>{name}</h2>\n<table>\n<caption>{name}</caption>\n");
    out.push_str("<thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Value</th></tr></thead>\n<tbody>\n");
    match values.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            for (field, value) in fields {
                let text = match value {
                    Value::Null => "\u{2014}".into(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let field = match field.as_str() {
                    "" => "(no name)".into(), // a header without text is none to a screen reader
                    name => escape(&name.replace('_', " ")),
                };
                let _ = writeln!(out, "<tr><th scope=\"row\">{field}</th><td>{}</td></tr>", escape(&text));
            }
        }
        None => out.push_str("<tr><th scope=\"row\">No data yet</th><td>\u{2014}</td></tr>\n"),
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushed_texts_are_escaped() {
        let mut out = String::new();
        table(&mut out, "<b>", &serde_json::json!({"<script>": "<img src=x onerror='a'>", "n": null}));
        assert!(!out.contains("<script") && !out.contains("<img") && !out.contains("<b>"), "{out}");
        assert!(out.contains("<td>\u{2014}</td>"));
    }
}
