//! `/basic`: the numbers as plain HTML that refreshes itself, for a browser without scripts.

use std::fmt::Write;

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::Value;

use super::{access, assets, problem::Problem, state::State};
use crate::{
    auth::{self, Permission},
    core::{channel::Channel, clock::rfc3339, snapshot::SNAPSHOT},
};

/// How often the page asks for itself again, in seconds.
const REFRESH: u32 = 5;

/// The channels it shows besides the snapshot.
const ALSO: [&str; 3] = ["metrics.orders", "metrics.revenue", "metrics.users_online"];

/// `GET` and `HEAD /basic`.
pub async fn basic(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let state = State::of(&request)?;
    let caller = access::identify(&state, &request).await?;
    caller.needs(Permission::ReadMetrics)?;
    let log = &caller.tenant.log;
    let mut tables = String::new();
    let snapshot: Value = serde_json::from_slice(&log.snapshot().data).unwrap_or(Value::Null);
    for (name, section) in snapshot.as_object().into_iter().flatten() {
        if name == "custom" {
            for (name, values) in section.as_object().into_iter().flatten() {
                table(&mut tables, name, values);
            }
        } else {
            table(&mut tables, name, section);
        }
    }
    for name in ALSO {
        let channel = Channel::parse(name).ok().filter(|channel| auth::may_read_channel(&caller.identity, channel));
        let channel = channel.and_then(|channel| log.state(&channel));
        if let Some(values) = channel.and_then(|state| serde_json::from_slice(&state.data).ok()) {
            table(&mut tables, name.trim_start_matches(SNAPSHOT).trim_start_matches('.'), &values);
        }
    }
    let time = rfc3339(state.clock.now());
    let page = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tricast: the numbers</title>
<meta name="description" content="The live numbers as a plain page that refreshes itself, without scripts.">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="static/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/css/tokens.css">
<link rel="stylesheet" href="static/css/basic.css">
</head>
<body>
<header>
<h1>tricast</h1>
<p>As of <time datetime="{time}">{time}</time>; this page asks again every {REFRESH} seconds. <a href="./">Live dashboard</a></p>
</header>
<main>
{tables}</main>
</body>
</html>
"#
    );
    let mut response = HttpResponse::Ok();
    assets::harden(&mut response);
    Ok(response
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::REFRESH, REFRESH))
        .body(page))
}

fn table(out: &mut String, name: &str, values: &Value) {
    let name = escape(&name.replace('_', " "));
    // Writing to a String can't fail.
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
                let field = escape(&field.replace('_', " "));
                let _ = writeln!(out, "<tr><th scope=\"row\">{field}</th><td>{}</td></tr>", escape(&text));
            }
        }
        None => out.push_str("<tr><th scope=\"row\">nothing yet</th><td>\u{2014}</td></tr>\n"),
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
    fn what_was_pushed_can_not_be_markup() {
        let mut out = String::new();
        table(&mut out, "<b>", &serde_json::json!({"<script>": "<img src=x onerror='a'>", "n": null}));
        assert!(!out.contains("<script") && !out.contains("<img") && !out.contains("<b>"), "{out}");
        assert!(out.contains("<td>\u{2014}</td>"));
    }
}
