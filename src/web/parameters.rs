//! OpenAPI descriptions of parameters that several paths read.

#![expect(dead_code, reason = "read by the derive macro alone")]

use utoipa::IntoParams;

use tricast_core::openapi::UpdateInterval;

/// Header of a conditional request (RFC 9110, section 13.1.2).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfNoneMatch {
    /// Tags that the client holds, from `ETag`. If one of them is current, the response is 304.
    #[param(nullable = false, rename = "If-None-Match", example = "W/\"402-133606024087959372935779717377397319945\"")]
    if_none_match: Option<String>,
}

/// Header of a conditional request for a resource with a date (RFC 9110, section 13.1.3).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfModifiedSince {
    /// Date from `Last-Modified`. Ignored if it is not a date, or if `If-None-Match` is present.
    #[param(nullable = false, rename = "If-Modified-Since", example = "Sat, 21 Nov 2026 06:02:05 GMT")]
    if_modified_since: Option<String>,
}

/// Header of a change that must not overwrite another one (RFC 9110, section 13.1.1).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IfMatch {
    /// Tags from `ETag`, or `*`. If the resource has another version, the response is 412.
    #[param(
        rename = "If-Match",
        nullable = false,
        pattern = r#"^(\*|("[!#-~]*"|W/"[!#-~]*")(, *("[!#-~]*"|W/"[!#-~]*"))*)?$"#,
        example = "*"
    )]
    if_match: Option<String>,
}

/// Query parameter that selects channels.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Channels {
    /// Names separated by commas; `metrics.*` selects all channels below a prefix. The parameter may be repeated, and may
    /// be called `channels[]`.
    #[param(
        pattern = r"^[A-Za-z0-9_.:-]{1,128}(\.\*)?(,[A-Za-z0-9_.:-]{1,128}(\.\*)?)*$",
        example = "metrics.orders,alerts"
    )]
    channels: Option<String>,
}

/// Query parameter that limits the rate of updates.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Interval {
    /// Shortest time between two updates of a channel, or between a request and a response with new data: `500ms`, `5s`,
    /// `1m`, or a number of milliseconds; at most an hour.
    #[param(inline, example = "500ms")]
    interval: Option<UpdateInterval>,
}

/// Query parameter that requests history before live values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Backfill {
    /// Start with the history of this time span, up to the live values: `90s`, `15m`, `2h`, `7d`; at most 31 days.
    #[param(pattern = "^([1-9][0-9]{0,2}[smh]|[1-9]d)$", example = "15m")]
    backfill: Option<String>,
}
