//! Time zones of cron jobs, by name, of the machine's own database.

use std::path::Path;

use jiff::tz::TimeZone;

/// Where time zones are described.
const DATABASE: &str = "/usr/share/zoneinfo";
/// Longest part of a name.
const PART_LENGTH_MAX: usize = 14;

/// Why a name is that of no time zone.
pub fn problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("timeZone must be nil or non-empty string".to_owned());
    }
    if name.split('/').any(|part| !is_part(part)) {
        return Some(format!("unknown time zone {name}"));
    }
    if name.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return Some(detail.to_owned());
    }
    load(name).is_none().then(|| format!("unknown time zone {name}"))
}

fn is_part(part: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b".-_+".contains(&b);
    (1..=PART_LENGTH_MAX).contains(&part.len())
        && !matches!(part, "." | "..")
        && !part.starts_with('-')
        && part.bytes().all(fine)
}

/// A time zone by its name; none when this machine does not know it.
pub fn load(name: &str) -> Option<TimeZone> {
    if matches!(name, "UTC" | "Etc/UTC") {
        return Some(TimeZone::UTC);
    }
    if name.split('/').any(|part| !is_part(part)) {
        return None;
    }
    let data = std::fs::read(Path::new(DATABASE).join(name)).ok()?;
    TimeZone::tzif(name, &data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_leave_the_database() {
        assert_eq!(problem("UTC"), None);
        assert!(problem("../../etc/passwd").is_some());
        assert!(problem("/etc/passwd").is_some());
        assert!(problem("Nowhere/Land").is_some());
        assert!(problem("local").unwrap().contains("explicit"));
    }
}
