//! Cron jobs make jobs at their times. [`plan`] says when.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use client::events::{EventType, Recorder, reference};
use client::reconcile::{self, Next};
use client::{Api, Change, Client, DeleteOptions, ObjectKey, Queue, Shutdown};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use machinery::ApiError;

use crate::context::Context;
use crate::owners;
use plan::Timetable;

const WORKERS: usize = 5;
/// The annotation that says for when a job was made.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// A moment after a start is due, it is due for certain.
const AFTER_START: Duration = Duration::from_millis(100);
/// After so long a job is in the list of active ones, or was not made here.
const LISTED_AFTER: Duration = Duration::from_secs(10);

struct CronJobs {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    context.informers.cron_jobs.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let changed = queue.clone();
    context.informers.jobs.on_change(move |change| {
        let old = if let Change::Applied { old: Some(old), .. } = change { Some(*old) } else { None };
        for job in old.into_iter().chain([change.object()]) {
            let owner = owners::controller_of(&job.metadata).filter(|o| o.kind == "CronJob");
            let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
            owner.into_iter().for_each(|owner| changed.add(ObjectKey::new(namespace, &owner.name)));
        }
    });
    tokio::join!(context.informers.cron_jobs.synced(), context.informers.jobs.synced());
    let controller = Arc::new(CronJobs {
        client: context.client_of("cronjob-controller"),
        recorder: context.recorder("cronjob-controller"),
        context: context.clone(),
    });
    reconcile::run("cronjob-controller", WORKERS, queue, shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl CronJobs {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApiError> {
        let Some(known) = self.context.informers.cron_jobs.get(&key.namespace, &key.name) else {
            return Ok(Next::Wait);
        };
        let uid = known.metadata.uid.clone().unwrap_or_default();
        let jobs = self.context.informers.jobs.by_index("owner", &uid);
        self.forget_history(&known, &jobs).await?;
        let mut cron_job = known.as_ref().clone();
        self.take_stock(&mut cron_job, &jobs).await?;
        let next = if cron_job.metadata.deletion_timestamp.is_some() {
            Ok(Next::Wait)
        } else {
            self.start_what_is_due(&mut cron_job).await
        };
        // What was started must be told, whatever else went wrong.
        if cron_job.status != known.status {
            let written =
                Api::<CronJob>::namespaced(&self.client, &key.namespace).replace_status(&key.name, &cron_job).await;
            written.map(drop).or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
        }
        next
    }

    /// Deletes ended jobs that are more than the cron job keeps.
    async fn forget_history(&self, cron_job: &CronJob, jobs: &[Arc<Job>]) -> Result<(), ApiError> {
        for job in plan::history(cron_job, jobs) {
            self.delete(cron_job, job.metadata.name.as_deref().unwrap_or_default(), job.metadata.uid.clone()).await?;
        }
        Ok(())
    }

    async fn delete(&self, cron_job: &CronJob, name: &str, uid: Option<String>) -> Result<(), ApiError> {
        let namespace = cron_job.metadata.namespace.as_deref().unwrap_or_default();
        let options =
            DeleteOptions { uid, propagation_policy: Some("Background".to_owned()), ..DeleteOptions::default() };
        match Api::<Job>::namespaced(&self.client, namespace).delete(name, options).await {
            Ok(()) => {
                self.say(cron_job, EventType::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => {
                self.say(cron_job, EventType::Warning, "FailedDelete", format!("Deleted job: {error}"));
                Err(error)
            }
        }
    }

    fn say(&self, cron_job: &CronJob, kind: EventType, reason: &str, text: String) {
        self.recorder.event_on(cron_job, kind, reason, text);
    }

    /// Puts the list of active jobs right: ended and vanished ones leave it.
    async fn take_stock(&self, cron_job: &mut CronJob, jobs: &[Arc<Job>]) -> Result<(), ApiError> {
        let mut status = cron_job.status.clone().unwrap_or_default();
        let mut active = status.active.take().unwrap_or_default();
        for job in jobs {
            let listed = active.iter().position(|r| r.uid == job.metadata.uid);
            let name = job.metadata.name.as_deref().unwrap_or_default();
            match (plan::ended(job), listed) {
                // What was made a moment ago may not be in the copy's list yet.
                (None, None) if age(job) > LISTED_AFTER => {
                    let text = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.say(cron_job, EventType::Warning, "UnexpectedJob", text);
                }
                (Some(ending), Some(at)) => {
                    active.remove(at);
                    let text = format!("Saw completed job: {name}, condition: {ending}");
                    self.say(cron_job, EventType::Normal, "SawCompletedJob", text);
                }
                _ => {}
            }
            let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
            if plan::ended(job) == Some("Complete") && completed > status.last_successful_time {
                status.last_successful_time = completed;
            }
        }
        let namespace = cron_job.metadata.namespace.as_deref().unwrap_or_default();
        let mut kept = Vec::new();
        for reference in active {
            let is_known = jobs.iter().any(|job| job.metadata.uid == reference.uid);
            // The copy may lag behind: what it does not know is asked for.
            if is_known || self.exists(namespace, &reference).await? {
                kept.push(reference);
            } else {
                let text = format!("Active job went missing: {}", reference.name.unwrap_or_default());
                self.say(cron_job, EventType::Normal, "MissingJob", text);
            }
        }
        status.active = (!kept.is_empty()).then_some(kept);
        cron_job.status = Some(status);
        Ok(())
    }

    async fn exists(&self, namespace: &str, reference: &ObjectReference) -> Result<bool, ApiError> {
        let name = reference.name.as_deref().unwrap_or_default();
        let found = Api::<Job>::namespaced(&self.client, namespace).get_opt(name).await?;
        Ok(found.is_some_and(|job| job.metadata.uid == reference.uid))
    }

    async fn start_what_is_due(&self, cron_job: &mut CronJob) -> Result<Next, ApiError> {
        let spec = cron_job.spec.clone();
        if spec.suspend == Some(true) {
            return Ok(Next::Wait);
        }
        let timetable = match Timetable::of(cron_job) {
            Ok(timetable) => timetable,
            Err(problem) => {
                // A user has to change it first.
                let text = format!("unparseable schedule: {:?} : {problem}", spec.schedule);
                self.say(cron_job, EventType::Warning, "UnparseableSchedule", text);
                return Ok(Next::Wait);
            }
        };
        if machinery::schedule::zone_of(&spec.schedule).is_some() {
            let text = format!(
                "CRON_TZ or TZ used in schedule {:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                spec.schedule
            );
            self.say(cron_job, EventType::Warning, "UnsupportedSchedule", text);
        }
        let now = seams::clock::now();
        let due = timetable.due(cron_job, now);
        if let Some(missed) = due.missed {
            let text = format!(
                "too many missed start times: {missed}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            );
            self.say(cron_job, EventType::Warning, "TooManyMissedTimes", text);
        }
        let next = due.next.map_or(Next::Wait, |at| {
            Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default() + AFTER_START)
        });
        let Some(start) = due.start else { return Ok(next) };
        let active = cron_job.status.as_ref().and_then(|s| s.active.clone()).unwrap_or_default();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.say(cron_job, EventType::Normal, "JobAlreadyActive", text.to_owned());
                return Ok(next);
            }
            Some("Replace") => {
                for reference in &active {
                    let name = reference.name.as_deref().unwrap_or_default();
                    self.delete(cron_job, name, reference.uid.clone()).await?;
                }
                cron_job.status.get_or_insert_default().active = None;
            }
            _ => {}
        }
        self.start(cron_job, start, &timetable).await?;
        Ok(next)
    }

    /// Makes the job of a start. Its name is that of the start, so that it is made once.
    async fn start(&self, cron_job: &mut CronJob, start: Timestamp, timetable: &Timetable) -> Result<(), ApiError> {
        let namespace = cron_job.metadata.namespace.clone().unwrap_or_default();
        let job = new_job(cron_job, start, timetable);
        let name = job.metadata.name.clone().unwrap_or_default();
        let api = Api::<Job>::namespaced(&self.client, &namespace);
        let made = match api.create(&job).await {
            Ok(made) => {
                self.say(cron_job, EventType::Normal, "SuccessfulCreate", format!("Created job {name}"));
                made
            }
            Err(error) if error.is_already_exists() => {
                let found = api.get(&name).await?;
                if !owners::is_controlled_by(&found.metadata, &cron_job.metadata) {
                    let text = format!("Job {name} already exists and is not controlled by this cron job");
                    self.say(cron_job, EventType::Warning, "FailedCreate", text);
                    return Err(error);
                }
                found
            }
            Err(error) if error.has_cause("NamespaceTerminating") => return Ok(()),
            Err(error) => {
                self.say(cron_job, EventType::Warning, "FailedCreate", format!("Error creating job: {error}"));
                return Err(error);
            }
        };
        let status: &mut CronJobStatus = cron_job.status.get_or_insert_default();
        status.last_schedule_time = Some(Time(start));
        let is_listed = status.active.iter().flatten().any(|r| r.uid == made.metadata.uid);
        if !is_listed && plan::ended(&made).is_none() {
            status.active.get_or_insert_default().push(reference(made.as_ref()));
        }
        Ok(())
    }
}

fn age(job: &Job) -> Duration {
    job.metadata.creation_timestamp.as_ref().map_or(Duration::MAX, |t| seams::clock::since(t.0))
}

fn new_job(cron_job: &CronJob, start: Timestamp, timetable: &Timetable) -> Job {
    let template = cron_job.spec.job_template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let scheduled = start.to_zoned(timetable.zone().clone());
    let scheduled = if scheduled.offset().seconds() == 0 {
        start.to_string()
    } else {
        start.display_with_offset(scheduled.offset()).to_string()
    };
    annotations.insert(SCHEDULED.to_owned(), scheduled);
    let name = cron_job.metadata.name.as_deref().unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(format!("{name}-{}", start.as_second() / 60)),
        namespace: cron_job.metadata.namespace.clone(),
        labels: meta.labels,
        annotations: Some(annotations),
        owner_references: Some(vec![owners::reference_to(cron_job)]),
        creation_timestamp: None,
        ..ObjectMeta::default()
    };
    Job { metadata, spec: template.spec, status: None }
}
