//! Bodies of several parts that share their bytes with the values in the log.
//!
//! A client that does not read costs references and not copies: the values exist once, however many responses contain them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Buf, Bytes, BytesMut};

/// Shorter parts are copied: a reference would cost as much.
const MIN_SHARED: usize = 2_048;

/// Most bytes that actix-http copies into its write buffer at once.
const PIECE: usize = 32 * 1_024;

/// A text in parts. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    parts: Vec<Bytes>,
    length: usize,
}

impl Segments {
    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns all bytes, without a copy if they are one part.
    pub fn to_bytes(&self) -> Bytes {
        match &self.parts[..] {
            [one] => one.clone(),
            parts => parts.concat().into(),
        }
    }

    /// Returns the same text without its last byte.
    pub fn without_last(&self) -> Self {
        let mut shorter = self.clone();
        if let Some(last) = shorter.parts.last_mut() {
            last.truncate(last.len().saturating_sub(1));
            shorter.length -= 1;
        }
        shorter
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Self {
        Self { length: bytes.len(), parts: if bytes.is_empty() { Vec::new() } else { vec![bytes] } }
    }
}

impl From<String> for Segments {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

/// Builds [`Segments`] from left to right.
#[derive(Debug, Default)]
pub struct Builder {
    done: Segments,
    /// Copied bytes behind the last shared part.
    open: BytesMut,
}

impl Builder {
    /// Continues `segments`.
    pub fn after(segments: Segments) -> Self {
        Self { done: segments, open: BytesMut::new() }
    }

    /// Appends a copy of `text`.
    pub fn text(&mut self, text: &str) {
        self.open.extend_from_slice(text.as_bytes());
    }

    /// Appends `bytes` without a copy, unless they are few.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() < MIN_SHARED {
            self.open.extend_from_slice(bytes);
        } else {
            self.close();
            self.add(bytes.clone());
        }
    }

    /// Returns the text.
    pub fn build(mut self) -> Segments {
        self.close();
        self.done
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let open = self.open.split().freeze();
            self.add(open);
        }
    }

    fn add(&mut self, part: Bytes) {
        self.done.length += part.len();
        self.done.parts.push(part);
    }
}

/// Segments as the body of a response, in pieces of a size that the write buffer takes.
#[derive(Debug)]
pub struct SegmentsBody {
    left: u64,
    parts: vec::IntoIter<Bytes>,
    part: Bytes,
}

impl From<Segments> for SegmentsBody {
    fn from(Segments { parts, length }: Segments) -> Self {
        Self { left: length as u64, parts: parts.into_iter(), part: Bytes::new() }
    }
}

impl MessageBody for SegmentsBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if !self.part.has_remaining() {
            match self.parts.next() {
                Some(next) => self.part = next,
                None => return Poll::Ready(None),
            }
        }
        let length = self.part.len().min(PIECE);
        let piece = self.part.split_to(length);
        self.left -= length as u64;
        Poll::Ready(Some(Ok(piece)))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        // A short body is written together with its head.
        if self.left <= PIECE as u64 && self.part.is_empty() && self.parts.len() <= 1 {
            return Ok(self.parts.as_slice().first().cloned().unwrap_or_default());
        }
        Err(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_parts_are_shared_and_short_ones_are_joined() {
        let long = Bytes::from("x".repeat(100_000));
        let mut builder = Builder::default();
        builder.text("[");
        builder.shared(&Bytes::from_static(b"1"));
        builder.text(",\"");
        builder.shared(&long);
        builder.text("\"]");
        let segments = builder.build();
        assert_eq!(segments.parts.len(), 3);
        assert_eq!(segments.parts[1].as_ptr(), long.as_ptr(), "not copied");
        assert_eq!(segments.len(), 100_006);
        let whole = format!("[1,\"{}\"]", "x".repeat(100_000));
        assert_eq!(segments.to_bytes(), whole);
        assert_eq!(segments.without_last().to_bytes(), whole[..whole.len() - 1]);

        let mut body = SegmentsBody::from(segments);
        let mut read = Vec::new();
        loop {
            let BodySize::Sized(left) = body.size() else { panic!("the length is known") };
            assert_eq!(left as usize, whole.len() - read.len());
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
                Some(Ok(piece)) => {
                    assert!(piece.len() <= PIECE);
                    read.extend_from_slice(&piece);
                }
                None => break,
            }
        }
        assert_eq!(read, whole.as_bytes());
    }

    #[test]
    fn a_short_body_is_one_piece() {
        let short = SegmentsBody::from(Segments::from("{}".to_owned()));
        assert_eq!(short.try_into_bytes().unwrap(), "{}");
        assert!(SegmentsBody::from(Segments::from("x".repeat(100_000))).try_into_bytes().is_err());
    }
}
