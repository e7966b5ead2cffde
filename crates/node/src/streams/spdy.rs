//! SPDY/3.1, as much of it as kubectl and its peers speak: streams, data, pings. Flow control is ignored, as upstream's
//! own library ignores it.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::remote::{Channel, MESSAGES_MAX, Message, Remote};
use super::spdy_headers::{Decoder, empty_block};

/// Largest frame that is accepted.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Streams that one connection may have open.
const STREAMS_MAX: usize = 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const FIN: u8 = 1;

/// A frame to send.
pub enum Out {
    /// Data of a stream.
    Data(u32, Bytes),
    /// The end of our side of a stream.
    Fin(u32),
    /// A stream is broken off.
    Reset(u32),
    Reply(u32),
    Ping(u32),
}

/// What a client opened.
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Its headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// What the client sends on it; ends with the client's side.
    pub data: mpsc::Receiver<Bytes>,
}

/// A connection: streams that the client opens, and frames to send.
pub struct Connection {
    /// New streams. Ends with the connection.
    pub streams: mpsc::Receiver<Stream>,
    /// To the client. The connection ends when all clones are dropped.
    pub out: mpsc::Sender<Out>,
}

/// Serves a connection on an upgraded one.
pub fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Connection {
    let (reader, writer) = tokio::io::split(io);
    let (opened, streams) = mpsc::channel(MESSAGES_MAX);
    let (out, outgoing) = mpsc::channel(MESSAGES_MAX);
    let answers = out.downgrade();
    tokio::spawn(async move {
        tokio::select! {
            _ = read_all(reader, opened, answers) => {}
            _ = write_all(writer, outgoing) => {}
        }
    });
    Connection { streams, out }
}

async fn write_all(mut writer: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<Out>) -> std::io::Result<()> {
    let mut first = true;
    while let Some(frame) = outgoing.recv().await {
        let mut bytes = BytesMut::new();
        match frame {
            Out::Data(id, data) => put_data(&mut bytes, id, 0, &data),
            Out::Fin(id) => put_data(&mut bytes, id, FIN, &[]),
            Out::Reset(id) => put_control(&mut bytes, RST_STREAM, &[id.to_be_bytes(), 5u32.to_be_bytes()].concat()),
            Out::Ping(id) => put_control(&mut bytes, PING, &id.to_be_bytes()),
            Out::Reply(id) => {
                let body = [&id.to_be_bytes()[..], &empty_block(first)].concat();
                first = false;
                put_control(&mut bytes, SYN_REPLY, &body);
            }
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

fn put_data(out: &mut BytesMut, id: u32, flags: u8, data: &[u8]) {
    out.put_u32(id & 0x7fff_ffff);
    out.put_u8(flags);
    out.put_uint(data.len() as u64, 3);
    out.put_slice(data);
}

fn put_control(out: &mut BytesMut, kind: u16, body: &[u8]) {
    out.put_u16(0x8003);
    out.put_u16(kind);
    out.put_u8(0);
    out.put_uint(body.len() as u64, 3);
    out.put_slice(body);
}

async fn read_all(
    mut reader: impl AsyncRead + Unpin,
    opened: mpsc::Sender<Stream>,
    answers: mpsc::WeakSender<Out>,
) -> std::io::Result<()> {
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    let mut decoder = Decoder::new();
    loop {
        let mut head = [0; 8];
        reader.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        let fin = head[4] & FIN != 0;
        if head[0] & 0x80 == 0 {
            let id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            if let Some(stream) = open.get(&id)
                && !body.is_empty()
            {
                // A stream that nobody reads any more swallows its data.
                let _ = stream.send(body.into()).await;
            }
            if fin {
                open.remove(&id);
            }
            continue;
        }
        let number = body.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b) & 0x7fff_ffff);
        match u16::from_be_bytes([head[2], head[3]]) {
            SYN_STREAM => {
                let Some(headers) = body.get(10..).and_then(|block| decoder.decode(block)) else { return Ok(()) };
                if open.len() >= STREAMS_MAX {
                    answer(&answers, Out::Reset(number)).await;
                    continue;
                }
                let (data, inbox) = mpsc::channel(MESSAGES_MAX);
                answer(&answers, Out::Reply(number)).await;
                let headers = headers.into_iter().map(|(k, v)| (k.to_lowercase(), v)).collect();
                if !fin {
                    open.insert(number, data);
                }
                if opened.send(Stream { id: number, headers, data: inbox }).await.is_err() {
                    answer(&answers, Out::Reset(number)).await;
                }
            }
            RST_STREAM => {
                open.remove(&number);
            }
            PING => answer(&answers, Out::Ping(number)).await,
            GO_AWAY => return Ok(()),
            _ => {}
        }
    }
}

async fn answer(answers: &mpsc::WeakSender<Out>, frame: Out) {
    if let Some(out) = answers.upgrade() {
        let _ = out.send(frame).await;
    }
}

/// A remote command over SPDY: waits for the `expected` streams, then joins them. `None` when the client goes away first.
pub async fn remote(connection: Connection, expected: usize, status_errors: bool) -> Option<Remote> {
    let Connection { mut streams, out } = connection;
    let (to_command, incoming) = mpsc::channel(MESSAGES_MAX);
    let (outgoing, mut from_command) = mpsc::channel::<Message>(MESSAGES_MAX);
    let mut ids: Vec<(Channel, u32)> = Vec::new();
    while ids.len() < expected {
        let wait = std::time::Duration::from_secs(30);
        let stream = tokio::time::timeout(wait, streams.recv()).await.ok()??;
        let channel = match stream.headers.get("streamtype").map(String::as_str) {
            Some("stdin") => Channel::Stdin,
            Some("stdout") => Channel::Stdout,
            Some("stderr") => Channel::Stderr,
            Some("error") => Channel::Error,
            Some("resize") => Channel::Resize,
            _ => continue,
        };
        ids.push((channel, stream.id));
        tokio::spawn(pass_on(stream.data, channel, to_command.clone()));
    }
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                message = from_command.recv() => message,
                // The connection broke: the command hears of it by its closed channel.
                None = streams.recv() => None,
            };
            let Some((channel, bytes)) = message else { return };
            let Some((_, id)) = ids.iter().find(|(c, _)| *c == channel) else { continue };
            let frame = bytes.map_or(Out::Fin(*id), |b| Out::Data(*id, b));
            if out.send(frame).await.is_err() {
                return;
            }
        }
    });
    Some(Remote { incoming, outgoing, status_errors })
}

async fn pass_on(mut data: mpsc::Receiver<Bytes>, channel: Channel, to_command: mpsc::Sender<Message>) {
    while let Some(bytes) = data.recv().await {
        if to_command.send((channel, Some(bytes))).await.is_err() {
            return;
        }
    }
    let _ = to_command.send((channel, None)).await;
}

#[cfg(test)]
mod tests {
    use super::super::spdy_headers::tests::encode;
    use super::*;

    fn syn(compress: &mut flate2::Compress, id: u32, kind: &str) -> Vec<u8> {
        let mut body = [id.to_be_bytes(), [0; 4]].concat();
        body.extend([0, 0]);
        body.extend(encode(compress, &[("streamtype", kind)]));
        let mut out = BytesMut::new();
        put_control(&mut out, SYN_STREAM, &body);
        out.to_vec()
    }

    async fn frame(io: &mut (impl AsyncRead + Unpin)) -> ([u8; 8], Vec<u8>) {
        let mut head = [0; 8];
        io.read_exact(&mut head).await.unwrap();
        let mut body = vec![0; u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize];
        io.read_exact(&mut body).await.unwrap();
        (head, body)
    }

    #[tokio::test]
    async fn a_client_opens_streams_and_talks() {
        let (near, mut client) = tokio::io::duplex(64 * 1024);
        let mut compress = flate2::Compress::new(flate2::Compression::default(), true);
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            client.write_all(&syn(&mut compress, id, kind)).await.unwrap();
        }
        let mut remote = remote(serve(near), 3, true).await.unwrap();
        for id in [1u32, 3, 5] {
            let (head, body) = frame(&mut client).await;
            assert_eq!((head[3], &body[..4]), (2, &id.to_be_bytes()[..]));
        }
        let mut data = BytesMut::new();
        put_data(&mut data, 3, FIN, b"hello");
        client.write_all(&data).await.unwrap();
        assert_eq!(remote.incoming.recv().await, Some((Channel::Stdin, Some(Bytes::from_static(b"hello")))));
        assert_eq!(remote.incoming.recv().await, Some((Channel::Stdin, None)));
        remote.outgoing.send((Channel::Stdout, Some(Bytes::from_static(b"hi")))).await.unwrap();
        let (head, body) = frame(&mut client).await;
        assert_eq!((&head[..4], &body[..]), (&5u32.to_be_bytes()[..], &b"hi"[..]));
    }
}
