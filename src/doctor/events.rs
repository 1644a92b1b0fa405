//! Check of event streams: reads a stream of timed events, and measures delays, cuts and compression.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use flate2::write::GzDecoder;
use reqwest::{Method, Response, header};
use serde_json::Value;

use super::{
    report::{Check, Verdict, ms, spoken},
    target::{PATIENCE, Target, explain},
    timing::{self, ProbeEvent, Timing},
};
use tricast_core::protocol::remedy::Remedy;

/// Number of timed events, milliseconds between two, and bytes of padding. In total they are a little less than the usual
/// buffer of 8 KiB, so that a buffer holds them until the end.
const PROBES: (u32, u64, usize) = (12, 250, 512);

/// Open stream of timed events.
pub(super) struct Stream {
    response: Response,
    start: Instant,
    decoder: Option<GzDecoder<Vec<u8>>>,
    buffer: Vec<u8>,
    /// Data of the first event: the request as the server received it.
    pub(super) seen: Value,
    /// Content encoding, if a proxy compresses the stream.
    pub(super) encoded: Option<String>,
}

/// Reason why there is no stream.
pub(super) enum NoStream {
    /// No response, or an incomplete one; the error as text.
    Lost(String),
    /// A status other than 200: the status, the error detail of the server, and a description.
    Refused(u16, Option<String>, String),
    /// Status 200, but no event stream: its content type.
    Other(String),
}

/// Next item of a stream.
pub(super) enum Next {
    ProbeEvent(ProbeEvent),
    /// Error event: the server, or a proxy in its place, refuses within the stream.
    Refused(String),
    /// Regular end of the response.
    End,
    /// Connection cut within the response.
    Cut(String),
}

/// Opens a stream of timed events. A proxy that buffers everything responds at the end only, so `patience` covers all of it.
pub(super) async fn open(
    target: &Target,
    (probes, every, padding): (u32, u64, usize),
    patience: Duration,
) -> Result<Stream, NoStream> {
    let start = Instant::now();
    let path = format!("events?probe={probes}&every={every}&bytes={padding}&strict=1");
    let request = target.request(Method::GET, &path);
    // Sends the header fields of an EventSource.
    let request = request
        .header(header::ACCEPT, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::ACCEPT_ENCODING, "gzip");
    let response = match tokio::time::timeout(patience, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(NoStream::Lost(explain(&error))),
        Err(_) => return Err(NoStream::Lost(format!("no response within {}", spoken(patience)))),
    };
    let text = |name: header::HeaderName| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let encoded = text(header::CONTENT_ENCODING).filter(|coding| coding != "identity");
    if response.status() != 200 {
        let status = response.status().as_u16();
        let own = kind.starts_with(crate::web::problem::PROBLEM_JSON);
        let body = response.json::<Value>().await.unwrap_or_default();
        let detail = body["detail"].as_str().filter(|_| own).map(str::to_owned);
        let described = detail.as_ref().map_or_else(|| status.to_string(), |detail| format!("{status} ({detail})"));
        return Err(NoStream::Refused(status, detail, described));
    }
    if !kind.starts_with("text/event-stream") {
        return Err(NoStream::Other(kind));
    }
    let decoder = encoded.as_deref().filter(|coding| *coding == "gzip").map(|_| GzDecoder::new(Vec::new()));
    Ok(Stream { response, start, decoder, buffer: Vec::new(), seen: Value::Null, encoded })
}

impl Stream {
    /// Waits for the next item until `deadline`. A timeout counts as a cut.
    pub(super) async fn next(&mut self, deadline: Instant) -> Next {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(next) = self.read(&block) {
                    return next;
                }
            }
            let chunk = match tokio::time::timeout_at(deadline.into(), self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Next::End,
                Ok(Err(error)) => return Next::Cut(explain(&error)),
                Err(_) => return Next::Cut("nothing arrived in time".into()),
            };
            match &mut self.decoder {
                None => self.buffer.extend_from_slice(&chunk),
                Some(decoder) => {
                    if let Err(error) = decoder.write_all(&chunk).and_then(|()| decoder.flush()) {
                        return Next::Cut(format!("the data is not valid gzip: {error}"));
                    }
                    self.buffer.append(decoder.get_mut());
                }
            }
        }
    }

    fn read(&mut self, block: &[u8]) -> Option<Next> {
        let text = String::from_utf8_lossy(block);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let data: Value = serde_json::from_str(field("data")?).ok()?;
        match field("event")? {
            "seen" => self.seen = data,
            "probe" => {
                let sent = Duration::from_millis(data["at"].as_u64()?);
                return Some(Next::ProbeEvent(ProbeEvent { sent, arrived: self.start.elapsed(), bytes: block.len() }));
            }
            "error" => return Some(Next::Refused(data["detail"].as_str().unwrap_or("without a reason").to_owned())),
            _ => {}
        }
        None
    }
}

/// Measures a stream of timed events. Also returns whether single events arrive while the stream is open, as the idle test
/// requires.
pub(super) async fn check(target: &Target) -> (Check, bool) {
    let total = Duration::from_millis(u64::from(PROBES.0 - 1) * PROBES.1);
    let mut stream = match open(target, PROBES, total + PATIENCE).await {
        Ok(stream) => stream,
        Err(error) => return (refused(error), false),
    };
    let deadline = stream.start + total + PATIENCE;
    let mut probes = Vec::new();
    let (how, after) = loop {
        match stream.next(deadline).await {
            Next::ProbeEvent(probe) => probes.push(probe),
            next => break (next, stream.start.elapsed()),
        }
    };
    let encoded = stream.encoded.as_deref();
    let mut check = judge(&probes, encoded, how, after);
    if check.remedies.contains(&Remedy::Buffering) && stream.seen["http"] == "1.0" {
        // Without chunks nginx waits for a full buffer; with them it forwards each one, whatever its other settings.
        check = check.remedy(Remedy::Version);
    }
    let streams = timing::read(&probes).is_some_and(|timing| !timing.is_held(probes.len()));
    (check, streams)
}

fn refused(error: NoStream) -> Check {
    let fail = |headline: String| Check::new("events", "Events", Verdict::Fail, headline);
    match error {
        NoStream::Lost(error) => fail("do not work".into()).detail(error),
        NoStream::Refused(404, None, _) => fail("404: the path is not forwarded".into()).remedy(Remedy::Passed),
        NoStream::Refused(429 | 503, Some(detail), _) => {
            Check::new("events", "Events", Verdict::Skipped, "not tested").detail(format!("The server says: {detail}."))
        }
        NoStream::Refused(_, _, described) => fail(format!("returned {described}")),
        NoStream::Other(kind) => fail("another server responds".into())
            .detail(format!("200 with the content type \"{kind}\": a login page, or another server.")),
    }
}

/// Interprets the measured events.
fn judge(probes: &[ProbeEvent], encoded: Option<&str>, how: Next, after: Duration) -> Check {
    let check = |verdict, headline: String| Check::new("events", "Events", verdict, headline);
    let fail = |headline: String| check(Verdict::Fail, headline);
    if let Next::Refused(detail) = how {
        return fail("refused in the stream".into()).detail(format!("The error says: {detail}."));
    }
    let whole = probes.len() == PROBES.0 as usize;
    let Some(measurement) = timing::read(probes) else {
        return match encoded {
            Some(coding) => {
                fail(format!("nothing could be read: compressed as {coding}")).remedy(Remedy::StreamCompression)
            }
            None => fail(format!("no event within {}", spoken(after)))
                .detail("The response began, but no event followed.")
                .remedy(Remedy::Buffering),
        };
    };
    let Timing { held, batches, largest } = measurement;
    let measured = |check: Check| {
        let check = check.figure("held_ms", ms(held)).figure("pieces", batches as u64);
        match probes.first() {
            Some(first) => check.figure("first_event_ms", ms(first.arrived)),
            None => check,
        }
    };
    if measurement.is_held(probes.len()) {
        let how = match batches {
            1 => format!("all {} events arrived at once, at the end", probes.len()),
            batches => format!("{} events arrived in {batches} batches, the largest of {largest} bytes", probes.len()),
        };
        let check = fail(format!("held back by a proxy for {}", spoken(held))).detail(format!(
            "Sent every {} ms, {how}. The server asks for no buffering (X-Accel-Buffering: no); a proxy ignores that, or a first one keeps it from a second.",
            PROBES.1
        ));
        let check = match encoded {
            Some(_) => check.remedy(Remedy::StreamCompression).remedy(Remedy::Buffering),
            None => check.remedy(Remedy::Buffering),
        };
        return measured(check);
    }
    if !whole {
        let detail = match how {
            Next::Cut(error) => format!("{error}."),
            _ => "The stream ended regularly, before its last event.".into(),
        };
        let headline = format!("cut after {}, {} of {} events", spoken(after), probes.len(), PROBES.0);
        return measured(fail(headline).detail(detail).remedy(Remedy::EventsTimeout));
    }
    measured(match encoded {
        Some(coding) => check(Verdict::Warn, format!("compressed on the way ({coding})"))
            .detail("They arrive at once here, but compressors often wait for more data.")
            .remedy(Remedy::StreamCompression),
        None if held >= timing::HELD => check(Verdict::Warn, format!("uneven, by up to {}", spoken(held)))
            .detail("Not as a buffer does it: the network, or a machine that is busy."),
        None => {
            let first = probes.first().map_or(Duration::ZERO, |probe| probe.arrived);
            check(Verdict::Ok, format!("work, the first after {}", spoken(first)))
        }
    })
}
