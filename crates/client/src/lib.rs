//! Typed handles, informers, work queues and the event recorder that every component uses
