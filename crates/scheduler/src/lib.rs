//! The scheduler: queue, snapshot, framework, and one file per plugin
