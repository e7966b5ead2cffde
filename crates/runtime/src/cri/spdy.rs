//! A client of SPDY/3.1, as much of it as the streaming servers of container runtimes speak: streams that we open, data both
//! ways, pings. Header blocks are sent uncompressed and those of answers are not read: they hold nothing.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::lock;
use crate::api::{Result, RuntimeError};

/// Largest frame that is accepted.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Frames that wait to be sent.
const FRAMES_MAX: usize = 16;
/// Bytes of a stream that wait for their reader.
const STREAM_BYTES: usize = 64 << 10;
/// Bytes read at a time from whoever writes to a stream.
const BLOCK_BYTES: usize = 32 << 10;

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const FIN: u8 = 1;

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(format!("the container runtime's streaming server: {error}"))
}

/// Where the data of open streams goes.
type Inbox = Arc<Mutex<HashMap<u32, DuplexStream>>>;

/// One connection to a streaming server. It ends when it and all writers that came out of it are dropped.
pub struct Client {
    frames: mpsc::Sender<Bytes>,
    inbox: Inbox,
    opened: u32,
}

/// Connects to the URL that Exec, Attach or PortForward answered.
pub async fn connect(url: &str, protocol: &str) -> Result<Client> {
    let Some((host, path)) =
        url.strip_prefix("http://").map(|rest| rest.split_at(rest.find('/').unwrap_or(rest.len())))
    else {
        return Err(failed(format!("{url}: only http:// is supported")));
    };
    let socket = TcpStream::connect(host).await.map_err(failed)?;
    let _ = socket.set_nodelay(true);
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    tokio::spawn(driver.with_upgrades());
    let request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", protocol)
        .body(Empty::<Bytes>::new())
        .map_err(failed)?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(failed(answer.status()));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(failed)?;
    Ok(Client::new(TokioIo::new(upgraded)))
}

impl Client {
    fn new(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let inbox = Inbox::default();
        let (pings, streams) = (frames.downgrade(), inbox.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = read_all(reader, &streams, pings) => {}
                _ = write_all(writer, outgoing) => {}
            }
            // Whoever still reads is told the end.
            lock(&streams).clear();
        });
        Self { frames, inbox, opened: 0 }
    }

    /// Opens a stream that is only read.
    pub async fn open_reader(&mut self, headers: &[(&str, &str)]) -> Result<DuplexStream> {
        self.open(headers).await.map(|(reader, _)| reader)
    }

    /// Opens a stream. The end of the writer ends our side of it.
    pub async fn open_both(&mut self, headers: &[(&str, &str)]) -> Result<(DuplexStream, DuplexStream)> {
        let (reader, id) = self.open(headers).await?;
        let (writer, source) = tokio::io::duplex(STREAM_BYTES);
        tokio::spawn(send_all(source, id, self.frames.clone()));
        Ok((reader, writer))
    }

    async fn open(&mut self, headers: &[(&str, &str)]) -> Result<(DuplexStream, u32)> {
        // A client's streams have the odd numbers.
        let id = self.opened * 2 + 1;
        let first = self.opened == 0;
        self.opened += 1;
        let (reader, sink) = tokio::io::duplex(STREAM_BYTES);
        lock(&self.inbox).insert(id, sink);
        let sent = self.frames.send(syn_stream(id, headers, first)).await;
        sent.map_err(|_| failed("the connection is closed"))?;
        Ok((reader, id))
    }
}

async fn write_all(mut writer: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(frame) = outgoing.recv().await {
        writer.write_all(&frame).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

/// Sends what comes out of a pipe, then the end of our side of the stream.
async fn send_all(mut source: DuplexStream, id: u32, frames: mpsc::Sender<Bytes>) {
    let mut block = vec![0; BLOCK_BYTES];
    while let Ok(count) = source.read(&mut block).await {
        if frames.send(data(id, if count == 0 { FIN } else { 0 }, &block[..count])).await.is_err() || count == 0 {
            return;
        }
    }
}

async fn read_all(
    mut reader: impl AsyncRead + Unpin,
    streams: &Inbox,
    pings: mpsc::WeakSender<Bytes>,
) -> io::Result<()> {
    loop {
        let mut head = [0; 8];
        reader.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        if head[0] & 0x80 == 0 {
            let id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            deliver(streams, id, &body, head[4] & FIN != 0).await;
            continue;
        }
        let number = body.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b) & 0x7fff_ffff);
        match u16::from_be_bytes([head[2], head[3]]) {
            RST_STREAM => drop(lock(streams).remove(&number)),
            PING => {
                if let Some(frames) = pings.upgrade() {
                    let _ = frames.send(control(PING, &number.to_be_bytes())).await;
                }
            }
            GO_AWAY => return Ok(()),
            _ => {}
        }
    }
}

/// Hands data to a stream's reader. A stream that nobody reads any more swallows it.
async fn deliver(streams: &Inbox, id: u32, body: &[u8], fin: bool) {
    let Some(mut sink) = lock(streams).remove(&id) else { return };
    if sink.write_all(body).await.is_ok() && !fin {
        lock(streams).insert(id, sink);
    }
}

fn data(id: u32, flags: u8, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + body.len());
    out.put_u32(id & 0x7fff_ffff);
    out.put_u8(flags);
    out.put_uint(body.len() as u64, 3);
    out.put_slice(body);
    out.freeze()
}

fn control(kind: u16, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + body.len());
    out.put_u16(0x8003);
    out.put_u16(kind);
    out.put_u8(0);
    out.put_uint(body.len() as u64, 3);
    out.put_slice(body);
    out.freeze()
}

/// The frame that opens a stream. The headers stand in a stored block of the connection's zlib stream, which begins with the
/// first of them.
fn syn_stream(id: u32, headers: &[(&str, &str)], first: bool) -> Bytes {
    let mut block = (headers.len() as u32).to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&(text.len() as u32).to_be_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    let length = block.len() as u16;
    let mut body = [id.to_be_bytes(), [0; 4]].concat();
    body.extend([0, 0]);
    if first {
        body.extend([0x78, 0x01]);
    }
    body.push(0);
    body.extend(length.to_le_bytes());
    body.extend((!length).to_le_bytes());
    body.extend(block);
    // Go's reader hands out what it has read only at an empty stored block, which every flush ends with.
    body.extend([0, 0, 0, 0xff, 0xff]);
    control(SYN_STREAM, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frame(io: &mut (impl AsyncRead + Unpin)) -> ([u8; 8], Vec<u8>) {
        let mut head = [0; 8];
        io.read_exact(&mut head).await.expect("a frame");
        let mut body = vec![0; u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize];
        io.read_exact(&mut body).await.expect("its body");
        (head, body)
    }

    #[tokio::test]
    async fn streams_carry_data_both_ways() {
        let (near, mut server) = tokio::io::duplex(64 << 10);
        let mut client = Client::new(near);
        let mut error = client.open_reader(&[("streamtype", "error")]).await.expect("open");
        let (mut reader, mut writer) = client.open_both(&[("streamtype", "data")]).await.expect("open");
        let (head, body) = frame(&mut server).await;
        assert_eq!((head[3], &body[..4]), (1, &1u32.to_be_bytes()[..]));
        let mut inflate = flate2::Decompress::new(true);
        let mut headers = vec![0; 256];
        inflate.decompress(&body[10..], &mut headers, flate2::FlushDecompress::Sync).expect("zlib");
        assert_eq!(&headers[8..18], b"streamtype");
        assert_eq!(frame(&mut server).await.1[..4], 3u32.to_be_bytes());
        writer.write_all(b"hello").await.expect("sent");
        assert_eq!(frame(&mut server).await.1, b"hello");
        server.write_all(&data(3, 0, b"answer")).await.expect("sent");
        server.write_all(&control(PING, &7u32.to_be_bytes())).await.expect("sent");
        let mut answer = [0; 6];
        reader.read_exact(&mut answer).await.expect("it came");
        assert_eq!(&answer, b"answer");
        assert_eq!(frame(&mut server).await.1, 7u32.to_be_bytes(), "a ping comes back");
        drop(writer);
        assert_eq!(frame(&mut server).await.0[..5], [0, 0, 0, 3, FIN]);
        server.write_all(&data(1, FIN, b"wrong")).await.expect("sent");
        let mut text = String::new();
        error.read_to_string(&mut text).await.expect("it ends");
        assert_eq!(text, "wrong");
        drop((client, reader));
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("the connection ends");
        assert!(rest.is_empty());
    }
}
