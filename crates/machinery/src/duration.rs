//! Durations: Go's text form (`1h2m3.5s`, in `metav1.Duration`), and the short human form of tables (`5m10s`, `2d`).

/// Why a text is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that is none.
    #[error("time: unknown unit {0:?} in duration {1:?}")]
    UnknownUnit(String, String),
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads Go's text form. Gives nanoseconds.
pub fn parse_go(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, fraction);
        (whole, rest) = split_digits(rest);
        (fraction, rest) = match rest.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_text = &rest[..unit_len];
        rest = &rest[unit_len..];
        if unit_text.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == unit_text)
            .ok_or_else(|| DurationError::UnknownUnit(unit_text.to_owned(), text.to_owned()))?;
        let part = part_nanos(whole, fraction, *unit).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|total| *total <= i64::MIN.unsigned_abs()).ok_or_else(invalid)?;
    }
    let signed = if text.starts_with('-') { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
    signed.ok_or_else(invalid)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The digits of a fraction are a whole number over a power of ten, as in Go: `0.52` times a unit would be cut off one too low.
fn part_nanos(whole: &str, fraction: &str, unit: i64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (mut digits, mut scale) = (0_i64, 1.0);
    for digit in fraction.bytes() {
        // Digits beyond what fits say nothing about nanoseconds.
        let Some(more) = digits.checked_mul(10).and_then(|d| d.checked_add(i64::from(digit - b'0'))) else { break };
        (digits, scale) = (more, scale * 10.0);
    }
    let part = (digits as f64 * (unit as f64 / scale)) as u64;
    whole.checked_mul(unit.unsigned_abs())?.checked_add(part)
}

/// Writes nanoseconds in Go's text form.
pub fn format_go(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        let rest = if digits == 0 { "" } else { rest.trim_end_matches('0') };
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{}{point}{rest}{name}", value / unit)
    };
    match n {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => fraction(n, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(n, 1_000_000, "ms"),
        _ => {
            let (minutes, below) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = fraction(below, 1_000_000_000, "s");
            let seconds = seconds.trim_start_matches('-');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, m) => format!("{sign}{m}m{seconds}"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}"),
            }
        }
    }
}

/// The form of ages in tables, with two or three significant figures (upstream's `HumanDuration`).
pub fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// The form with one unit (upstream's `ShortHumanDuration`).
pub fn short_human(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_in_upstreams_tables() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (310, "5m10s"),
            (599, "9m59s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (180 * 60, "3h"),
            (200 * 60, "3h20m"),
            (8 * 3600, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86_400, "8d"),
            (729 * 86_400, "729d"),
            (730 * 86_400, "2y"),
            (731 * 86_400, "2y1d"),
            (3000 * 86_400, "8y"),
        ];
        for (seconds, wanted) in cases {
            assert_eq!(human(seconds), wanted, "{seconds}");
        }
        assert_eq!(short_human(3 * 86_400 + 5), "3d");
    }

    #[test]
    fn gos_durations_read_and_write() {
        for text in ["1h2m3.5s", "5m0s", "1.5s", "100ms", "2.5µs", "7ns", "-1m0s", "0s", "36h0m0s"] {
            assert_eq!(format_go(parse_go(text).unwrap()), text);
        }
        assert_eq!(parse_go("1.5h").map(format_go).unwrap(), "1h30m0s");
        assert_eq!(parse_go("2m.52ms").map(format_go).unwrap(), "2m0.00052s");
        assert_eq!(parse_go("2m0.00052s").unwrap(), 120_000_520_000);
        assert_eq!(parse_go(&format_go(i64::MIN)), Ok(i64::MIN));
        assert!(parse_go("9223372036854775808ns").is_err() && parse_go("0.99999999999999999999999s").is_ok());
        assert_eq!(parse_go("3").unwrap_err().to_string(), r#"time: missing unit in duration "3""#);
        assert_eq!(parse_go("3x").unwrap_err().to_string(), r#"time: unknown unit "x" in duration "3x""#);
        assert_eq!(parse_go("x").unwrap_err().to_string(), r#"time: invalid duration "x""#);
    }
}
