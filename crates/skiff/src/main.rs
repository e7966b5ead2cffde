//! skiff: Kubernetes in one binary.

mod cni;
mod command;
mod demo;
mod hello;
mod image;
mod pki;
mod server;

use std::process::ExitCode;

use clap::Parser;

use command::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Huge pages are touched as a whole: they would make an idle server 20 MiB larger and each shim 6. Containers get them back.
    let _ = nix::sys::prctl::set_thp_disable(true);
    // The shim of a pod is this program started again: small, single-threaded, before anything else is set up.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|command| command == "shim") {
        runtime::shim_main(arguments)
    }
    if cni::is_called() {
        return cni::main();
    }
    let result = match Cli::parse_from(server::config::with_file(std::env::args_os())).command {
        Command::Server(options) => server::main(&options),
        Command::Demo(options) => demo::main(&options),
        Command::Image(command) => image::main(&command),
        Command::Hello(options) => hello::main(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::say_error(&error);
            ExitCode::FAILURE
        }
    }
}
