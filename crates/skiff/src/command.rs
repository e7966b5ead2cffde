//! The command line.

use std::io::Write;

use clap::{Parser, Subcommand};

use crate::demo::DemoOptions;
use crate::hello::HelloOptions;
use crate::image::ImageCommand;
use crate::server::config::ServerOptions;

/// Kubernetes in one binary: API server, scheduler, controllers, container runtime and network.
#[derive(Parser)]
#[command(name = "skiff", version = VERSION, max_term_width = 110, args_override_self = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (Kubernetes v1.36)");

const EXAMPLES: &str = "\
Examples:
  skiff server                                    Start a cluster on this machine
  kubectl --kubeconfig /var/lib/skiff/kubeconfig get nodes
  skiff image import app.tar                      Make an image known without a registry
  skiff demo                                      Show a cluster at work, then throw it away";

#[derive(Subcommand)]
pub enum Command {
    /// Start a cluster: control plane and node in one process
    Server(Box<ServerOptions>),
    /// Start a cluster, run a Deployment behind a Service, and fetch its page
    Demo(DemoOptions),
    /// List, import, pull and remove the images of a running server
    #[command(subcommand)]
    Image(ImageCommand),
    /// Serve the page of the images localhost/skiff/hello:v1 and :v2
    #[command(hide = true)]
    Hello(HelloOptions),
}

/// Writes a line for the user of a command.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::command::say_line(&format!($($words)*)) };
}

/// Writes a line to standard output. A closed pipe is not our business.
pub fn say_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says in one line why the command failed.
pub fn say_error(error: &anyhow::Error) {
    let text = format!("{error:#}").replace('\n', " ");
    let _ = writeln!(std::io::stderr(), "skiff: {text}");
}
