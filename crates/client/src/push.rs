//! Pushes lines (`docs/protocol.md`, section 7).

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    answer,
    error::Error,
    server::{PATIENCE, Server},
};

/// Path of pushes.
const PATH: &str = "api/metrics";

/// Result of a push.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Pushed {
    /// Number of accepted lines.
    pub accepted: u64,
    /// Number of refused lines.
    #[serde(default)]
    pub refused: u64,
    /// Position at or after the change.
    #[serde(default)]
    pub cursor: String,
    /// The first 100 refused lines.
    #[serde(default, rename = "results", deserialize_with = "refusals")]
    pub refusals: Vec<Refusal>,
}

/// A line that was refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Refusal {
    /// Position among the pushed lines, from 0.
    pub index: usize,
    /// Explanation of the server.
    pub detail: String,
}

fn refusals<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Refusal>, D::Error> {
    let results = Vec::<Value>::deserialize(deserializer)?;
    let refusal = |result: &Value| {
        let detail = result.get("detail")?.as_str()?.to_owned();
        Some(Refusal { index: usize::try_from(result.get("index")?.as_u64()?).ok()?, detail })
    };
    Ok(results.iter().filter_map(refusal).collect())
}

impl Server {
    /// Pushes lines, each of them one JSON object of `docs/protocol.md`, section 7, as text.
    ///
    /// # Errors
    /// [`Error::Problem`] if nothing was accepted; [`Error::is_unreachable`] if nothing was sent. After any other error the lines may
    /// have been accepted.
    pub async fn push(&self, lines: &[String]) -> Result<Pushed, Error> {
        let asked = self.asked(PATH);
        // A single line has the status of its refusal as a JSON object, not as a list of one.
        let (kind, body) = match lines {
            [line] => ("application/json", line.clone()),
            lines => ("application/x-ndjson", lines.join("\n")),
        };
        let request = self.request(Method::POST, PATH, &[])?.header("content-type", kind).body(body);
        let response = self.send(&asked, request, PATIENCE).await?;
        let body = answer::json(&asked, response).await?;
        serde_json::from_value(body).map_err(|error| Error::Unreadable(error.to_string()))
    }
}
