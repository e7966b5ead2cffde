//! Reading logs in CRI format: `2026-11-21T01:02:03.000000004Z stdout F text`, P for a part of a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// Bytes read at a time when the end of a log is searched from its back.
const BLOCK_BYTES: u64 = 64 * 1024;
/// How long a follower waits before it looks for more.
const FOLLOW_WAIT: Duration = Duration::from_millis(100);

/// Which part of a log is asked for (`v1.PodLogOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as the log grows.
    pub follow: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<usize>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// Put each line's time in front.
    pub timestamps: bool,
    /// Stop after this many bytes.
    pub limit_bytes: Option<usize>,
    /// Only `Stdout` or `Stderr`.
    pub stream: Option<String>,
}

/// One entry of a log.
struct Entry<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Entry {
        time: std::str::from_utf8(time).ok()?,
        stream: std::str::from_utf8(stream).ok()?,
        partial: tag.split(|b| *b == b':').next() == Some(b"P"),
        text: parts.next().unwrap_or_default(),
    })
}

/// Turns entries into what the reader asked for.
struct Formatter {
    options: LogOptions,
    left: Option<usize>,
    in_line: bool,
}

impl Formatter {
    fn new(options: LogOptions) -> Self {
        let left = options.limit_bytes;
        Self { options, left, in_line: false }
    }

    /// What one raw line (newline included) becomes.
    fn format(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(entry) = parse(raw.strip_suffix(b"\n").unwrap_or(raw)) else { return };
        let wanted = self.options.stream.as_deref();
        if wanted.is_some_and(|w| !w.eq_ignore_ascii_case("all") && !w.eq_ignore_ascii_case(entry.stream)) {
            return;
        }
        if let Some(since) = self.options.since
            && entry.time.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return;
        }
        let start = out.len();
        if self.options.timestamps && !self.in_line {
            out.extend_from_slice(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        if !entry.partial {
            out.push(b'\n');
        }
        self.in_line = entry.partial;
        if let Some(left) = &mut self.left {
            let most = (*left).min(out.len() - start);
            out.truncate(start + most);
            *left -= most;
        }
    }

    fn is_full(&self) -> bool {
        self.left == Some(0)
    }
}

/// Where the last `lines` whole lines begin.
fn tail_offset(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut found) = (end, 0);
    let mut block = vec![0; BLOCK_BYTES as usize];
    while at > 0 {
        let size = BLOCK_BYTES.min(at);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let part = &mut block[..size as usize];
        file.read_exact(part)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let position = at + index as u64;
            if position + 1 == end {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(position + 1);
            }
        }
    }
    Ok(0)
}

/// The end of a log as plain text, bounded in lines and bytes.
pub fn tail_text(path: &Path, lines: usize, bytes: usize) -> String {
    let options = LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
    let mut out = Vec::new();
    if let Ok(mut reader) = Reader::open(path, options) {
        let _ = reader.read(&mut out);
    }
    let from = out.len().saturating_sub(bytes);
    String::from_utf8_lossy(&out[from..]).into_owned()
}

/// A log that is being read. Survives its rotation.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    formatter: Formatter,
    pending: Vec<u8>,
}

impl Reader {
    fn open(path: &Path, options: LogOptions) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let start = match options.tail_lines {
            Some(lines) => tail_offset(&mut file, lines)?,
            None => 0,
        };
        file.seek(SeekFrom::Start(start))?;
        let formatter = Formatter::new(options);
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), formatter, pending: Vec::new() })
    }

    /// Reads up to the end, or about a block.
    fn read(&mut self, out: &mut Vec<u8>) -> std::io::Result<bool> {
        while out.len() < BLOCK_BYTES as usize && !self.formatter.is_full() {
            if self.file.read_until(b'\n', &mut self.pending)? == 0 {
                return Ok(true);
            }
            if self.pending.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.pending);
                self.formatter.format(&line, out);
            }
        }
        Ok(self.formatter.is_full())
    }

    /// After the end was reached: goes on in the new file when the log was rotated.
    fn follow_rotation(&mut self) -> bool {
        let Ok(fresh) = File::open(&self.path) else { return false };
        let inode = |file: &File| file.metadata().map(|m| m.ino()).ok();
        if inode(&fresh) == inode(self.file.get_ref()) {
            return false;
        }
        self.file = BufReader::new(fresh);
        true
    }
}

/// Reads a log into a channel until its end, or as long as `running` says so when following.
pub async fn stream(
    path: PathBuf,
    options: LogOptions,
    out: mpsc::Sender<Bytes>,
    running: impl Fn() -> BoxFuture<'static, bool>,
) -> std::io::Result<()> {
    let follow = options.follow;
    let mut reader = tokio::task::spawn_blocking(move || Reader::open(&path, options)).await??;
    let mut last_round = false;
    loop {
        let (back, chunk, at_end) = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::new();
            let at_end = reader.read(&mut chunk);
            (reader, chunk, at_end)
        })
        .await?;
        reader = back;
        let (at_end, empty) = (at_end?, chunk.is_empty());
        if !empty && out.send(chunk.into()).await.is_err() {
            return Ok(());
        }
        if !at_end {
            continue;
        }
        if !follow || reader.formatter.is_full() {
            return Ok(());
        }
        if reader.follow_rotation() {
            continue;
        }
        if last_round {
            return Ok(());
        }
        // What was written before the container ended is read once more after its end was seen.
        last_round = !running().await;
        if !last_round {
            tokio::select! {
                () = tokio::time::sleep(FOLLOW_WAIT) => {}
                () = out.closed() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000001Z stdout F one\n\
        2026-01-01T00:00:02.000000001Z stderr P tw\n\
        2026-01-01T00:00:02.000000002Z stderr F o\n\
        2026-01-01T00:00:03.000000001Z stdout F three\n";

    fn read(options: LogOptions) -> String {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let mut out = Vec::new();
        Reader::open(&path, options).unwrap().read(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_of_lines_are_joined() {
        assert_eq!(read(LogOptions::default()), "one\ntwo\nthree\n");
    }

    #[test]
    fn options_cut_the_log() {
        let with = LogOptions::default;
        assert_eq!(read(LogOptions { tail_lines: Some(1), ..with() }), "three\n");
        assert_eq!(read(LogOptions { tail_lines: Some(0), ..with() }), "");
        assert_eq!(read(LogOptions { tail_lines: Some(9), ..with() }), "one\ntwo\nthree\n");
        assert_eq!(read(LogOptions { limit_bytes: Some(5), ..with() }), "one\nt");
        assert_eq!(read(LogOptions { stream: Some("Stdout".into()), ..with() }), "one\nthree\n");
        let since = "2026-01-01T00:00:03Z".parse().ok();
        assert_eq!(read(LogOptions { since, ..with() }), "three\n");
        let stamped = read(LogOptions { timestamps: true, tail_lines: Some(1), ..with() });
        assert_eq!(stamped, "2026-01-01T00:00:03.000000001Z three\n");
    }

    #[tokio::test]
    async fn a_follower_survives_a_rotation() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (out, mut chunks) = mpsc::channel(8);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let task = tokio::spawn(stream(path.clone(), options, out, || Box::pin(async { true })));
        assert_eq!(chunks.recv().await.unwrap(), "one\ntwo\nthree\n");
        std::fs::rename(&path, place.path().join("0.log.old")).unwrap();
        std::fs::write(&path, "2026-01-01T00:00:04Z stdout F four\n").unwrap();
        assert_eq!(chunks.recv().await.unwrap(), "four\n");
        drop(chunks);
        task.await.unwrap().unwrap();
    }
}
