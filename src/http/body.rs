//! Reading a request's body: bounded in size and in time.

use std::time::Duration;

use actix_web::{HttpRequest, dev::Payload, http::StatusCode, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::{problem::Problem, state::Shared};
use crate::{counters::Limit, protocol::error::Code};

/// Bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyConfig {
    /// Largest body, in bytes. Default 1 MiB.
    pub max_bytes: usize,
    /// Longest time from its first byte to its last. Default 15 s.
    pub timeout: Duration,
}

/// Reads the whole body.
///
/// # Errors
/// 413 when it is larger than allowed (at once, if its length was announced), 408 when it takes too long, 415 when it
/// is compressed, 400 when it breaks off. The connection is closed then, for the rest was not read.
pub async fn read(shared: &Shared, request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Problem> {
    let mut body = BytesMut::new();
    each_chunk(shared, request, payload, |chunk| body.extend_from_slice(chunk)).await?;
    Ok(body.freeze())
}

/// The number of bytes of the whole body; none of them is kept.
///
/// # Errors
/// Those of [`read`].
pub async fn count(shared: &Shared, request: &HttpRequest, payload: &mut Payload) -> Result<usize, Problem> {
    each_chunk(shared, request, payload, |_| {}).await
}

/// Takes each piece of the body; answers how many bytes they were.
async fn each_chunk(
    shared: &Shared,
    request: &HttpRequest,
    payload: &mut Payload,
    mut take: impl FnMut(&[u8]),
) -> Result<usize, Problem> {
    let config = shared.body;
    let too_large = || {
        shared.counters.limit(Limit::Body).inc();
        let detail = format!("the body is larger than {} bytes", config.max_bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, detail).and_close()
    };
    if let Some(coding) = request.headers().get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = "a compressed body is not understood: send it plain";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidMessage, detail).and_close());
    }
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > config.max_bytes as u64) {
        return Err(too_large());
    }
    let reading = async {
        let mut bytes = 0;
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::bad_request("the body broke off").and_close())?;
            if bytes + chunk.len() > config.max_bytes {
                return Err(too_large());
            }
            bytes += chunk.len();
            take(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(config.timeout, reading).await.unwrap_or_else(|_| {
        shared.counters.limit(Limit::BodyTimeout).inc();
        let detail = format!("the body took longer than {} s", config.timeout.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, Code::InvalidMessage, detail).and_close())
    })
}

/// Reads the whole body as JSON of that shape.
///
/// # Errors
/// Those of [`read`], and 400 that names the field.
pub async fn json<T: DeserializeOwned>(
    shared: &Shared,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    parse(&read(shared, request, &mut payload.into_inner()).await?)
}

/// The same where no body at all is fine, or `null`.
///
/// # Errors
/// Those of [`json`].
pub async fn json_or_default<T: DeserializeOwned + Default>(
    shared: &Shared,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    let bytes = read(shared, request, &mut payload.into_inner()).await?;
    if [&b""[..], b"null"].contains(&bytes.trim_ascii()) { Ok(T::default()) } else { parse(&bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |place: &str, error: &serde_json::Error| {
        let place = if place == "." { String::new() } else { format!("{place}: ") };
        Problem::bad_request(format!("{place}{error}"))
    };
    // Or a list would be read as the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::bad_request("the body has to be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json);
    let value = value.map_err(|error| bad(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| bad(".", &error))?;
    Ok(value)
}
