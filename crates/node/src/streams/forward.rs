//! Port forwarding over SPDY streams: an error and a data stream per connection, joined by their request id.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::spdy::{Connection, Out, Stream};

/// Serves port forwards until the client goes away.
pub async fn serve(connection: Connection, runtime: Arc<dyn Runtime>, sandbox: String) {
    let Connection { mut streams, out } = connection;
    let mut waiting: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = streams.recv().await {
        // Clients of old do not number their requests: the error stream of one comes right before its data stream.
        let key = stream.headers.get("requestid").cloned().unwrap_or_else(|| (stream.id.div_ceil(2) / 2).to_string());
        let Some(first) = waiting.remove(&key) else {
            waiting.insert(key, stream);
            continue;
        };
        let is_data = |s: &Stream| s.headers.get("streamtype").is_some_and(|t| t == "data");
        let (error, data) = if is_data(&first) { (stream, first) } else { (first, stream) };
        tokio::spawn(one(runtime.clone(), sandbox.clone(), error.id, data, out.clone()));
    }
}

async fn one(runtime: Arc<dyn Runtime>, sandbox: String, error: u32, data: Stream, out: mpsc::Sender<Out>) {
    let id = data.id;
    let port = data.headers.get("port").and_then(|p| p.parse::<u16>().ok()).unwrap_or(0);
    match runtime.connect(&sandbox, port).await {
        Ok(socket) => carry(socket, data, &out).await,
        Err(failure) => {
            let text =
                format!("an error occurred forwarding {port} -> {port}: error forwarding port {port}: {failure}");
            let _ = out.send(Out::Data(error, text.into())).await;
        }
    }
    let _ = out.send(Out::Fin(id)).await;
    let _ = out.send(Out::Fin(error)).await;
}

async fn carry(socket: tokio::net::TcpStream, mut data: Stream, out: &mpsc::Sender<Out>) {
    let id = data.id;
    let _ = socket.set_nodelay(true);
    let (mut reader, mut writer) = socket.into_split();
    let inward = async move {
        while let Some(bytes) = data.data.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    let outward = async {
        let mut block = vec![0; 32 * 1024];
        while let Ok(count) = reader.read(&mut block).await {
            let bytes = Bytes::copy_from_slice(&block[..count]);
            if count == 0 || out.send(Out::Data(id, bytes)).await.is_err() {
                return;
            }
        }
    };
    let inward = tokio::spawn(inward);
    outward.await;
    inward.abort();
}
