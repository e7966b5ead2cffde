//! Exec, attach and port-forward: CRI answers with a URL, behind which a streaming server speaks SPDY.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use super::spdy::{self, Client};
use super::*;

/// The protocol of remote commands whose last word is a `metav1.Status`, and that of port-forwards.
const COMMAND: &str = "v4.channel.k8s.io";
const FORWARD: &str = "portforward.k8s.io";
/// Sizes of a terminal that wait to be sent.
const SIZES_MAX: usize = 4;

/// Which streams a command has.
struct Wanted {
    stdin: bool,
    tty: bool,
}

impl CriRuntime {
    pub(super) async fn start_exec(&self, id: &str, request: ExecRequest) -> Result<ProcessStreams> {
        let wanted = Wanted { stdin: request.stdin, tty: request.tty };
        let request = proto::ExecRequest {
            container_id: id.to_owned(),
            cmd: request.command,
            tty: wanted.tty,
            stdin: wanted.stdin,
            stdout: true,
            stderr: !wanted.tty,
        };
        let place: proto::StreamingResponse = self.0.runtime("Exec", &request).await?;
        command(&place.url, wanted).await
    }

    pub(super) async fn start_attach(&self, id: &str, stdin: bool) -> Result<ProcessStreams> {
        let status = self.container(id).await?;
        if status.state != ContainerState::Running {
            return Err(RuntimeError::Invalid(format!("container {id} is not running")));
        }
        let tty = self.has_terminal(id);
        let request = proto::AttachRequest { container_id: id.to_owned(), stdin, tty, stdout: true, stderr: !tty };
        let place: proto::StreamingResponse = self.0.runtime("Attach", &request).await?;
        command(&place.url, Wanted { stdin, tty }).await
    }

    pub(super) async fn forward(&self, sandbox_id: &str, port: u16) -> Result<PodConnection> {
        let request = proto::PortForwardRequest { pod_sandbox_id: sandbox_id.to_owned(), port: vec![port.into()] };
        let place: proto::StreamingResponse = self.0.runtime("PortForward", &request).await?;
        let mut client = spdy::connect(&place.url, FORWARD).await?;
        let port = port.to_string();
        let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
        let mut errors = client.open_reader(&headers("error")).await?;
        let (reader, writer) = client.open_both(&headers("data")).await?;
        let error = async move {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text).await;
            text
        };
        Ok(Box::pin(Forwarded { reader, writer, error: Some(error.boxed()), _client: client }))
    }
}

/// Joins the streams of a command.
async fn command(url: &str, wanted: Wanted) -> Result<ProcessStreams> {
    let mut client = spdy::connect(url, COMMAND).await?;
    let kind = |kind| [("streamtype", kind)];
    // The order of upstream's own client.
    let errors = client.open_reader(&kind("error")).await?;
    let stdin = if wanted.stdin { Some(client.open_both(&kind("stdin")).await?.1) } else { None };
    let stdout = client.open_reader(&kind("stdout")).await?;
    let stderr = if wanted.tty { None } else { Some(client.open_reader(&kind("stderr")).await?) };
    let (resize, sizes) = mpsc::channel(SIZES_MAX);
    if wanted.tty {
        tokio::spawn(send_sizes(sizes, client.open_both(&kind("resize")).await?.1));
    }
    Ok(ProcessStreams {
        stdin: stdin.map(|pipe| Box::pin(pipe) as Writer),
        stdout: Some(Box::pin(stdout)),
        stderr: stderr.map(|pipe| Box::pin(pipe) as Reader),
        resize,
        exit: exit_code(errors, client).boxed(),
    })
}

async fn send_sizes(mut sizes: mpsc::Receiver<(u16, u16)>, mut pipe: DuplexStream) {
    while let Some((columns, rows)) = sizes.recv().await {
        let text = format!("{{\"Width\":{columns},\"Height\":{rows}}}\n");
        if pipe.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Waits for the last word of the server. The connection is held until then.
async fn exit_code(mut errors: DuplexStream, client: Client) -> Result<i32> {
    let mut text = Vec::new();
    errors.read_to_end(&mut text).await.map_err(|error| RuntimeError::Failed(error.to_string()))?;
    drop(client);
    verdict(&text)
}

/// The exit code that a `metav1.Status` tells.
fn verdict(text: &[u8]) -> Result<i32> {
    let status: Value = serde_json::from_slice(text).map_err(|_| match text.is_empty() {
        true => RuntimeError::Failed("the connection to the container runtime broke".to_owned()),
        false => RuntimeError::Failed(String::from_utf8_lossy(text).into_owned()),
    })?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => Ok(code),
        None => Err(RuntimeError::Failed(status["message"].as_str().unwrap_or("the command failed").to_owned())),
    }
}

/// A forwarded port: two pipes as one connection. What the server has to complain of is the error of the reader.
struct Forwarded {
    reader: DuplexStream,
    writer: DuplexStream,
    error: Option<futures_util::future::BoxFuture<'static, String>>,
    _client: Client,
}

impl AsyncRead for Forwarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // The end: a good one, if the error stream ends without a word.
        let Some(error) = &mut self.error else { return Poll::Ready(Ok(())) };
        let text = ready!(error.as_mut().poll(cx));
        self.error = None;
        Poll::Ready(if text.is_empty() { Ok(()) } else { Err(io::Error::other(text)) })
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_read() {
        assert_eq!(verdict(br#"{"status":"Success"}"#).expect("a code"), 0);
        let failure = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(verdict(failure).expect("a code"), 7);
        let error = verdict(br#"{"status":"Failure","message":"no such container"}"#).expect_err("no code");
        assert_eq!(error.to_string(), "no such container");
        assert!(verdict(b"").expect_err("nothing").to_string().contains("broke"));
        assert_eq!(verdict(b"plain").expect_err("no JSON").to_string(), "plain");
    }
}
