//! Event streams: a known rhythm, and what becomes of it on its way.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use flate2::write::GzDecoder;
use reqwest::{Method, Response, header};
use serde_json::Value;

use super::{
    patient::{PATIENCE, Patient, explain},
    report::{Check, Verdict, ms, spoken},
    rhythm::{self, Beat, Reading},
};
use tricast_core::protocol::remedy::Remedy;

/// Beats, milliseconds between two, and bytes of padding: in all a little less than the usual buffer of 8 KiB, so that
/// a buffer holds it to the end.
const RHYTHM: (u32, u64, usize) = (12, 250, 512);

/// A stream of the server's rhythm that is being read.
pub(super) struct Stream {
    response: Response,
    began: Instant,
    decoder: Option<GzDecoder<Vec<u8>>>,
    buffer: Vec<u8>,
    /// What the first event says of the request.
    pub(super) seen: Value,
    /// A proxy compresses it.
    pub(super) encoded: Option<String>,
}

/// Why there is no rhythm to be heard.
pub(super) enum Deaf {
    /// No answer, or one that broke off; in words.
    Lost(String),
    /// Another status than 200: the status, what the server itself says of it, and the same for people.
    Refused(u16, Option<String>, String),
    /// 200, and no event stream.
    Other(String),
}

/// What comes next of a stream.
pub(super) enum Next {
    Beat(Beat),
    /// The server, or somebody in its place, refuses in the stream itself.
    Refused(String),
    /// Ended as answers end.
    End,
    /// Cut in the middle.
    Cut(String),
}

/// Asks for a rhythm. A proxy that holds everything answers when it is over, so `patience` is about all of it.
pub(super) async fn open(
    patient: &Patient,
    (beats, every, padding): (u32, u64, usize),
    patience: Duration,
) -> Result<Stream, Deaf> {
    let began = Instant::now();
    let path = format!("events?probe={beats}&every={every}&bytes={padding}&strict=1");
    let request = patient.request(Method::GET, &path);
    // As an EventSource asks.
    let request = request
        .header(header::ACCEPT, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::ACCEPT_ENCODING, "gzip");
    let response = match tokio::time::timeout(patience, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Deaf::Lost(explain(&error))),
        Err(_) => return Err(Deaf::Lost(format!("no answer within {}", spoken(patience)))),
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
        return Err(Deaf::Refused(status, detail, described));
    }
    if !kind.starts_with("text/event-stream") {
        return Err(Deaf::Other(kind));
    }
    let decoder = encoded.as_deref().filter(|coding| *coding == "gzip").map(|_| GzDecoder::new(Vec::new()));
    Ok(Stream { response, began, decoder, buffer: Vec::new(), seen: Value::Null, encoded })
}

impl Stream {
    /// Waits for whatever comes next, at most until `deadline`, which counts as a cut.
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
                Err(_) => return Next::Cut("nothing came in time".into()),
            };
            match &mut self.decoder {
                None => self.buffer.extend_from_slice(&chunk),
                Some(decoder) => {
                    if let Err(error) = decoder.write_all(&chunk).and_then(|()| decoder.flush()) {
                        return Next::Cut(format!("what came is no gzip: {error}"));
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
                let given = Duration::from_millis(data["at"].as_u64()?);
                return Some(Next::Beat(Beat { given, came: self.began.elapsed(), bytes: block.len() }));
            }
            "error" => return Some(Next::Refused(data["detail"].as_str().unwrap_or("without a reason").to_owned())),
            _ => {}
        }
        None
    }
}

/// Listens to the rhythm. Also answers whether pieces come through while the stream lives, so that silence can be
/// measured.
pub(super) async fn check(patient: &Patient) -> (Check, bool) {
    let total = Duration::from_millis(u64::from(RHYTHM.0 - 1) * RHYTHM.1);
    let mut stream = match open(patient, RHYTHM, total + PATIENCE).await {
        Ok(stream) => stream,
        Err(deaf) => return (refused(deaf), false),
    };
    let deadline = stream.began + total + PATIENCE;
    let mut beats = Vec::new();
    let (how, after) = loop {
        match stream.next(deadline).await {
            Next::Beat(beat) => beats.push(beat),
            next => break (next, stream.began.elapsed()),
        }
    };
    let encoded = stream.encoded.as_deref();
    let mut check = judge(&beats, encoded, how, after);
    if check.remedies.contains(&Remedy::Buffering) && stream.seen["http"] == "1.0" {
        // Without chunks nginx waits for a full buffer; with them it gives each on, whatever else is set.
        check = check.remedy(Remedy::Version);
    }
    let heard = rhythm::read(&beats).is_some_and(|reading| !reading.is_held(beats.len()));
    (check, heard)
}

fn refused(deaf: Deaf) -> Check {
    let fail = |headline: String| Check::new("events", "Events", Verdict::Fail, headline);
    match deaf {
        Deaf::Lost(error) => fail("do not work".into()).detail(error),
        Deaf::Refused(404, None, _) => fail("404: the path is not forwarded".into()).remedy(Remedy::Passed),
        Deaf::Refused(429 | 503, Some(detail), _) => {
            Check::new("events", "Events", Verdict::Skipped, "not tested").detail(format!("The server says: {detail}."))
        }
        Deaf::Refused(_, _, described) => fail(format!("returned {described}")),
        Deaf::Other(kind) => fail("another server responds".into())
            .detail(format!("200 with the content type \"{kind}\": a login page, or another server.")),
    }
}

/// Says what the beats mean.
fn judge(beats: &[Beat], encoded: Option<&str>, how: Next, after: Duration) -> Check {
    let check = |verdict, headline: String| Check::new("events", "Events", verdict, headline);
    let fail = |headline: String| check(Verdict::Fail, headline);
    if let Next::Refused(detail) = how {
        return fail("refused in the stream".into()).detail(format!("It says: {detail}."));
    }
    let whole = beats.len() == RHYTHM.0 as usize;
    let Some(reading) = rhythm::read(beats) else {
        return match encoded {
            Some(coding) => {
                fail(format!("nothing could be read: compressed as {coding}")).remedy(Remedy::StreamCompression)
            }
            None => fail(format!("no event within {}", spoken(after)))
                .detail("The response began, but no event followed.")
                .remedy(Remedy::Buffering),
        };
    };
    let Reading { held, lumps, largest } = reading;
    let measured = |check: Check| {
        let check = check.figure("held_ms", ms(held)).figure("pieces", lumps as u64);
        match beats.first() {
            Some(first) => check.figure("first_event_ms", ms(first.came)),
            None => check,
        }
    };
    if reading.is_held(beats.len()) {
        let how = match lumps {
            1 => format!("all {} events arrived at once, at the end", beats.len()),
            lumps => format!("{} events arrived in {lumps} batches, the largest of {largest} bytes", beats.len()),
        };
        let check = fail(format!("held back by a proxy for {}", spoken(held))).detail(format!(
            "Sent every {} ms, {how}. The server asks for no buffering (X-Accel-Buffering: no); a proxy ignores that, or a first one keeps it from a second.",
            RHYTHM.1
        ));
        let check = match encoded {
            Some(_) => check.remedy(Remedy::StreamCompression).remedy(Remedy::Buffering),
            None => check.remedy(Remedy::Buffering),
        };
        return measured(check);
    }
    if !whole {
        let what = match how {
            Next::Cut(error) => format!("{error}."),
            _ => "The stream ended as if it were over.".into(),
        };
        let headline = format!("cut after {}, {} of {} events", spoken(after), beats.len(), RHYTHM.0);
        return measured(fail(headline).detail(what).remedy(Remedy::EventsTimeout));
    }
    measured(match encoded {
        Some(coding) => check(Verdict::Warn, format!("compressed on the way ({coding})"))
            .detail("They arrive at once here, but compressors often wait for more data.")
            .remedy(Remedy::StreamCompression),
        None if held >= rhythm::HELD => check(Verdict::Warn, format!("uneven, by up to {}", spoken(held)))
            .detail("Not as a buffer does it: the network, or a machine that is busy."),
        None => {
            let first = beats.first().map_or(Duration::ZERO, |beat| beat.came);
            check(Verdict::Ok, format!("work, the first after {}", spoken(first)))
        }
    })
}
