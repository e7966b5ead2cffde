//! Schedules of cron jobs, in the standard form of five fields or by a descriptor (`@daily`, `@every 1h`).

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

use crate::duration;

/// When a cron job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// At the minutes that all fields have.
    Fields(Fields),
    /// Every so many seconds.
    Every(i64),
}

/// Sets of numbers, one bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 1 to 31.
    pub days: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0 (Sunday) to 6.
    pub weekdays: u64,
    /// Whether the day of the month is a star. When neither this nor the next is one, either day will do.
    pub any_day: bool,
    /// Whether the day of the week is a star.
    pub any_weekday: bool,
}

/// The lowest and the highest number of a field, and names for numbers.
struct Bounds {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: &MONTHS },
    Bounds { min: 0, max: 6, names: &WEEKDAYS },
];

impl Schedule {
    /// Reads a schedule. Errors are worded like those of the parser that Kubernetes uses.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let text = without_zone(text);
        if text.starts_with('@') {
            return descriptor(text);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != FIELDS.len() {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", words.len(), words.join(" ")));
        }
        let mut sets = [(0, false); 5];
        for ((set, word), bounds) in sets.iter_mut().zip(words).zip(&FIELDS) {
            *set = field(word, bounds)?;
        }
        let [minutes, hours, days, months, weekdays] = sets;
        Ok(Self::Fields(Fields {
            minutes: minutes.0,
            hours: hours.0,
            days: days.0,
            months: months.0,
            weekdays: weekdays.0,
            any_day: days.1,
            any_weekday: weekdays.1,
        }))
    }
}

impl Schedule {
    /// The first moment after another one; none when there is none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(seconds) => {
                let second = Timestamp::from_second(after.as_second()).ok()?;
                second.checked_add(SignedDuration::from_secs(*seconds)).ok()
            }
            Self::Fields(fields) => fields.next(after, zone),
        }
    }
}

impl Fields {
    /// Looks at months, days, hours and minutes in turn. Hours and minutes pass as they do on a clock on the wall that is
    /// changed twice a year: what is left out then is skipped.
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        const YEARS_MAX: i16 = 5;
        // `,` names no number at all: every minute of the years would be looked at.
        if [self.minutes, self.hours, self.months, self.days | self.weekdays].contains(&0) {
            return None;
        }
        let minute = after.as_second().div_euclid(60).checked_add(1)?.checked_mul(60)?;
        let mut at = Timestamp::from_second(minute).ok()?.to_zoned(zone.clone());
        let last_year = at.year().saturating_add(YEARS_MAX);
        while at.year() <= last_year {
            if !has(self.months, at.month()) {
                at = midnight(at.date().first_of_month().checked_add(1.month()).ok()?, zone)?;
            } else if !self.has_day(&at) {
                at = midnight(at.date().tomorrow().ok()?, zone)?;
            } else if !has(self.hours, at.hour()) {
                let into_hour = SignedDuration::from_mins(i64::from(at.minute()));
                at = at.checked_add(SignedDuration::from_hours(1) - into_hour).ok()?;
            } else if !has(self.minutes, at.minute()) {
                at = at.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }

    fn has_day(&self, at: &Zoned) -> bool {
        let day = has(self.days, at.day());
        let weekday = has(self.weekdays, at.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }
}

fn has(set: u64, number: i8) -> bool {
    set >> number & 1 == 1
}

fn midnight(day: Date, zone: &TimeZone) -> Option<Zoned> {
    day.at(0, 0, 0, 0).to_zoned(zone.clone()).ok()
}

/// The time zone that a schedule made long ago names in front.
pub fn zone_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="))?;
    rest.split(' ').next()
}

/// Schedules made long ago may name their time zone in front.
fn without_zone(text: &str) -> &str {
    let has_zone = text.starts_with("TZ=") || text.starts_with("CRON_TZ=");
    match text.split_once(' ') {
        Some((_, rest)) if has_zone => rest.trim(),
        _ => text,
    }
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let nanoseconds =
                duration::parse_go(every).map_err(|error| format!("failed to parse duration {text}: {error}"))?;
            return Ok(Schedule::Every((nanoseconds / 1_000_000_000).max(1)));
        }
    };
    Schedule::parse(fields)
}

/// The numbers of a field, and whether it is a star.
fn field(word: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let mut set = (0, false);
    for part in word.split(',').filter(|part| !part.is_empty()) {
        let (bits, star) = range(part, bounds)?;
        set = (set.0 | bits, set.1 || star);
    }
    Ok(set)
}

/// `number | number "-" number [ "/" number ]`, or a star.
fn range(part: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let mut halves = part.split('/');
    let (whole, step) = (halves.next().unwrap_or_default(), halves.next());
    if halves.next().is_some() {
        return Err(format!("too many slashes: {part}"));
    }
    let mut ends = whole.split('-');
    let (first, last) = (ends.next().unwrap_or_default(), ends.next());
    let star = matches!(first, "*" | "?");
    let (start, mut end) = match last {
        _ if star => (bounds.min, bounds.max),
        _ if ends.next().is_some() => return Err(format!("too many hyphens: {part}")),
        Some(last) => (number_or_name(first, bounds)?, number_or_name(last, bounds)?),
        None => {
            let number = number_or_name(first, bounds)?;
            (number, number)
        }
    };
    let step_length = step.map_or(Ok(1), number)?;
    if step.is_some() && !star && last.is_none() {
        end = bounds.max;
    }
    check_range(part, start, end, step_length, bounds)?;
    let bits = (start..=end).step_by(usize::try_from(step_length).unwrap_or(usize::MAX)).fold(0, |set, n| set | 1 << n);
    Ok((bits, star && step_length == 1))
}

fn check_range(part: &str, start: u64, end: u64, step: u64, bounds: &Bounds) -> Result<(), String> {
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {part}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {part}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    match bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        Some(index) => Ok(bounds.min + index as u64),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        match Schedule::parse(text) {
            Ok(Schedule::Fields(fields)) => fields,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn fields_are_sets() {
        let every = fields("* * * * *");
        assert_eq!((every.minutes, every.hours), ((1 << 60) - 1, (1 << 24) - 1));
        assert!(every.any_day && every.any_weekday);
        assert_eq!(fields("*/15 0 * * *").minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(fields("5/20 0 * * *").minutes, 1 << 5 | 1 << 25 | 1 << 45);
        assert_eq!(fields("0 0 1-3,5 JAN mon-wed").days, 0b10_1110);
        assert_eq!(fields("0 0 1 JAN mon-wed").weekdays, 0b1110);
        assert_eq!(fields("@daily"), fields("0 0 * * *"));
        assert_eq!(Schedule::parse("@every 1h30m"), Ok(Schedule::Every(5400)));
        assert_eq!(fields("TZ=UTC 0 0 * * *"), fields("0 0 * * *"));
    }

    #[test]
    fn the_next_moment() {
        let cases = [
            ("*/15 * * * *", "2024-01-01T00:00:30Z", Some("2024-01-01T00:15:00Z")),
            ("*/15 * * * *", "2024-01-01T23:45:00Z", Some("2024-01-02T00:00:00Z")),
            ("0 12 29 2 *", "2024-03-01T00:00:00Z", Some("2028-02-29T12:00:00Z")),
            ("30 6 * * 1-5", "2024-01-05T07:00:00Z", Some("2024-01-08T06:30:00Z")),
            // A day of the month or of the week, when both are given.
            ("0 0 13 * 5", "2024-09-06T00:00:00Z", Some("2024-09-13T00:00:00Z")),
            ("0 0 13 * 5", "2024-09-13T00:00:00Z", Some("2024-09-20T00:00:00Z")),
            ("0 0 31 2 *", "2024-01-01T00:00:00Z", None),
            (", * * * *", "2024-01-01T00:00:00Z", None),
            ("@every 90s", "2024-01-01T00:00:01.5Z", Some("2024-01-01T00:01:31Z")),
        ];
        for (schedule, after, wanted) in cases {
            let found = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &TimeZone::UTC);
            assert_eq!(found.map(|t| t.to_string()).as_deref(), wanted, "{schedule} after {after}");
        }
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let noon = Schedule::parse("0 12 * * *").unwrap().next("2024-01-01T00:00:00Z".parse().unwrap(), &east);
        assert_eq!(noon.unwrap().to_string(), "2024-01-01T10:00:00Z");
        assert_eq!(zone_of("CRON_TZ=Asia/Tokyo 0 0 * * *"), Some("Asia/Tokyo"));
        assert_eq!(zone_of("0 0 * * *"), None);
    }

    #[test]
    fn errors_are_upstreams() {
        for (text, wanted) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("@often", "unrecognized descriptor: @often"),
        ] {
            assert_eq!(Schedule::parse(text), Err(wanted.to_owned()), "{text}");
        }
    }
}
