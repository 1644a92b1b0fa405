//! The server that a command speaks to: URL, token and certificates from flags, the environment, or a context.

use std::{env, fs, path::PathBuf, sync::Arc};

use clap::Args;
use tricast_client::{Choice, Error, Options, Server, Token, TokenSource, Transport, parse_url};

use super::{
    contexts::{Context, Contexts},
    failure::Failure,
};
use crate::config::Secret;

/// Server of a machine on which nothing was configured.
const DEFAULT_URL: &str = "http://127.0.0.1:8080/";

/// Flags of the commands that speak to a server. Each has a variable of the environment, which the settings of a server leave
/// out (`config::CLIENT_VARIABLES`).
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerFlags {
    /// URL of the server, sub-path included [default: TRICAST_URL, then the context's, then http://127.0.0.1:8080/]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Token [default: TRICAST_TOKEN, then the context's]. Lists of processes show arguments: prefer the variable or a file
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<Secret>,
    /// File with the token, which is read again when the server refuses the token [default: TRICAST_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with certificates (PEM) to accept beside those of the system [default: TRICAST_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Context to use [default: TRICAST_CONTEXT, then the current one]; see tricast context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Flags of the commands that keep a connection.
#[derive(Args, Clone, Debug)]
pub(super) struct ConnectionFlags {
    #[command(flatten)]
    pub(super) server: ServerFlags,
    /// Transport: auto (the best one that works), websocket, sse, long-poll or poll
    #[arg(long, value_name = "NAME", help_heading = "Server", value_parser = choice)]
    transport: Option<Choice>,
}

/// Checks the form of a channel or a pattern.
pub(super) fn channel(name: &str) -> Result<String, String> {
    let rest = name.strip_suffix(".*").unwrap_or(name);
    let fits = |char: char| char.is_ascii_alphanumeric() || "_.:-".contains(char);
    if !rest.is_empty() && rest.len() <= 128 && rest.chars().all(fits) {
        return Ok(name.to_owned());
    }
    Err("a channel has letters, digits and _ . : - only; a pattern ends in .*".into())
}

/// Checks the form of a cursor.
pub(super) fn cursor(text: &str) -> Result<String, String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = text.split_once(':').is_some_and(|(epoch, offset)| {
        let (offset, state) = offset.split_once('.').unwrap_or((offset, "0"));
        !epoch.is_empty() && is_number(offset) && is_number(state)
    });
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a cursor looks like k3f9x2ab:10482; copy it from --json or a push".into())
    }
}

/// Parses the name of a transport.
fn choice(name: &str) -> Result<Choice, String> {
    match name {
        "auto" => Ok(Choice::Auto),
        name => name.parse::<Transport>().map(Choice::Only).map_err(|error| format!("{error}, auto")),
    }
}

/// Returns a variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl ServerFlags {
    /// Creates the client of the server.
    ///
    /// # Errors
    /// A fault of a flag, a variable or the context.
    pub(super) fn server(&self) -> Result<Server, Failure> {
        self.resolve().map(|(server, _)| server)
    }

    /// Creates the client, and returns the context whose URL it has.
    fn resolve(&self) -> Result<(Server, Option<Context>), Failure> {
        let named = self.context.clone();
        let url = self.url.clone().or_else(|| named.is_none().then(|| variable("TRICAST_URL"))?);
        // The token of a context is for the server of the context alone.
        let context = if url.is_some() { None } else { context(named)? };
        let url = url.or_else(|| context.as_ref().map(|context| context.url.clone()));
        let url = parse_url(url.as_deref().unwrap_or(DEFAULT_URL))?;
        let token = self.token(context.as_ref());
        // Faults of the token are reported before anything is sent.
        token()?;
        let in_context = || context.as_ref().and_then(|context| context.ca.clone());
        let ca = self.ca.clone().or_else(|| variable("TRICAST_CA").map(PathBuf::from)).or_else(in_context);
        let read = |path: PathBuf| {
            fs::read(&path).map_err(|error| Failure::usage(format!("can't read {} (--ca): {error}", path.display())))
        };
        let ca = ca.map(read).transpose()?;
        let user_agent = concat!("tricast-cli/", env!("CARGO_PKG_VERSION")).to_owned();
        Ok((Server::new(Options { url, token, ca, user_agent })?, context))
    }

    /// Returns where the token comes from.
    fn token(&self, context: Option<&Context>) -> TokenSource {
        let text = |text: String| -> TokenSource { Arc::new(move || Token::parse(&text).map(Some)) };
        let file = |path: PathBuf| -> TokenSource {
            Arc::new(move || {
                let text = fs::read_to_string(&path)
                    .map_err(|error| Error::Setup(format!("can't read the token in {}: {error}", path.display())))?;
                Token::parse(&text).map(Some)
            })
        };
        if let Some(token) = &self.token {
            return text(token.expose().to_owned());
        }
        if let Some(path) = &self.token_file {
            return file(path.clone());
        }
        if let Some(token) = variable("TRICAST_TOKEN") {
            return text(token);
        }
        if let Some(path) = variable("TRICAST_TOKEN_FILE") {
            return file(path.into());
        }
        match context {
            Some(Context { token: Some(token), .. }) => text(token.clone()),
            Some(Context { token_file: Some(path), .. }) => file(path.clone()),
            _ => Arc::new(|| Ok(None)),
        }
    }
}

impl ConnectionFlags {
    /// Creates the client of the server, and returns the transports to use.
    ///
    /// # Errors
    /// A fault of a flag, a variable or the context.
    pub(super) fn server(&self) -> Result<(Server, Choice), Failure> {
        let (server, context) = self.server.resolve()?;
        let of_context = context.and_then(|context| context.transport);
        let of_context = of_context.map(|name| choice(&name)).transpose();
        let of_context = of_context.map_err(|error| Failure::usage(format!("transport of the context: {error}")))?;
        Ok((server, self.transport.or(of_context).unwrap_or_default()))
    }
}

/// Returns the context that is named, or the current one.
fn context(named: Option<String>) -> Result<Option<Context>, Failure> {
    let contexts = Contexts::read()?;
    let name = named.or_else(|| variable("TRICAST_CONTEXT")).or_else(|| contexts.current.clone());
    name.map(|name| contexts.get(&name).cloned()).transpose()
}
