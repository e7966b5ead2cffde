//! Points and spans of time.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::Line;
use crate::eval::{Evaluated, Machine};
use crate::fault::Fault;
use crate::value::Val;

/// What finding a zone by its name costs: its description is read.
const ZONE_COST: u64 = 50;

const ZONED: &str = "timestamp.()int;timestamp.(string)int";
const ZONED_OR_SPAN: &str = "timestamp.()int;timestamp.(string)int;duration.()int";

pub(super) const LINES: &[Line] = &[
    ("getFullYear", ZONED, |machine, args| part(machine, args, |time| time.year().into())),
    ("getMonth", ZONED, |machine, args| part(machine, args, |time| i64::from(time.month()) - 1)),
    ("getDate", ZONED, |machine, args| part(machine, args, |time| time.day().into())),
    ("getDayOfMonth", ZONED, |machine, args| part(machine, args, |time| i64::from(time.day()) - 1)),
    ("getDayOfYear", ZONED, |machine, args| part(machine, args, |time| i64::from(time.day_of_year()) - 1)),
    ("getDayOfWeek", ZONED, |machine, args| part(machine, args, |time| time.weekday().to_sunday_zero_offset().into())),
    ("getHours", ZONED_OR_SPAN, |machine, args| {
        part_or_span(machine, args, |time| time.hour().into(), SignedDuration::as_hours)
    }),
    ("getMinutes", ZONED_OR_SPAN, |machine, args| {
        part_or_span(machine, args, |time| time.minute().into(), SignedDuration::as_mins)
    }),
    ("getSeconds", ZONED_OR_SPAN, |machine, args| {
        part_or_span(machine, args, |time| time.second().into(), SignedDuration::as_secs)
    }),
    ("getMilliseconds", ZONED_OR_SPAN, |machine, args| {
        let whole = |span: &SignedDuration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        part_or_span(machine, args, |time| time.millisecond().into(), whole)
    }),
];

fn part<'a>(machine: &mut Machine<'_, 'a>, args: &[Val<'a>], of: fn(&Zoned) -> i64) -> Evaluated<'a> {
    machine.spend(1)?;
    let (time, zone) = match args {
        [Val::Timestamp(time)] => (time, TimeZone::UTC),
        [Val::Timestamp(time), Val::String(name)] => {
            machine.spend(ZONE_COST)?;
            (time, zone(name)?)
        }
        _ => return Err(Fault::NoOverload),
    };
    Ok(Val::Int(of(&time.to_zoned(zone))))
}

fn part_or_span<'a>(
    machine: &mut Machine<'_, 'a>,
    args: &[Val<'a>],
    of: fn(&Zoned) -> i64,
    span: fn(&SignedDuration) -> i64,
) -> Evaluated<'a> {
    match args {
        [Val::Duration(duration)] => {
            machine.spend(1)?;
            Ok(Val::Int(span(duration)))
        }
        _ => part(machine, args, of),
    }
}

/// A zone by its name, or by what it is off: `-08:00`.
fn zone(name: &str) -> Result<TimeZone, Fault> {
    let unknown = || Fault::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        if matches!(name, "" | "UTC") {
            return Ok(TimeZone::UTC);
        }
        return machinery::time_zone::load(name).ok_or_else(unknown);
    };
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let digits = hours.strip_prefix(['-', '+']).unwrap_or(hours);
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten();
    let (hours, minutes) = (number(digits).ok_or_else(unknown)?, number(minutes).ok_or_else(unknown)?);
    if hours > 25 || minutes > 59 {
        return Err(unknown());
    }
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| unknown())?;
    Ok(TimeZone::fixed(offset))
}

/// A point in time from year 1 to 9999, as RFC 3339 writes it. DIVERGES: the last two days of year 9999 are not known.
pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, Fault> {
    let wrong = || Fault::new(format!("invalid RFC 3339 timestamp {text:?}"));
    let bytes = text.as_bytes();
    // The library reads more forms than the RFC's.
    if bytes.len() < 20 || bytes[10] != b'T' || !text.is_ascii() {
        return Err(wrong());
    }
    let has_zone = text.ends_with('Z') || text[19..].contains(['+', '-']);
    let time: Timestamp = text.parse().ok().filter(|_| has_zone && !text.contains('[')).ok_or_else(wrong)?;
    in_years(time).ok_or_else(wrong)
}

fn in_years(time: Timestamp) -> Option<Timestamp> {
    // 0001-01-01T00:00:00Z
    (time.as_second() >= -62_135_596_800).then_some(time)
}

/// RFC 3339, with as many digits of a second as there are.
pub(crate) fn format_timestamp(time: Timestamp) -> String {
    time.to_string()
}

/// A span of time as Go writes one.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration, Fault> {
    let nanos = machinery::duration::parse_go(text);
    nanos.map(SignedDuration::from_nanos).map_err(|wrong| Fault::new(format!("time: {wrong}")))
}

/// `1.5s`
pub(crate) fn format_duration(span: SignedDuration) -> String {
    let nanos = span.as_nanos();
    let (whole, rest) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    let sign = if nanos < 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{sign}{whole}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{whole}.{}s", fraction.trim_end_matches('0'))
}

/// A span that Go's clock can hold: 64 bits of nanoseconds.
pub(super) fn bounded(span: SignedDuration) -> Option<SignedDuration> {
    i64::try_from(span.as_nanos()).is_ok().then_some(span)
}

pub(super) fn add<'a>(time: Timestamp, span: SignedDuration) -> Evaluated<'a> {
    let sum = time.checked_add(span).ok().and_then(in_years);
    sum.map(Val::Timestamp).ok_or(Fault::new("timestamp overflow"))
}

pub(super) fn since(later: Timestamp, earlier: Timestamp) -> SignedDuration {
    later.duration_since(earlier)
}
