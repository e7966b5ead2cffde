//! RFC 3339 times as the API writes them: [`format`] for `metav1.Time`, [`format_micro`] for `metav1.MicroTime`.

use jiff::{Timestamp, civil};

/// Why a text is no time, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// A part does not read.
    #[error("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}")]
    Part {
        /// The whole text.
        text: String,
        /// The layout.
        layout: &'static str,
        /// What was left of the text.
        rest: String,
        /// The part of the layout.
        part: &'static str,
    },
    /// A part reads, but there is no such month, day …
    #[error("parsing time {text:?}: {what} out of range")]
    Range {
        /// The whole text.
        text: String,
        /// Which.
        what: &'static str,
    },
    /// Something stands after the end.
    #[error("parsing time {text:?}: extra text: {rest:?}")]
    Extra {
        /// The whole text.
        text: String,
        /// What stands there.
        rest: String,
    },
}

/// The beginning of the year 0, in seconds since 1970.
pub(crate) const YEAR_0_SECONDS: i64 = -62_167_219_200;
const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads a `metav1.Time`: RFC 3339, with or without a fraction.
pub fn parse(text: &str) -> Result<Timestamp, TimeError> {
    Reader { text, rest: text, layout: SECONDS }.read()
}

/// Reads a `metav1.MicroTime`: RFC 3339 with six digits of fraction.
pub fn parse_micro(text: &str) -> Result<Timestamp, TimeError> {
    Reader { text, rest: text, layout: MICROS }.read()
}

/// `2024-01-02T03:04:05Z`
pub fn format(time: Timestamp) -> String {
    let t = jiff::tz::Offset::UTC.to_datetime(time);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", t.year(), t.month(), t.day(), t.hour(), t.minute(), t.second())
}

/// Whether a text which [`parse`] reads is written as [`format`] writes it.
pub(crate) fn is_canonical(text: &str) -> bool {
    text.len() == "2006-01-02T15:04:05Z".len() && text.ends_with('Z')
}

/// `2024-01-02T03:04:05.000006Z`
pub fn format_micro(time: Timestamp) -> String {
    let mut text = format(time);
    let micros = jiff::tz::Offset::UTC.to_datetime(time).subsec_nanosecond() / 1000;
    text.truncate(text.len() - 1);
    text + &format!(".{micros:06}Z")
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Timestamp, TimeError> {
        let year = self.number(4, 4, "2006")?;
        self.literal("-")?;
        let month = self.number(2, 2, "01")?;
        self.in_range("month", (1..=12).contains(&month))?;
        self.literal("-")?;
        let day = self.number(2, 2, "02")?;
        self.literal("T")?;
        let hour = self.number(1, 2, "15")?;
        self.in_range("hour", hour < 24)?;
        self.literal(":")?;
        let minute = self.number(2, 2, "04")?;
        self.in_range("minute", minute < 60)?;
        self.literal(":")?;
        let second = self.number(2, 2, "05")?;
        self.in_range("second", second < 60)?;
        let nanos = self.fraction()?;
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(TimeError::Extra { text: self.text.into(), rest: self.rest.into() });
        }
        let small = |n: i32| i8::try_from(n).expect("it was read from two digits");
        let year = i16::try_from(year).expect("it was read from four digits");
        let local =
            civil::DateTime::new(year, small(month), small(day), small(hour), small(minute), small(second), nanos)
                .map_err(|_| self.range("day"))?;
        let utc = jiff::tz::Offset::UTC.to_timestamp(local).map_err(|_| self.range("year"))?;
        let utc = utc.checked_sub(jiff::SignedDuration::from_secs(offset)).map_err(|_| self.range("year"))?;
        // East of Greenwich the year 0 begins in one that cannot be written.
        self.in_range("year", utc.as_second() >= YEAR_0_SECONDS).map(|()| utc)
    }

    fn bad(&self, part: &'static str) -> TimeError {
        TimeError::Part { text: self.text.into(), layout: self.layout, rest: self.rest.into(), part }
    }

    fn range(&self, what: &'static str) -> TimeError {
        TimeError::Range { text: self.text.into(), what }
    }

    fn in_range(&self, what: &'static str, holds: bool) -> Result<(), TimeError> {
        if holds { Ok(()) } else { Err(self.range(what)) }
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), TimeError> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.bad(literal))?;
        Ok(())
    }

    fn number(&mut self, min: usize, max: usize, part: &'static str) -> Result<i32, TimeError> {
        let digits = self.rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        if digits < min {
            return Err(self.bad(part));
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        Ok(number.parse().expect("a few digits are a number"))
    }

    /// Nanoseconds. Go reads a fraction where the layout has none, and wants the layout's digits where it has one.
    fn fraction(&mut self) -> Result<i32, TimeError> {
        let point = self.rest.starts_with(['.', ',']);
        let digits = self.rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
        let wanted = if self.layout == MICROS { 6 } else { digits };
        if self.layout == MICROS && (!point || digits < wanted) {
            return Err(self.bad(".000000"));
        }
        if !point || wanted == 0 {
            return Ok(0);
        }
        let mut nanos = 0;
        for i in 0..9 {
            let digit = if i < wanted { i32::from(self.rest.as_bytes()[1 + i] - b'0') } else { 0 };
            nanos = nanos * 10 + digit;
        }
        self.rest = &self.rest[1 + wanted..];
        Ok(nanos)
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Result<i64, TimeError> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let part = "Z07:00";
        let bytes = self.rest.as_bytes();
        let digit = |i: usize| bytes.get(i).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'));
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.bad(part)),
        };
        let (Some(h1), Some(h2), Some(b':'), Some(m1), Some(m2)) =
            (digit(1), digit(2), bytes.get(3), digit(4), digit(5))
        else {
            return Err(self.bad(part));
        };
        let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
        self.in_range("time zone offset hour", hours <= 24)?;
        self.in_range("time zone offset minute", minutes < 60)?;
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_write_as_the_api_has_them() {
        let time = parse("2024-02-29T23:30:05.123456789-01:30").unwrap();
        assert_eq!(format(time), "2024-03-01T01:00:05Z");
        assert_eq!(format_micro(time), "2024-03-01T01:00:05.123456Z");
        assert_eq!(
            parse_micro("2024-03-01T01:00:05.123456Z").map(format_micro).unwrap(),
            "2024-03-01T01:00:05.123456Z"
        );
    }

    #[test]
    fn errors_are_worded_as_gos() {
        let cases = [
            ("abc", r#"parsing time "abc" as "2006-01-02T15:04:05Z07:00": cannot parse "abc" as "2006""#),
            ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2024-13-01T00:00:00Z", r#"parsing time "2024-13-01T00:00:00Z": month out of range"#),
            ("2023-02-29T00:00:00Z", r#"parsing time "2023-02-29T00:00:00Z": day out of range"#),
            ("2023-02-28T00:00:00Zx", r#"parsing time "2023-02-28T00:00:00Zx": extra text: "x""#),
            (
                "2023-02-28 00:00:00Z",
                r#"parsing time "2023-02-28 00:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T""#,
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), wanted);
        }
        assert!(parse_micro("2024-03-01T01:00:05Z").is_err());
    }
}
