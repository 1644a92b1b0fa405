//! WebSocket frames (RFC 6455, section 5) with permessage-deflate (RFC 7692). Pure: bytes in, messages out.
//!
//! It is strict where the standard requires it, and bounded in memory: a length is checked when it is announced, before
//! any payload is kept; text is checked as it arrives.

use bytes::{Buf, Bytes, BytesMut};

use super::{deflate, frame_error::FrameError};
use tricast_core::protocol::close::may_be_sent;

/// Text frame, also the first of a fragmented message.
pub const TEXT: u8 = 1;
/// Binary frame, also the first of a fragmented message.
pub const BINARY: u8 = 2;
/// Close frame: a code and a reason, or nothing.
pub const CLOSE: u8 = 8;
/// Ping frame, which the receiver answers with a pong of the same payload.
pub const PING: u8 = 9;
/// Pong frame: the answer to a ping, or unrequested.
pub const PONG: u8 = 10;

/// Largest payload of a control frame (section 5.5).
const MAX_CONTROL: u8 = 125;

/// Most empty continuations of one message: they cost work without progress, and no limit of size ends them.
const MAX_EMPTY: u32 = 1_000;

/// Message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A ping, to be answered with the same bytes.
    Ping(Bytes),
    /// A pong, with the payload of its ping.
    Pong(Bytes),
    /// The closing handshake: code and text, if any.
    Close(Option<(u16, String)>),
}

/// Parser of the frames of one client.
///
/// Between two calls it holds at most `max_message` bytes of a message, a control frame and part of a header, in addition
/// to unread input. A compressed message also takes its inflated size, again at most `max_message`, while it is inflated.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    deflate: bool,
    input: BytesMut,
    frame: Option<Header>,
    /// Data message that is being assembled.
    message: Option<Message>,
    control: Vec<u8>,
    failed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Remaining bytes of the payload.
    left: u64,
    /// Position in the mask.
    phase: usize,
}

#[derive(Debug)]
struct Message {
    opcode: u8,
    compressed: bool,
    data: Vec<u8>,
    /// Offset up to which the text is valid UTF-8.
    checked: usize,
    /// Number of empty continuations.
    empty: u32,
}

impl Decoder {
    /// Creates a decoder for messages of at most `max_message` bytes (0: no limit); `deflate` if it was negotiated.
    pub fn new(max_message: usize, deflate: bool) -> Self {
        Self {
            max_message: if max_message == 0 { usize::MAX } else { max_message },
            deflate,
            input: BytesMut::new(),
            frame: None,
            message: None,
            control: Vec::new(),
            failed: false,
        }
    }

    /// Adds bytes from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.input.extend_from_slice(bytes);
        }
    }

    /// Returns the next complete message, if there is one.
    ///
    /// # Errors
    /// [`FrameError`]; from then on the input is discarded.
    pub fn next_message(&mut self) -> Result<Option<Incoming>, FrameError> {
        let next = self.step();
        if next.is_err() {
            self.failed = true;
            self.input = BytesMut::new();
            self.message = None;
            self.control = Vec::new();
        }
        next
    }

    fn step(&mut self) -> Result<Option<Incoming>, FrameError> {
        while !self.failed {
            let header = match self.frame {
                Some(header) => header,
                None => match self.header()? {
                    Some(header) => header,
                    None => break,
                },
            };
            let (header, complete) = self.payload(header)?;
            if !complete {
                self.frame = Some(header);
                break;
            }
            self.frame = None;
            if header.opcode >= CLOSE {
                return self.control(header.opcode).map(Some);
            }
            if header.fin
                && let Some(message) = self.message.take()
            {
                return self.finish(message).map(Some);
            }
        }
        // The rest is less than a header. The buffer is released: an idle connection holds none.
        self.input = BytesMut::from(&self.input[..]);
        Ok(None)
    }

    fn header(&mut self) -> Result<Option<Header>, FrameError> {
        let error = |what| Err(FrameError::Protocol(what));
        let input = &self.input[..];
        let &[first, second, ..] = input else { return Ok(None) };
        let (fin, rsv, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
        let masked = second & 0x80 != 0;
        let control = opcode >= CLOSE;
        if !matches!(opcode, 0..=BINARY | CLOSE..=PONG) {
            return error("an unknown opcode");
        }
        let compressed = rsv == 0x40 && self.deflate && matches!(opcode, TEXT | BINARY);
        if rsv != 0 && !compressed {
            return error("a reserved bit is set");
        }
        if !masked {
            return error("a frame of a client has to be masked");
        }
        if control && !fin {
            return error("a control frame can't be fragmented");
        }
        if control && second & 0x7f > MAX_CONTROL {
            return error("a control frame holds at most 125 bytes");
        }
        let (length, at) = match second & 0x7f {
            126 => match input.get(2..4) {
                Some(bytes) => (u64::from(u16::from_be_bytes([bytes[0], bytes[1]])), 4),
                None => return Ok(None),
            },
            127 => match input.get(2..10).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if matches!((second & 0x7f, length), (126, ..126) | (127, ..65_536)) {
            return error("a length has to be written as short as it can be");
        }
        if length >> 63 != 0 {
            return error("a length of more than 63 bits");
        }
        if !control {
            match (&self.message, opcode) {
                (None, 0) => return error("a continuation of nothing"),
                (Some(_), TEXT | BINARY) => return error("a new message inside a fragmented one"),
                (Some(message), _) if message.empty >= MAX_EMPTY => return error("too many empty fragments"),
                _ => {}
            }
            let before = self.message.as_ref().map_or(0, |message| message.data.len()) as u64;
            if before.saturating_add(length) > self.max_message as u64 {
                return Err(FrameError::TooBig(self.max_message));
            }
        }
        let Some(mask) = input.get(at..at + 4) else { return Ok(None) };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        self.input.advance(at + 4);
        if !control && opcode != 0 {
            self.message = Some(Message { opcode, compressed, data: Vec::new(), checked: 0, empty: 0 });
        } else if !control
            && length == 0
            && let Some(message) = &mut self.message
        {
            message.empty += 1;
        }
        Ok(Some(Header { fin, opcode, mask, left: length, phase: 0 }))
    }

    /// Moves the available part of the payload out of the input, unmasked.
    fn payload(&mut self, mut header: Header) -> Result<(Header, bool), FrameError> {
        let take = usize::try_from(header.left).unwrap_or(usize::MAX).min(self.input.len());
        let target = match &mut self.message {
            Some(message) if header.opcode < CLOSE => {
                let most = match header.fin {
                    true => usize::try_from(header.left).unwrap_or(usize::MAX).saturating_add(message.data.len()),
                    false => self.max_message,
                };
                make_room(&mut message.data, take, most);
                &mut message.data
            }
            _ => &mut self.control,
        };
        let start = target.len();
        target.extend_from_slice(&self.input[..take]);
        unmask(&mut target[start..], header.mask, header.phase);
        self.input.advance(take);
        header.left -= take as u64;
        header.phase = (header.phase + take) % 4;
        let complete = header.left == 0;
        // The end of a message is checked with all of it.
        if header.opcode < CLOSE
            && !(complete && header.fin)
            && let Some(message) = &mut self.message
        {
            message.check()?;
        }
        Ok((header, complete))
    }

    fn control(&mut self, opcode: u8) -> Result<Incoming, FrameError> {
        let data = std::mem::take(&mut self.control);
        Ok(match opcode {
            PING => Incoming::Ping(data.into()),
            PONG => Incoming::Pong(data.into()),
            _ => Incoming::Close(match data[..] {
                [] => None,
                [_] => return Err(FrameError::Protocol("a close frame with one byte")),
                [high, low, ref text @ ..] => {
                    let code = u16::from_be_bytes([high, low]);
                    if !may_be_sent(code) {
                        return Err(FrameError::Protocol("a close code that may not be sent"));
                    }
                    let text = std::str::from_utf8(text).map_err(|_| FrameError::NotUtf8)?;
                    Some((code, text.to_owned()))
                }
            }),
        })
    }

    fn finish(&self, mut message: Message) -> Result<Incoming, FrameError> {
        if message.compressed {
            message.data = deflate::inflate(&message.data, self.max_message)?;
        }
        Ok(match message.opcode {
            TEXT => Incoming::Text(String::from_utf8(message.data).map_err(|_| FrameError::NotUtf8)?),
            _ => Incoming::Binary(message.data),
        })
    }
}

impl Message {
    /// Checks the new part of the text. A character may still be incomplete.
    fn check(&mut self) -> Result<(), FrameError> {
        if self.opcode != TEXT || self.compressed {
            return Ok(());
        }
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(_) => self.checked = self.data.len(),
            Err(error) if error.error_len().is_some() => return Err(FrameError::NotUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

/// Reserves room for `more` bytes: twice as much as before, like a vector, but never more than `most` in all.
fn make_room(data: &mut Vec<u8>, more: usize, most: usize) {
    let needed = data.len() + more;
    if needed > data.capacity() {
        let capacity = data.capacity().saturating_mul(2).min(most).max(needed);
        data.reserve_exact(capacity - data.len());
    }
}

fn unmask(data: &mut [u8], mask: [u8; 4], phase: usize) {
    let turned = [mask[phase % 4], mask[(phase + 1) % 4], mask[(phase + 2) % 4], mask[(phase + 3) % 4]];
    let wide =
        u64::from_ne_bytes([turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3]]);
    let mut chunks = data.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (i, byte) in chunks.into_remainder().iter_mut().enumerate() {
        *byte ^= turned[i % 4];
    }
}

/// Appends an unfragmented server frame: unmasked, so that one frame serves every client.
pub fn write(out: &mut Vec<u8>, opcode: u8, compressed: bool, payload: &[u8]) {
    out.push(0x80 | if compressed { 0x40 } else { 0 } | opcode);
    match payload.len() {
        short @ ..126 => out.push(short as u8),
        medium @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Returns a text frame; compressed if that was negotiated and makes it smaller.
pub fn text(text: &str, compress: bool) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 10);
    write_text(&mut out, text, compress);
    out.into()
}

/// Appends a text frame; compressed if that was negotiated and makes it smaller.
pub fn write_text(out: &mut Vec<u8>, text: &str, compress: bool) {
    write_message(out, TEXT, text.as_bytes(), compress);
}

/// Appends a whole message in one frame; compressed if that was negotiated and makes it smaller.
pub fn write_message(out: &mut Vec<u8>, opcode: u8, payload: &[u8], compress: bool) {
    match if compress { deflate::deflate(payload) } else { None } {
        Some(small) => write(out, opcode, true, &small),
        None => write(out, opcode, false, payload),
    }
}

/// Appends a close frame. `text` is cut to the permitted 123 bytes.
pub fn write_close(out: &mut Vec<u8>, code: u16, text: &str) {
    let mut payload = code.to_be_bytes().to_vec();
    let end = (0..=text.len().min(123)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    payload.extend_from_slice(&text.as_bytes()[..end]);
    write(out, CLOSE, false, &payload);
}

#[cfg(test)]
mod tests;
