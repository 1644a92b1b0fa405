//! The examples of `docs/cli.md`, run in their order.

use std::{env, fs, path::Path, process::Command};

use crate::command::Server;

#[test]
fn the_examples_of_the_documentation_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 8, "{}", blocks.len());
    let server = Server::start();
    let url = format!("{}/", server.program.url);
    let script = blocks.concat().replace("http://127.0.0.1:8080/", &url);
    let program = Path::new(env!("CARGO_BIN_EXE_tricast")).parent().unwrap().display();
    let path = format!("{program}:{}", env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euxo", "pipefail", "-c", &script]).current_dir(server.directory.path());
    bash.env_clear().env("PATH", path).env("HOME", server.directory.path()).env("TRICAST_URL", &url);
    let out = bash.output().unwrap();
    let (printed, notes) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{notes}\n{printed}");
    for part in ["carts    4\nlatency  180\n", "\ndeployed\n", "no errors within a second", "* here", "duration"] {
        assert!(printed.contains(part), "{part:?}: {printed}\n{notes}");
    }
}
