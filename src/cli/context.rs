//! `tricast context`: servers with their tokens, by name.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use tricast_client::{Token, Transport, parse_url};

use super::{
    contexts::{Context, Contexts, path},
    failure::Failure,
    output,
};

/// Flags of `tricast context`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ContextFlags {
    #[command(subcommand)]
    command: Option<ContextCommand>,
}

#[derive(Clone, Debug, Subcommand)]
enum ContextCommand {
    /// List the contexts; tokens are not shown
    #[command(alias = "ls")]
    List,
    /// Create a context, or change what is named; the first one becomes the current one
    Set(SetFlags),
    /// Make a context the current one
    Use {
        /// Name of the context
        name: String,
    },
    /// Remove a context
    #[command(alias = "rm")]
    Remove {
        /// Name of the context
        name: String,
    },
}

#[derive(Args, Clone, Debug)]
struct SetFlags {
    /// Name of the context
    name: String,
    /// URL of the server, sub-path included
    #[arg(long)]
    url: Option<String>,
    /// Read the token from standard input, where no list of processes shows it
    #[arg(long, conflicts_with = "token_file")]
    token_stdin: bool,
    /// Read the token from this file each time, for tokens that are renewed
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Accept the certificates in this file (PEM) beside those of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Use this transport only: websocket, sse, long-poll or poll
    #[arg(long, value_name = "NAME")]
    transport: Option<Transport>,
}

/// Lists or changes the contexts.
pub(super) fn run(flags: &ContextFlags) -> ExitCode {
    let done = match &flags.command {
        None | Some(ContextCommand::List) => list(),
        Some(ContextCommand::Set(flags)) => set(flags),
        Some(ContextCommand::Use { name }) => change(|contexts| {
            contexts.get(name)?;
            contexts.current = Some(name.clone());
            Ok(())
        }),
        Some(ContextCommand::Remove { name }) => change(|contexts| {
            contexts.get(name)?;
            contexts.contexts.remove(name);
            contexts.current.take_if(|current| current == name);
            Ok(())
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn list() -> Result<(), Failure> {
    let contexts = Contexts::read()?;
    let mut text = String::new();
    let width = contexts.contexts.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    for (name, context) in &contexts.contexts {
        let mark = if contexts.current.as_ref() == Some(name) { "*" } else { " " };
        let token = match context {
            Context { token: Some(_), .. } => "  with a token".into(),
            Context { token_file: Some(path), .. } => format!("  with the token in {}", path.display()),
            _ => String::new(),
        };
        // A password in the URL is a secret, too.
        let mut url = parse_url(&context.url)?;
        let _ = url.password().is_some().then(|| url.set_password(Some("***")));
        text.push_str(&format!("{mark} {name:width$}  {}\n", output::printable(&format!("{url}{token}"))));
    }
    if text.is_empty() {
        let path = path().map(|path| path.display().to_string()).unwrap_or_default();
        text = format!("no contexts in {path}; create one with: tricast context set NAME --url URL\n");
    }
    Ok(output::write(&text)?)
}

fn set(flags: &SetFlags) -> Result<(), Failure> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if flags.name.is_empty() || !flags.name.chars().all(is_name) {
        return Err(Failure::usage("the name of a context has letters, digits and - _ . only"));
    }
    let token = flags.token_stdin.then(token_of_stdin).transpose()?;
    let absolute = |path: &Option<PathBuf>| {
        let absolute = path.as_ref().map(std::path::absolute).transpose();
        absolute.map_err(|error| Failure::usage(format!("not a path: {error}")))
    };
    let (token_file, ca) = (absolute(&flags.token_file)?, absolute(&flags.ca)?);
    change(|contexts| {
        let context = contexts.contexts.entry(flags.name.clone()).or_default();
        if let Some(url) = &flags.url {
            context.url = parse_url(url)?.to_string();
        }
        if context.url.is_empty() {
            return Err(Failure::usage("--url is missing: the URL of the server"));
        }
        if token.is_some() {
            (context.token, context.token_file) = (token.clone(), None);
        }
        if token_file.is_some() {
            (context.token, context.token_file) = (None, token_file.clone());
        }
        context.ca = ca.clone().or(context.ca.take());
        context.transport = flags.transport.map(|transport| transport.name().to_owned()).or(context.transport.take());
        contexts.current.get_or_insert_with(|| flags.name.clone());
        Ok(())
    })
}

fn token_of_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(1 << 16).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("can't read the token: {error}")))?;
    Ok(Token::parse(&text)?.expose().to_owned())
}

fn change(change: impl FnOnce(&mut Contexts) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut contexts = Contexts::read()?;
    change(&mut contexts)?;
    contexts.write()?;
    Ok(())
}
