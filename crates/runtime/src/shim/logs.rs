//! Container logs in CRI's format: `2006-01-02T15:04:05.000000000Z stdout F line`, `P` for a piece of a longer line.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log larger than this is moved aside (upstream's containerLogMaxSize). The agent looks at sizes every ten seconds only, and
/// may be away; a flood of output must not fill the disk meanwhile.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// Files kept of one log, the current one included (upstream's containerLogMaxFiles).
const FILES_MAX: usize = 5;
/// Longer lines are cut into pieces of this size, as containerd does.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One container's log file. What cannot be written (a full disk) is lost: a container never waits for its log.
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    /// The file's size in bytes.
    size: u64,
    /// What came of the line that has not ended yet, per stream.
    pending: [Vec<u8>; 2],
    formatted: Vec<u8>,
}

fn open(path: &Path) -> std::io::Result<Option<File>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    File::options().create(true).append(true).mode(0o640).open(path).map(Some)
}

impl Log {
    /// Opens the log at `path`; an empty path is no log.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = open(path)?;
        let size = size(file.as_ref());
        Ok(Self { path: path.to_owned(), file, size, pending: Default::default(), formatted: Vec::new() })
    }

    /// Opens the file anew after somebody moved it away.
    pub fn reopen(&mut self) -> std::io::Result<()> {
        self.file = open(&self.path)?;
        self.size = size(self.file.as_ref());
        Ok(())
    }

    /// Adds bytes of a stream; whole lines go to the file in one write.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let stamp = stamp();
        let pending = &mut self.pending[stream as usize];
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - pending.len();
            match bytes.iter().take(room + 1).position(|byte| *byte == b'\n') {
                Some(end) => {
                    push_line(&mut self.formatted, &stamp, stream, b'F', &[pending, &bytes[..end]]);
                    pending.clear();
                    bytes = &bytes[end + 1..];
                }
                None if bytes.len() > room => {
                    push_line(&mut self.formatted, &stamp, stream, b'P', &[pending, &bytes[..room]]);
                    pending.clear();
                    bytes = &bytes[room..];
                }
                None => {
                    pending.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
        self.flush_formatted();
    }

    /// Ends a stream: a last line without an end is a piece of one, as containerd writes it, so that no reader adds an end.
    pub fn finish(&mut self, stream: Stream) {
        let pending = std::mem::take(&mut self.pending[stream as usize]);
        if !pending.is_empty() {
            push_line(&mut self.formatted, &stamp(), stream, b'P', &[&pending]);
            self.flush_formatted();
        }
    }

    fn flush_formatted(&mut self) {
        if let Some(file) = &mut self.file
            && !self.formatted.is_empty()
        {
            let _ = file.write_all(&self.formatted);
            self.size += self.formatted.len() as u64;
        }
        if self.size > FILE_BYTES_MAX && rotate(&self.path).is_ok() {
            let _ = self.reopen();
        }
        self.formatted.clear();
        // A shim idles for weeks: it keeps no memory for the one long line it saw.
        self.formatted.shrink_to(4096);
        for pending in &mut self.pending {
            if pending.is_empty() {
                pending.shrink_to(1024);
            }
        }
    }
}

fn size(file: Option<&File>) -> u64 {
    file.and_then(|file| file.metadata().ok()).map_or(0, |data| data.len())
}

/// Moves a log aside, under the time as upstream names it, and removes the oldest.
fn rotate(path: &Path) -> std::io::Result<()> {
    let now = seams::clock::now();
    let stamp = now.strftime("%Y%m%d-%H%M%S");
    std::fs::rename(path, format!("{}.{stamp}.{:09}", path.display(), now.subsec_nanosecond()))?;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(directory)?.flatten();
    let own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let mut old: Vec<PathBuf> = own.map(|entry| entry.path()).collect();
    old.sort();
    let surplus = old.len().saturating_sub(FILES_MAX - 1);
    old.iter().take(surplus).try_for_each(std::fs::remove_file)
}

fn push_line(out: &mut Vec<u8>, stamp: &[u8], stream: Stream, tag: u8, parts: &[&[u8]]) {
    out.extend_from_slice(stamp);
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(&[b' ', tag, b' ']);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'\n');
}

/// The time now, with all nine digits.
fn stamp() -> Vec<u8> {
    format!("{:.9}", seams::clock::now()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).expect("the log is there");
        text.lines()
            .map(|line| {
                let (stamp, rest) = line.split_once(' ').expect("a time stamp");
                assert!(stamp.len() == 30 && stamp.ends_with('Z'), "{stamp}");
                (rest[..8].to_owned(), rest[9..].to_owned())
            })
            .collect()
    }

    #[test]
    fn lines_are_joined_cut_and_finished() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("sub/0.log");
        let mut log = Log::open(&path).expect("opens");
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"oops\n");
        log.write(Stream::Stdout, b"o\n\n");
        log.write(Stream::Stdout, &[b'x'; LINE_BYTES_MAX + 3]);
        log.write(Stream::Stdout, b"\nlast");
        log.finish(Stream::Stdout);
        let long = "x".repeat(LINE_BYTES_MAX);
        let expected = [
            ("stdout F", "one"),
            ("stderr F", "oops"),
            ("stdout F", "two"),
            ("stdout F", ""),
            ("stdout P", long.as_str()),
            ("stdout F", "xxx"),
            ("stdout P", "last"),
        ];
        assert_eq!(lines(&path), expected.map(|(tag, text)| (tag.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_line_of_exactly_the_most_bytes_is_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("0.log");
        let mut log = Log::open(&path).expect("opens");
        let mut line = vec![b'y'; LINE_BYTES_MAX];
        line.push(b'\n');
        log.write(Stream::Stdout, &line);
        assert_eq!(lines(&path).len(), 1);
        assert_eq!(lines(&path)[0].0, "stdout F");
    }

    #[test]
    fn a_flood_stays_within_five_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("0.log");
        let mut log = Log::open(&path).expect("opens");
        let lines = [b"a line of sixteen\n".as_slice(); 900].concat();
        for _ in 0..5_000 {
            log.write(Stream::Stdout, &lines);
        }
        let entries = std::fs::read_dir(directory.path()).expect("there").flatten();
        let sizes: Vec<u64> = entries.map(|entry| entry.metadata().expect("there").len()).collect();
        assert_eq!(sizes.len(), FILES_MAX);
        assert!(sizes.iter().all(|size| *size < FILE_BYTES_MAX + (1 << 20)), "{sizes:?}");
        assert!(log.formatted.capacity() <= 1 << 16);
    }

    #[test]
    fn a_moved_log_is_opened_anew() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("0.log");
        let mut log = Log::open(&path).expect("opens");
        log.write(Stream::Stdout, b"old\n");
        std::fs::rename(&path, directory.path().join("0.log.1")).expect("renames");
        log.reopen().expect("opens");
        log.write(Stream::Stdout, b"new\n");
        assert_eq!(lines(&path)[0].1, "new");
    }
}
