//! Origins of pages (RFC 6454) and paths of cookies.

use actix_web::http::Uri;

/// Returns whether `text` is a value that browsers or apps send as `Origin`: an http or https origin, one of an app or extension
/// (`capacitor://localhost`, `chrome-extension://ID`), or that of pages of files (`null`, some apps write `file://`).
pub(super) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return text == "null" };
    if matches!(scheme, "http" | "https") {
        return origin_of(text).as_deref() == Some(text) && !host.contains('@');
    }
    // RFC 3986, section 3.1.
    let is_scheme = scheme.starts_with(|char: char| char.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    let is_host = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    is_scheme && ((is_host && port.parse::<u16>().is_ok()) || text == "file://")
}

/// Returns the origin of an http or https URL, scheme and authority, or `None` for another URL.
pub fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    Some(format!("{scheme}://{}", uri.authority()?))
}

/// Returns the path of an http or https URL with a slash at its end, or `None` if a cookie cannot name it.
pub fn path_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let path = uri.path().trim_end_matches('/');
    (!path.contains([';', ','])).then(|| format!("{path}/"))
}
