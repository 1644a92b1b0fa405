//! Completions and manual pages.

use std::{fs, process::Command};

use crate::command::{Ended, command, run};

fn tricast(arguments: &[&str]) -> Ended {
    run(&mut command(&std::env::temp_dir(), "", arguments))
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for (shell, part, flag) in [
        ("bash", "complete -F", "--token-file"),
        ("zsh", "#compdef tricast", "--token-file"),
        ("fish", "complete -c tricast", "-l token-file"),
    ] {
        let ended = tricast(&["completions", shell]);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{shell}");
        for part in [part, "watch", flag] {
            assert!(ended.out.contains(part), "{shell}: {part}");
        }
        let interpreter = Command::new(shell).args(["-n", "/dev/stdin"]).stdin(std::process::Stdio::piped()).spawn();
        // Not every machine has every shell.
        let Ok(mut interpreter) = interpreter else { continue };
        std::io::Write::write_all(&mut interpreter.stdin.take().unwrap(), ended.out.as_bytes()).unwrap();
        assert!(interpreter.wait().unwrap().success(), "{shell}");
    }
    assert_eq!(tricast(&["completions", "tcsh"]).code, 2);
}

#[test]
fn each_command_has_a_manual_page() {
    let ended = tricast(&["man"]);
    assert!(ended.code == 0 && ended.out.contains(".TH tricast 1"), "{ended:?}");
    let directory = tempfile::tempdir().unwrap();
    let ended = tricast(&["man", "--dir", directory.path().to_str().unwrap()]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    for name in ["tricast", "tricast-push", "tricast-watch", "tricast-wait", "tricast-context-set"] {
        let page = fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert_eq!(tricast(&["man", "--dir", "/nonexistent/x"]).code, 2);
}
