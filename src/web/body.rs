//! Reading a request's body: bounded in size and in time, inflated if it is compressed (RFC 9110, section 8.4).

use std::{
    future::{Ready, ready},
    rc::Rc,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::StatusCode, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::{
    encoding::{self, Inflating},
    problem::Problem,
    state::{Shared, State},
};
use tricast_core::{
    counters::Limit,
    pause,
    protocol::{error::Code, nul},
};

/// actix-http reports both with the same error.
const BROKEN: &str = "the body is incomplete, or its chunks are not well-formed (RFC 9112, section 7.1)";

/// Compressed bodies above this size are inflated on another thread, because they would occupy the worker for more than a
/// millisecond.
const INFLATE_ELSEWHERE: usize = 16 * 1024;

/// U+FEFF in UTF-8, which some editors and shells write at the start of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Byte order marks of UTF-16, little and big endian.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Reads the whole body, a JSON text, inflated and without a byte order mark (RFC 8259, section 8.1).
///
/// # Errors
/// 413 for a body that is larger than allowed, announced, received or inflated; 408 if it takes too long; 415 for an
/// unsupported content coding; 400 if it is incomplete or does not match its coding. The connection is then closed,
/// because the rest was not read.
pub async fn read(shared: &Shared, request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Problem> {
    let coding = coding(request)?;
    let mut body = BytesMut::new();
    each_chunk(shared, request, payload, |chunk| body.extend_from_slice(chunk)).await?;
    let mut body = match coding {
        None => body.freeze(),
        Some(coding) => inflate(shared, coding, body.freeze()).await?,
    };
    if body.starts_with(BYTE_ORDER_MARK) {
        body = body.slice(BYTE_ORDER_MARK.len()..);
    }
    if UTF_16.iter().any(|mark| body.starts_with(mark)) {
        return Err(Problem::bad_request("the body begins with the byte order mark of UTF-16: send it in UTF-8"));
    }
    Ok(body)
}

/// Returns the content coding of the body, if it has one.
fn coding(request: &HttpRequest) -> Result<Option<&'static str>, Problem> {
    let fields = request.headers().get_all(header::CONTENT_ENCODING);
    let named = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
    let mut named = named.map(<[u8]>::trim_ascii).filter(|name| !name.eq_ignore_ascii_case(b"identity"));
    let coding = match (named.next(), named.next()) {
        (None, _) => return Ok(None),
        (Some(name), None) => encoding::inflatable(name),
        (Some(_), Some(_)) => None,
    };
    coding.map(Some).ok_or_else(|| {
        let detail = "a body may be compressed by one of gzip, deflate and br, and by no other coding";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidMessage, detail).and_close();
        Problem { accept_encoding: Some(encoding::INFLATABLE), ..problem }
    })
}

async fn inflate(shared: &Shared, coding: &'static str, body: Bytes) -> Result<Bytes, Problem> {
    let most = shared.limits.max_body.0;
    let inflated = if body.len() > INFLATE_ELSEWHERE {
        let inflating = web::block(move || encoding::inflate(coding, &body, most)).await;
        inflating.map_err(|_| Problem::internal("the inflating thread is gone"))?
    } else {
        encoding::inflate(coding, &body, most)
    };
    inflated.map_err(|error| match error {
        Inflating::TooLarge => too_large(shared),
        Inflating::Broken(error) => Problem::bad_request(format!("the body is not valid {coding}: {error}")),
    })
}

fn too_large(shared: &Shared) -> Problem {
    shared.counters.limit(Limit::Body).inc();
    let detail = format!("the body is larger than {} bytes", shared.limits.max_body.0);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidMessage, detail).and_close()
}

/// Passes each chunk of the body to `take` and returns the sum of their lengths.
async fn each_chunk(
    shared: &Shared,
    request: &HttpRequest,
    payload: &mut Payload,
    mut take: impl FnMut(&[u8]),
) -> Result<usize, Problem> {
    let (most, timeout) = (shared.limits.max_body.0, shared.limits.body_timeout.0);
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large(shared));
    }
    let reading = async {
        let mut bytes = 0;
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::bad_request(BROKEN).and_close())?;
            if bytes + chunk.len() > most {
                return Err(too_large(shared));
            }
            bytes += chunk.len();
            take(&chunk);
        }
        Ok(bytes)
    };
    tokio::pin!(reading);
    loop {
        let pauses = pause::count();
        if let Ok(read) = tokio::time::timeout(timeout, &mut reading).await {
            return read;
        }
        // The client is not at fault when this process was paused.
        if pause::count() == pauses {
            shared.counters.limit(Limit::BodyTimeout).inc();
            let detail = format!("the body took longer than {} s", timeout.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, Code::InvalidMessage, detail).and_close());
        }
    }
}

/// Extractor of a body that the handler reads once it has authorized the caller: a client that may not write can't make the
/// server read, and errors in the body never hide a 401 or 403.
pub struct Body {
    state: Rc<State>,
    request: HttpRequest,
    payload: Payload,
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        ready(State::of(request).map(|state| Self { state, request: request.clone(), payload }))
    }
}

impl Body {
    /// Reads the whole body.
    ///
    /// # Errors
    /// Those of [`read`].
    pub async fn bytes(mut self) -> Result<Bytes, Problem> {
        read(&self.state.shared, &self.request, &mut self.payload).await
    }

    /// Reads the whole body, discards it and returns its length in bytes.
    ///
    /// # Errors
    /// Those of [`read`].
    pub async fn count(mut self) -> Result<usize, Problem> {
        each_chunk(&self.state.shared, &self.request, &mut self.payload, |_| {}).await
    }

    /// Reads the whole body as a JSON object of the type `T`.
    ///
    /// # Errors
    /// Those of [`read`], and 400 that names the field.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        parse(&self.bytes().await?)
    }

    /// Reads the whole body as [`Body::json`] does; returns the default for an empty body and for `null`.
    ///
    /// # Errors
    /// Those of [`Body::json`].
    pub async fn json_or_default<T: DeserializeOwned + Default>(self) -> Result<T, Problem> {
        let bytes = self.bytes().await?;
        if [&b""[..], b"null"].contains(&trimmed(&bytes)) { Ok(T::default()) } else { parse(&bytes) }
    }
}

/// Returns `bytes` without the white space of JSON around it (RFC 8259, section 2), which a form feed does not belong to.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !b" \t\r\n".contains(byte);
    let start = bytes.iter().position(is_text).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_text).map_or(start, |last| last + 1);
    &bytes[start..end]
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |place: &str, error: &serde_json::Error| {
        let place = if place == "." { String::new() } else { format!("{place}: ") };
        Problem::bad_request(format!("{place}{error}"))
    };
    // serde would accept a list as the fields in their order.
    if trimmed(bytes).first() == Some(&b'[') {
        return Err(Problem::bad_request("the body has to be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json);
    let value = value.map_err(|error| bad(&error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| bad(".", &error))?;
    if nul::may_be_in(bytes)
        && let Some(fault) = serde_json::from_slice(bytes).ok().as_ref().and_then(nul::fault)
    {
        return Err(Problem::bad_request(fault));
    }
    Ok(value)
}
