//! Minimal HTTP client: one request at a time on a kept connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Connection that is used for several requests.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
}

/// Response of the server.
pub(crate) struct Answer {
    /// Status code of the response.
    pub(crate) status: u16,
    head: String,
    /// Content of the length in `Content-Length`.
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// Connects to the server under test.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, address })
    }

    /// Sends a GET for `path`; `headers` are whole lines.
    pub(crate) fn get(&mut self, path: &str, headers: &str) -> io::Result<Answer> {
        let request = get(self.address, path, headers);
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    /// Sends a POST of JSON to `path`.
    pub(crate) fn post(&mut self, path: &str, json: &str) -> io::Result<Answer> {
        self.stream.write_all(post(self.address, path, json).as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let (head, mut body) = read_head(&mut self.stream)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head, body: Vec::new() };
        let length =
            if status == 304 { 0 } else { answer.header("content-length").unwrap_or("0").parse().unwrap_or(0) };
        let mut buffer = [0; 4_096];
        while body.len() < length {
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => body.extend_from_slice(&buffer[..count]),
            }
        }
        answer.body = body;
        Ok(answer)
    }
}

impl Answer {
    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(header, value)| header.eq_ignore_ascii_case(name).then_some(value.trim()))
    }
}

/// Returns a GET request as text.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n")
}

/// Returns a POST request of JSON as text.
pub(crate) fn post(address: SocketAddr, path: &str, json: &str) -> String {
    let length = json.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
    )
}

/// Sends a request and returns the content of its answer, which has to be 200.
pub(crate) fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let (head, mut body) = read_head(stream)?;
    let head = head.to_ascii_lowercase();
    if !head.contains(" 200 ") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned()));
    }
    let length = content_length(&head).unwrap_or(0);
    let mut buffer = [0; 4_096];
    while body.len() < length {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => body.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The length of the content that a head in lower case announces.
pub(crate) fn content_length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
}

/// Reads up to the blank line; also returns the bytes after it.
pub(crate) fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&buffer[..count]);
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            let behind = seen.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&seen).into_owned(), behind));
        }
    }
}
