//! When a cron job makes its next job, and which of its jobs are history. Pure.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use machinery::schedule::{Schedule, zone_of};
use machinery::time_zone;

/// From so many missed starts on, users are told.
const MISSED_MAX: i64 = 100;

/// When to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The last start that is due; none when there is nothing to start.
    pub start: Option<Timestamp>,
    /// How many starts were missed, when they are many.
    pub missed: Option<i64>,
    /// The start after that.
    pub next: Option<Timestamp>,
}

/// A schedule in its time zone.
pub(super) struct Timetable {
    schedule: Schedule,
    zone: TimeZone,
}

impl Timetable {
    /// Fails with what is wrong with the schedule.
    pub(super) fn of(cron_job: &CronJob) -> Result<Self, String> {
        let spec = &cron_job.spec;
        let schedule = Schedule::parse(&spec.schedule)?;
        let name = spec.time_zone.as_deref().or_else(|| zone_of(&spec.schedule));
        let zone = match name {
            None => TimeZone::UTC,
            Some(name) => time_zone::load(name).ok_or_else(|| format!("unknown time zone {name}"))?,
        };
        Ok(Self { schedule, zone })
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// What is due of a cron job. Of several starts that were missed, the last one counts.
    pub(super) fn due(&self, cron_job: &CronJob, now: Timestamp) -> Due {
        let next = |after: Timestamp| self.schedule.next(after, &self.zone);
        let after = self.counted_from(cron_job, now);
        let none = |next: Option<Timestamp>| Due { start: None, missed: None, next };
        let Some(first) = next(after) else { return none(None) };
        if now < first {
            return none(Some(first));
        }
        let Some(second) = next(first) else { return Due { start: Some(first), missed: None, next: None } };
        if now < second {
            return Due { start: Some(first), missed: None, next: Some(second) };
        }
        let between = second.duration_since(first).as_secs().max(1);
        let missed = now.duration_since(first).as_secs() / between + 1;
        // One step back, for schedules that are not regular.
        let jump = SignedDuration::from_secs((missed - 2).max(0).saturating_mul(between));
        let (mut last, mut coming) = (None, next(first.checked_add(jump).unwrap_or(first)));
        while let Some(start) = coming.filter(|start| *start <= now) {
            (last, coming) = (Some(start), next(start));
        }
        Due { start: last.or(Some(first)), missed: (missed > MISSED_MAX).then_some(missed), next: coming }
    }

    /// From when on starts count: the last one, or the cron job's creation, or as far back as its deadline allows.
    fn counted_from(&self, cron_job: &CronJob, now: Timestamp) -> Timestamp {
        let last = cron_job.status.as_ref().and_then(|s| s.last_schedule_time.as_ref());
        let from = last.or(cron_job.metadata.creation_timestamp.as_ref()).map_or(now, |t| t.0);
        let deadline = cron_job.spec.starting_deadline_seconds;
        let earliest = deadline.and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok());
        earliest.map_or(from, |earliest| from.max(earliest))
    }
}

/// The condition by which a job ended: `Complete` or `Failed`.
pub(super) fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ending = conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True");
    ending.map(|c| c.type_.as_str())
}

/// The jobs that are more history than the cron job keeps: the oldest of those that ended one way or the other.
pub(super) fn history(cron_job: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron_job.spec;
    let kept = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let mut gone = Vec::new();
    for (ending, limit) in kept {
        let Some(limit) = limit else { continue };
        let mut of_ending: Vec<&Arc<Job>> = jobs.iter().filter(|job| ended(job) == Some(ending)).collect();
        let started = |job: &Job| job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0);
        of_ending.sort_by_key(|job| Reverse((started(job), job.metadata.name.clone())));
        gone.extend(of_ending.into_iter().skip(usize::try_from(limit).unwrap_or(0)).cloned());
    }
    gone
}

#[cfg(test)]
mod tests {
    use machinery::json::{Value, from_value};

    use super::*;

    fn tree(json: &str) -> Value {
        Value::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn starts_are_due_once() {
        // Made at midnight, now and then a start, `now`: what is due, what is next.
        let cases = [
            (r#""schedule":"*/10 * * * *""#, "", "00:05", "- 00:10"),
            (r#""schedule":"*/10 * * * *""#, "", "00:10", "00:10 00:20"),
            (r#""schedule":"*/10 * * * *""#, "00:10", "00:15", "- 00:20"),
            // Of those that were missed, the last.
            (r#""schedule":"*/10 * * * *""#, "00:10", "00:45", "00:40 00:50"),
            (r#""schedule":"*/10 * * * *","startingDeadlineSeconds":60"#, "00:10", "00:45", "- 00:50"),
            (r#""schedule":"@every 20m""#, "00:01", "00:50", "00:41 01:01"),
            (r#""schedule":"* * * * *""#, "", "02:30", "02:30 02:31 150"),
        ];
        for (spec, last, now, wanted) in cases {
            let time = |clock: &str| format!("2024-01-01T{clock}:00Z");
            let last = if last.is_empty() { String::new() } else { format!(r#""lastScheduleTime":"{}""#, time(last)) };
            let cron_job: CronJob = from_value(&tree(&format!(
                r#"{{"metadata":{{"creationTimestamp":"{}"}},"spec":{{{spec},"jobTemplate":{{}}}},"status":{{{last}}}}}"#,
                time("00:00")
            )))
            .unwrap();
            let due = Timetable::of(&cron_job).unwrap().due(&cron_job, time(now).parse().unwrap());
            let clock = |t: Option<Timestamp>| t.map_or("-".to_owned(), |t| t.to_string()[11..16].to_owned());
            let missed = due.missed.map(|m| format!(" {m}")).unwrap_or_default();
            assert_eq!(format!("{} {}{missed}", clock(due.start), clock(due.next)), wanted, "{spec} {last} {now}");
        }
    }

    #[test]
    fn the_oldest_history_goes() {
        let job = |name: &str, ending: &str, minute: u8| -> Arc<Job> {
            let json = format!(
                r#"{{"metadata":{{"name":"{name}"}},"status":{{"startTime":"2024-01-01T00:{minute:02}:00Z",
                "conditions":[{{"type":"{ending}","status":"True"}}]}}}}"#
            );
            Arc::new(from_value(&tree(&json)).unwrap())
        };
        let jobs = [
            job("a", "Complete", 1),
            job("b", "Complete", 3),
            job("c", "Complete", 2),
            job("d", "Failed", 1),
            job("e", "Failed", 2),
            job("f", "Suspended", 0),
        ];
        let spec = r#"{"spec":{"schedule":"@daily","jobTemplate":{},"successfulJobsHistoryLimit":1,"failedJobsHistoryLimit":0}}"#;
        let cron_job: CronJob = from_value(&tree(spec)).unwrap();
        let gone = history(&cron_job, &jobs);
        let mut names: Vec<&str> = gone.iter().map(|j| j.metadata.name.as_deref().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c", "d", "e"]);
    }
}
