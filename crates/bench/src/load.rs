//! A load generator that costs little: HTTP/2 by hand (RFC 9113), one connection, one task, no channels. Everything that is
//! ready is written at once. Headers of answers are not decoded: that a request failed is told by its Status.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::figures::Times;

/// A request; the path and the body are the caller's.
pub struct Request {
    /// GET, POST, PATCH or DELETE.
    pub method: &'static str,
    pub path: String,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// What a peer may send, or be sent, before it says otherwise.
const WINDOW: i64 = 65_535;
/// What the server may send us before it hears from us.
const OWN_WINDOW: u32 = (1 << 31) - 1;
/// More than any answer here has; a Status stands at its beginning.
const KEPT: usize = 512;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Header fields as HPACK (RFC 7541) writes them. A field that was said once is a number from then on.
#[derive(Default)]
struct Fields(Vec<(u8, &'static str)>);

impl Fields {
    fn number(out: &mut Vec<u8>, first: u8, bits: u32, mut value: usize) {
        let most = (1_usize << bits) - 1;
        if value < most {
            return out.push(first | value as u8);
        }
        out.push(first | most as u8);
        value -= most;
        while value >= 128 {
            out.push((value % 128) as u8 | 128);
            value /= 128;
        }
        out.push(value as u8);
    }

    /// A field whose value differs from request to request; `name` is a number of the static table.
    fn once(out: &mut Vec<u8>, name: usize, value: &str) {
        Self::number(out, 0, 4, name);
        Self::number(out, 0, 7, value.len());
        out.extend_from_slice(value.as_bytes());
    }

    /// A field that is said again and again.
    fn usual(&mut self, out: &mut Vec<u8>, name: u8, value: &'static str) {
        if let Some(age) = self.0.iter().rev().position(|field| *field == (name, value)) {
            return Self::number(out, 0x80, 7, 62 + age);
        }
        Self::number(out, 0x40, 6, name.into());
        Self::number(out, 0, 7, value.len());
        out.extend_from_slice(value.as_bytes());
        self.0.push((name, value));
    }

    fn of(&mut self, request: &Request, authority: &'static str) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        match request.method {
            "GET" => out.push(0x82),
            "POST" => out.push(0x83),
            other => self.usual(&mut out, 2, other),
        }
        out.push(0x87);
        self.usual(&mut out, 1, authority);
        Self::once(&mut out, 4, &request.path);
        self.usual(&mut out, 19, "application/json");
        self.usual(&mut out, 58, "skiff-bench");
        if !request.body.is_empty() {
            self.usual(&mut out, 31, request.content_type);
            Self::once(&mut out, 28, &request.body.len().to_string());
        }
        out
    }
}

/// A request whose answer is not complete.
struct Waiting {
    since: Instant,
    begin: Vec<u8>,
}

/// One connection under load.
pub struct Load {
    stream: TlsStream<TcpStream>,
    authority: &'static str,
    fields: Fields,
    out: Vec<u8>,
    input: BytesMut,
    next_id: u32,
    may_send: i64,
    received: u32,
    total: u64,
    waiting: HashMap<u32, Waiting>,
}

impl Load {
    /// Begins to speak on a connection.
    pub fn new(stream: TlsStream<TcpStream>, authority: &'static str) -> Self {
        let mut out = PREFACE.to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE, and no pushes.
        let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
        settings.extend_from_slice(&OWN_WINDOW.to_be_bytes());
        frame(&mut out, SETTINGS, 0, 0, &settings);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(OWN_WINDOW - WINDOW as u32).to_be_bytes());
        Self {
            stream,
            authority,
            fields: Fields::default(),
            out,
            input: BytesMut::with_capacity(256 << 10),
            next_id: 1,
            may_send: WINDOW,
            received: 0,
            total: 0,
            waiting: HashMap::new(),
        }
    }

    /// How many bytes all answers had.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Keeps `flight` requests in flight for as long as `next` gives some, and waits for all answers. Gives the time of each.
    pub async fn run(&mut self, flight: usize, mut next: impl FnMut() -> Option<Request>) -> Result<(Times, Duration)> {
        let begun = Instant::now();
        let mut times = Times::default();
        let mut held = None;
        loop {
            while self.waiting.len() < flight {
                let Some(request) = held.take().or_else(&mut next) else { break };
                if request.body.len() as i64 > self.may_send {
                    held = Some(request);
                    break;
                }
                self.send(request);
            }
            if self.waiting.is_empty() && held.is_none() {
                return Ok((times, begun.elapsed()));
            }
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await?;
            self.out.clear();
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the server ended the connection");
            while self.take(&mut times)? {}
        }
    }

    fn send(&mut self, request: Request) {
        let fields = self.fields.of(&request, self.authority);
        let last = if request.body.is_empty() { END_STREAM } else { 0 };
        frame(&mut self.out, HEADERS, END_HEADERS | last, self.next_id, &fields);
        if !request.body.is_empty() {
            frame(&mut self.out, DATA, END_STREAM, self.next_id, &request.body);
        }
        self.may_send -= request.body.len() as i64;
        self.waiting.insert(self.next_id, Waiting { since: Instant::now(), begin: Vec::new() });
        self.next_id += 2;
    }

    /// Takes a frame out of what was read, if a whole one is there.
    fn take(&mut self, times: &mut Times) -> Result<bool> {
        let Some(head) = self.input.first_chunk::<HEAD>().copied() else { return Ok(false) };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if self.input.len() < HEAD + length {
            return Ok(false);
        }
        self.input.advance(HEAD);
        let payload = self.input.split_to(length);
        let stream = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        match kind {
            DATA => self.data(stream, &payload)?,
            SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, &payload),
            WINDOW_UPDATE if stream == 0 => {
                let more = payload.first_chunk().context("a short frame")?;
                self.may_send += i64::from(u32::from_be_bytes(*more));
            }
            RST_STREAM | GOAWAY => bail!("the server refused: {payload:?}"),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            let done = self.waiting.remove(&stream).context("an answer that nobody waits for")?;
            let text = String::from_utf8_lossy(&done.begin);
            ensure!(!text.starts_with("{\"kind\":\"Status\"") || !text.contains("\"Failure\""), "{text}");
            times.add(done.since.elapsed());
        }
        Ok(true)
    }

    fn data(&mut self, stream: u32, payload: &[u8]) -> Result<()> {
        let waiting = self.waiting.get_mut(&stream).context("data that nobody waits for")?;
        let missing = KEPT.saturating_sub(waiting.begin.len()).min(payload.len());
        waiting.begin.extend_from_slice(&payload[..missing]);
        self.received += payload.len() as u32;
        self.total += payload.len() as u64;
        if self.received > OWN_WINDOW / 2 {
            frame(&mut self.out, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
        Ok(())
    }
}
