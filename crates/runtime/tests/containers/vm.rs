//! The same tests on cgroup version 2, in a virtual machine.

use super::*;

/// What runs in the machine.
const TESTS: &str = "runs_logs_and_ends start_error command_runs_inside restarted_agent killed_shim security_settings \
    memory_limits share_processes processes_are_limited limits_hold kernel_files \
    no_path_leads fork_bomb links_into_proc";

pub async fn cgroup_v2() {
    let Some(mut vm) = testkit::vm::Vm::new() else { return };
    vm.program("test", &std::env::current_exe().unwrap());
    let script = format!("/files/test {TESTS}");
    let text = tokio::task::spawn_blocking(move || vm.run(768, &script, Duration::from_secs(400))).await.unwrap();
    for test in TESTS.split_whitespace() {
        assert!(text.lines().any(|line| line.contains(test) && line.trim_end().ends_with("ok")), "{test} in {text}");
    }
}
