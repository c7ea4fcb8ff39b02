//! Clients that are libraries: Python's and Node's, driven by the scripts in `clients/`.

use super::{Server, has_client, skip_or_fail, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Is there a python3 with this module? As [`has_client`].
pub fn has_python_module(name: &str) -> bool {
    let import = ["-c", &format!("import {name}")];
    has_client("python3")
        && (succeeds(Command::new("python3").args(import)) || skip_or_fail(&format!("{name} for python3")))
}

/// Is there a node with this module among those that `npm install --global` installs? As [`has_client`].
pub fn has_node_module(name: &str) -> bool {
    let require = ["-e", &format!("require('{name}')")];
    has_client("node") && (succeeds(node().args(require)) || skip_or_fail(&format!("{name} for node")))
}

/// Runs `tests/clients/NAME.py` against the server.
pub fn run_python(name: &str, server: &Server) {
    if has_client("python3") {
        succeed(&mut python(name, server));
    }
}

/// The command that runs `tests/clients/NAME.py` against the server.
pub fn python(name: &str, server: &Server) -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").arg(script(&format!("{name}.py")));
    command.env("PYTHONIOENCODING", "utf-8");
    tell_ports(&mut command, server);
    command
}

/// Runs `tests/clients/NAME.cjs` against the server.
pub fn run_node(name: &str, server: &Server) {
    let mut command = node();
    command.arg(script(&format!("{name}.cjs")));
    tell_ports(&mut command, server);
    succeed(&mut command);
}

/// Node, which finds what was installed for all only where it is told to look.
fn node() -> Command {
    let mut command = Command::new("node");
    if let Ok(output) = Command::new("npm").args(["root", "--global"]).output() {
        command.env("NODE_PATH", String::from_utf8_lossy(&output.stdout).trim());
    }
    command
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn script(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(file)
}

fn tell_ports(command: &mut Command, server: &Server) {
    for service in [
        "smtp",
        "submission",
        "submission-2525",
        "submissions",
        "pop3",
        "pop3s",
        "imap",
        "imaps",
    ] {
        let name = format!("RINGPOST_{}", service.to_uppercase().replace('-', "_"));
        command.env(name, server.port(service).to_string());
    }
}
