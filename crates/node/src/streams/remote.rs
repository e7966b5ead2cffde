//! Remote commands (exec, attach), apart from the protocol that carries them.

use bytes::Bytes;
use machinery::Value;
use runtime::{ProcessStreams, RuntimeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes read from a process at a time.
const BLOCK_BYTES: usize = 32 * 1024;
/// How long the streams may be silent after the end of the process.
const DRAIN_MAX: std::time::Duration = std::time::Duration::from_secs(2);
/// Messages that wait for a slow side.
pub const MESSAGES_MAX: usize = 16;

/// The streams of remotecommand, with their numbers in the WebSocket protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// 0
    Stdin,
    /// 1
    Stdout,
    /// 2
    Stderr,
    /// 3
    Error,
    /// 4
    Resize,
}

impl Channel {
    /// By number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error, Self::Resize].get(usize::from(number)).copied()
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Error => 3,
            Self::Resize => 4,
        }
    }
}

/// A message on a channel; `None` closes it.
pub type Message = (Channel, Option<Bytes>);

/// The client's side of a remote command.
pub struct Remote {
    /// From the client.
    pub incoming: mpsc::Receiver<Message>,
    /// To the client. The protocol ends the connection when this is dropped.
    pub outgoing: mpsc::Sender<Message>,
    /// Whether the error channel carries a `metav1.Status` (v4 and later) or plain text.
    pub status_errors: bool,
}

/// Connects a process with its client until the process ends.
pub async fn connect(process: Result<ProcessStreams, RuntimeError>, remote: Remote, what: &str) {
    let Remote { incoming, outgoing, status_errors } = remote;
    let result = match process {
        Ok(process) => run(process, incoming, &outgoing).await,
        Err(error) => Err(error),
    };
    let text = verdict(result, what, status_errors);
    if !text.is_empty() {
        let _ = outgoing.send((Channel::Error, Some(text.into()))).await;
    }
    for channel in [Channel::Stdout, Channel::Stderr, Channel::Error] {
        let _ = outgoing.send((channel, None)).await;
    }
}

async fn run(
    process: ProcessStreams,
    incoming: mpsc::Receiver<Message>,
    outgoing: &mpsc::Sender<Message>,
) -> Result<i32, RuntimeError> {
    let ProcessStreams { stdin, stdout, stderr, resize, exit } = process;
    let input = tokio::spawn(feed(incoming, stdin, resize));
    let mut out = tokio::spawn(drain(stdout, Channel::Stdout, outgoing.clone()));
    let mut err = tokio::spawn(drain(stderr, Channel::Stderr, outgoing.clone()));
    let gone = outgoing.clone();
    let result = tokio::select! {
        result = exit => result,
        () = gone.closed() => Err(RuntimeError::Failed("the client went away".to_owned())),
    };
    if result.is_ok() {
        // A process that was left behind may hold the streams open for ever: then nothing is on its way to the client.
        let rest = async { tokio::join!(&mut out, &mut err) };
        tokio::pin!(rest);
        while tokio::time::timeout(DRAIN_MAX, &mut rest).await.is_err() && outgoing.capacity() < MESSAGES_MAX {}
    }
    // Dropping the streams closes the terminal: a shell whose client went away is told so.
    input.abort();
    out.abort();
    err.abort();
    result
}

async fn feed(
    mut incoming: mpsc::Receiver<Message>,
    mut stdin: Option<runtime::Writer>,
    resize: mpsc::Sender<(u16, u16)>,
) {
    while let Some((channel, bytes)) = incoming.recv().await {
        match (channel, bytes) {
            (Channel::Stdin, Some(bytes)) => {
                if let Some(pipe) = &mut stdin
                    && (pipe.write_all(&bytes).await.is_err() || pipe.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            (Channel::Stdin, None) => {
                if let Some(mut pipe) = stdin.take() {
                    let _ = pipe.shutdown().await;
                }
            }
            (Channel::Resize, Some(bytes)) => {
                if let Some(size) = terminal_size(&bytes) {
                    let _ = resize.send(size).await;
                }
            }
            _ => {}
        }
    }
}

/// `{"Width":80,"Height":24}`
fn terminal_size(bytes: &[u8]) -> Option<(u16, u16)> {
    let tree = Value::parse(bytes).ok()?;
    let side = |name: &str| tree.i64_at(&[name]).and_then(|n| u16::try_from(n).ok());
    Some((side("Width")?, side("Height")?))
}

async fn drain(reader: Option<runtime::Reader>, channel: Channel, outgoing: mpsc::Sender<Message>) {
    let Some(mut reader) = reader else { return };
    let mut block = vec![0; BLOCK_BYTES];
    while let Ok(count) = reader.read(&mut block).await {
        let bytes = Bytes::copy_from_slice(&block[..count]);
        if count == 0 || outgoing.send((channel, Some(bytes))).await.is_err() {
            return;
        }
    }
}

/// What the error channel says at the end.
fn verdict(result: Result<i32, RuntimeError>, what: &str, status: bool) -> String {
    let mut tree = Value::object();
    tree.set_at(&["metadata"], Value::object());
    let message = match result {
        Ok(0) if !status => return String::new(),
        Ok(0) => {
            tree.set_at(&["status"], "Success");
            return text(&tree);
        }
        Ok(code) => {
            let mut cause = Value::object();
            cause.set_at(&["reason"], "ExitCode");
            cause.set_at(&["message"], code.to_string());
            tree.set_at(&["reason"], "NonZeroExitCode");
            tree.set_at(&["details", "causes"], vec![cause]);
            format!("command terminated with non-zero exit code: exit status {code}")
        }
        Err(error) => {
            tree.set_at(&["reason"], "InternalError");
            tree.set_at(&["code"], 500);
            let message = format!("error {what} container: {error}");
            let mut cause = Value::object();
            cause.set_at(&["message"], message.clone());
            tree.set_at(&["details", "causes"], vec![cause]);
            format!("Internal error occurred: {message}")
        }
    };
    if !status {
        return message;
    }
    tree.set_at(&["status"], "Failure");
    tree.set_at(&["message"], message);
    text(&tree)
}

fn text(tree: &Value) -> String {
    String::from_utf8(tree.to_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_told_as_kubectl_reads_them() {
        let told = Value::parse(verdict(Ok(3), "executing command in", true).as_bytes()).unwrap();
        assert_eq!(told.str_at(&["reason"]), Some("NonZeroExitCode"));
        let cause = &told.at(&["details", "causes"]).and_then(Value::as_array).unwrap()[0];
        assert_eq!((cause.str_at(&["reason"]), cause.str_at(&["message"])), (Some("ExitCode"), Some("3")));
        assert_eq!(verdict(Ok(0), "", false), "");
        assert!(verdict(Ok(0), "", true).contains("Success"));
    }

    #[test]
    fn terminal_sizes_are_read() {
        assert_eq!(terminal_size(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
        assert_eq!(terminal_size(br#"{"Width":-1,"Height":24}"#), None);
    }
}
