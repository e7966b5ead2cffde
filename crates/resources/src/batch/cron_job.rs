//! CronJobs.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::schedule::Schedule;
use machinery::time_zone;

use super::{job, job_rules};
use crate::apps::template::validate_not_negative;
use crate::cells;
use crate::checks::validate_required_one_of;
use crate::place::{Json, Place, Report};
use crate::pod_spec::defaults;
use crate::read::{Read, present_mut, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Subresource, Target};

/// The names of jobs have eleven letters more.
const NAME_LENGTH_MAX: usize = 63 - 11;
const TEMPLATE: [&str; 5] = ["spec", "jobTemplate", "spec", "template", "spec"];

/// The row.
pub fn row() -> Resource {
    Resource::new("batch/v1", "CronJob", "cronjobs")
        .short_names(&["cj"])
        .categories(&["all"])
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("Schedule", "When it runs, in cron's form.", |object, _| {
                object.str_at(&["spec", "schedule"]).unwrap_or_default().into()
            }),
            Column::text("Timezone", "The time zone of the schedule.", |object, _| {
                cells::or_none(object.str_at(&["spec", "timeZone"]).unwrap_or_default())
            }),
            Column::boolean("Suspend", "Whether it makes no new jobs.", |object, _| {
                match object.at(&["spec", "suspend"]).and_then(Value::as_bool) {
                    Some(true) => "True".into(),
                    Some(false) => "False".into(),
                    None => cells::UNSET.into(),
                }
            }),
            Column::integer("Active", "Jobs that run now.", |object, _| {
                object.get("status").map_or(0, |status| cells::count(status, "active")).into()
            }),
            Column::text("Last Schedule", "Time since it last made a job.", |object, now| {
                match object.str_at(&["status", "lastScheduleTime"]) {
                    Some(moment) => cells::since(moment, now).into(),
                    None => cells::NONE.into(),
                }
            }),
            Column::age(),
            Column::text("Containers", "Names of the template's containers.", |object, _| {
                cells::of_containers(object, &TEMPLATE, "name")
            })
            .wide(),
            Column::text("Images", "Images of the template's containers.", |object, _| {
                cells::of_containers(object, &TEMPLATE, "image")
            })
            .wide(),
            Column::text("Selector", "Labels of the pods of its jobs.", |object, _| {
                cells::selector(object.at(&["spec", "jobTemplate", "spec", "selector"])).into()
            })
            .wide(),
        ])
        .generation()
        .strategy(CronJob)
}

struct CronJob;

impl Strategy for CronJob {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        if spec.text("concurrencyPolicy").is_empty() {
            spec.set_at(&["concurrencyPolicy"], "Allow");
        }
        set_default(spec, "suspend", false);
        set_default(spec, "successfulJobsHistoryLimit", 3);
        set_default(spec, "failedJobsHistoryLimit", 1);
        set_default(spec, "jobTemplate", Value::object());
        if let Some(job) = present_mut(spec, "jobTemplate") {
            set_default(job, "metadata", Value::object());
            job.default_at(&["spec", "template"], Value::object());
            if let Some(template) = job.at_mut(&["spec", "template"]) {
                defaults::template(template);
            }
        }
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        !same_at(object, old, &["spec"])
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_spec(object, None);
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        if name.len() > NAME_LENGTH_MAX {
            let detail = format!("must be no more than {NAME_LENGTH_MAX} characters");
            errors.invalid(&Place::root("metadata").field("name"), name, &detail);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") { Vec::new() } else { validate_spec(object, Some(old)) }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = job::name_warnings(object);
        if let Some(spec) = object.at(&["spec", "jobTemplate", "spec"]) {
            warnings.extend(job::spec_warnings(spec, "spec.jobTemplate.spec"));
        }
        if object.str_at(&["spec", "schedule"]).is_some_and(|schedule| schedule.contains("TZ")) {
            let page = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/";
            let text = "CRON_TZ or TZ used in spec.spec.schedule is not officially supported";
            warnings.push(format!("{text}, see {page} for more details"));
        }
        warnings
    }
}

fn validate_spec(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
    let old_spec = old.map(|old| old.get("spec").unwrap_or(&empty));
    validate_schedule(spec, old_spec, &at.field("schedule"), &mut errors);
    validate_not_negative(spec, "startingDeadlineSeconds", &at, &mut errors);
    let same_zone = old_spec.is_some_and(|old| old.get("timeZone") == spec.get("timeZone"));
    if let Some(zone) = spec.present("timeZone").and_then(Value::as_str).filter(|_| !same_zone)
        && let Some(problem) = time_zone::problem(zone)
    {
        errors.invalid(&at.field("timeZone"), zone, &problem);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    validate_required_one_of(spec.text("concurrencyPolicy"), &policies, &at.field("concurrencyPolicy"), &mut errors);
    validate_job(spec, &at, &mut errors);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        validate_not_negative(spec, field, &at, &mut errors);
    }
    errors
}

fn validate_schedule(spec: &Value, old: Option<&Value>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let schedule = spec.text("schedule");
    if schedule.is_empty() {
        errors.required(at, "");
        return;
    }
    if let Err(error) = Schedule::parse(schedule) {
        errors.invalid(at, schedule, &error);
    }
    if !schedule.contains("TZ") {
        return;
    }
    if !old.is_some_and(|old| old.text("schedule").contains("TZ")) {
        errors.invalid(at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if spec.has("timeZone") {
        errors.invalid(at, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn validate_job(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let job = spec.at(&["jobTemplate", "spec"]).unwrap_or(&empty);
    let at = at.field("jobTemplate.spec");
    job_rules::validate(job, &at, errors);
    if let Some(selector) = job.present("selector") {
        errors.invalid(&at.field("selector"), Json(selector), "`selector` will be auto-generated");
    }
    if job.flag("manualSelector") {
        errors.unsupported(&at.field("manualSelector"), true, &["nil", "false"]);
    }
}
