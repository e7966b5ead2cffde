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
    let carried = match runtime.connect(&sandbox, port).await {
        Ok(connection) => carry(connection, data, &out).await.map_err(|failure| failure.to_string()),
        Err(failure) => Err(failure.to_string()),
    };
    if let Err(failure) = carried {
        let text = format!("an error occurred forwarding {port} -> {port}: error forwarding port {port}: {failure}");
        let _ = out.send(Out::Data(error, text.into())).await;
    }
    let _ = out.send(Out::Fin(id)).await;
    let _ = out.send(Out::Fin(error)).await;
}

/// Carries both ways until the pod's side ends. A reset after data came is an end like any other.
async fn carry(connection: runtime::PodConnection, mut data: Stream, out: &mpsc::Sender<Out>) -> std::io::Result<()> {
    let id = data.id;
    let (mut reader, mut writer) = tokio::io::split(connection);
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
        let mut came = false;
        loop {
            let count = match reader.read(&mut block).await {
                Ok(count) => count,
                Err(_) if came => return Ok(()),
                Err(error) => return Err(error),
            };
            let bytes = Bytes::copy_from_slice(&block[..count]);
            if count == 0 || out.send(Out::Data(id, bytes)).await.is_err() {
                return Ok(());
            }
            came = true;
        }
    };
    let inward = tokio::spawn(inward);
    let ended = outward.await;
    inward.abort();
    ended
}
