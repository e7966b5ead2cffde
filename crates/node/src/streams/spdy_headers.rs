//! SPDY/3.1 header blocks: zlib with a preset dictionary that both sides know.

use flate2::{Decompress, FlushDecompress};

/// The words of the dictionary, each written with its length in front.
const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,\
accept-ranges,age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,\
content-length,content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,\
if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,\
proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,\
user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,\
keep-alive,origin";
/// Its end, written as it is.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
/// Largest header block that is accepted.
const BLOCK_BYTES_MAX: usize = 64 * 1024;

fn dictionary() -> Vec<u8> {
    let mut out = Vec::with_capacity(1500);
    for word in WORDS.split(',') {
        out.extend_from_slice(&(word.len() as u32).to_be_bytes());
        out.extend_from_slice(word.as_bytes());
    }
    out.extend_from_slice(TAIL.as_bytes());
    out
}

/// Reads the header blocks of one connection, in order.
pub struct Decoder {
    inflate: Decompress,
    began: bool,
}

impl Decoder {
    /// At the start of a connection.
    pub fn new() -> Self {
        // The dictionary is what a zlib window would hold: a stored block of it, read first, puts it there.
        let mut inflate = Decompress::new(false);
        let words = dictionary();
        let length = words.len() as u16;
        let mut block = vec![0];
        block.extend_from_slice(&length.to_le_bytes());
        block.extend_from_slice(&(!length).to_le_bytes());
        block.extend_from_slice(&words);
        let mut sink = vec![0; words.len() + 64];
        let _ = inflate.decompress(&block, &mut sink, FlushDecompress::Sync);
        Self { inflate, began: false }
    }

    /// Names and values of one block.
    pub fn decode(&mut self, mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
        if !self.began {
            // Two bytes of zlib header, and the dictionary's checksum when one is announced.
            let announced = bytes.get(1)? & 0x20 != 0;
            bytes = bytes.get(if announced { 6 } else { 2 }..)?;
            self.began = true;
        }
        let mut out = Vec::new();
        let mut chunk = vec![0; 4096];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            self.inflate.decompress(bytes, &mut chunk, FlushDecompress::Sync).ok()?;
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            out.extend_from_slice(&chunk[..written]);
            bytes = &bytes[read..];
            if out.len() > BLOCK_BYTES_MAX {
                return None;
            }
            if (read == 0 && written == 0) || (bytes.is_empty() && written < chunk.len()) {
                return parse(&out);
            }
        }
    }
}

fn parse(block: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = block;
    let number = |rest: &mut &[u8]| -> Option<usize> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        Some(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let mut text = || -> Option<String> {
            let length = number(&mut rest)?;
            let (text, tail) = (rest.get(..length)?, rest.get(length..)?);
            rest = tail;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let (name, value) = (text()?, text()?);
        headers.push((name, value));
    }
    Some(headers)
}

/// A header block without headers, as all of our replies have it. The first one of a connection starts the zlib stream;
/// blocks are stored, not compressed, which every reader accepts.
pub fn empty_block(first: bool) -> Vec<u8> {
    let mut out = if first { vec![0x78, 0x01] } else { Vec::new() };
    out.extend_from_slice(&[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0]);
    // Go's reader hands out what it has read only at an empty stored block, which every flush ends with.
    out.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    /// What a client sends: headers, compressed without the dictionary.
    pub fn encode(compress: &mut Compress, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(k, v)| [k, v]) {
            block.extend_from_slice(&(text.len() as u32).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(4096);
        compress.compress_vec(&block, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    #[test]
    fn the_dictionary_is_the_known_one() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((b << 16) | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_of_one_connection_share_their_state() {
        let mut compress = Compress::new(Compression::default(), true);
        let mut decoder = Decoder::new();
        for headers in [[("streamtype", "error")], [("streamtype", "stdin")]] {
            let decoded = decoder.decode(&encode(&mut compress, &headers)).unwrap();
            assert_eq!(decoded, [(headers[0].0.to_owned(), headers[0].1.to_owned())]);
        }
    }

    #[test]
    fn a_block_compressed_with_the_dictionary_is_read() {
        // Made by zlib itself, with the dictionary set.
        let bytes = [
            0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xe5, 0x0e, 0x2c, 0x85, 0x09, 0x17, 0xc2, 0x15, 0xe0, 0x54, 0x58,
            0x52, 0x94, 0x9a, 0x98, 0x0b, 0x95, 0x63, 0x4d, 0x05, 0x45, 0x03, 0x00, 0x00, 0x00, 0xff, 0xff,
        ];
        let headers = Decoder::new().decode(&bytes).unwrap();
        let wanted = [("content-type", "text/plain"), ("streamtype", "error")];
        assert_eq!(headers, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn hostile_blocks_are_refused() {
        assert!(Decoder::new().decode(&[]).is_none());
        assert!(Decoder::new().decode(&[0x78, 0x01, 0xff, 0xff, 0xff]).is_none());
        assert!(parse(&[0xff, 0xff, 0xff, 0xff]).is_none());
    }
}
