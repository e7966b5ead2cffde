//! The batch group.

pub mod cron_job;
mod indexes;
pub mod job;
mod job_rules;
mod job_status;
