//! Runs a command where cgroups have version 2 only: in a virtual machine that sees the files of this one (`make test-vm`).
//!
//! `cgroup_v2 SECONDS MIB COMMAND…`: the longest that it may take, the machine's memory, and what runs in it, in this
//! directory and with this environment.
#![allow(clippy::disallowed_methods, reason = "for tests of other processes, in real time")]

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use testkit::vm::{POD_NETWORK, Vm, succeeded};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|word| word.parse::<u32>().ok());
    let (Some(seconds), Some(memory)) = (number(), number()) else {
        return fail("usage: cgroup_v2 SECONDS MIB COMMAND…");
    };
    let command: Vec<String> = arguments.map(|word| quoted(&word)).collect();
    let Some(mut vm) = Vm::new() else { return fail("run scripts/packages first") };
    vm.share_files();
    // Disks made of files, besides.
    POD_NETWORK.iter().chain(&["loop", "crc32c_generic", "ext4"]).for_each(|module| vm.module(module));
    let here = std::env::current_dir().expect("there is a directory");
    let environment: Vec<String> = std::env::vars()
        .filter(|(name, _)| name != "SKIFF_TEST_KERNEL")
        .map(|(name, value)| format!("export {name}={}", quoted(&value)))
        .filter(|line| {
            line.split(['=', ' '])
                .nth(1)
                .is_some_and(|name| name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()))
        })
        .collect();
    let script = format!("{}\ncd {}\n{}", environment.join("\n"), quoted(&here.to_string_lossy()), command.join(" "));
    let console = tempfile::NamedTempFile::new().expect("temporary files can be made");
    let shown = console.reopen().expect("it was made just now");
    let path = console.path().to_owned();
    let machine =
        std::thread::spawn(move || vm.run_with_console(memory, &script, Duration::from_secs(seconds.into()), &path));
    let text = show(shown, || machine.is_finished());
    match machine.join() {
        Ok(true) if succeeded(&text) => ExitCode::SUCCESS,
        Ok(false) => fail("it took too long"),
        _ => fail("the command failed"),
    }
}

/// Prints a growing file until it is over, and returns all of it.
fn show(mut file: impl Read, over: impl Fn() -> bool) -> String {
    let mut text = Vec::new();
    loop {
        let last = over();
        let begin = text.len();
        let _ = file.read_to_end(&mut text);
        let mut output = std::io::stdout();
        let _ = output.write_all(&text[begin..]).and_then(|()| output.flush());
        if last {
            return String::from_utf8_lossy(&text).into_owned();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// As a shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::FAILURE
}
