//! Checks the settings of Redis, at the start and whenever it is back, and warns of those with which it may lose data.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::cmd;
use tokio::time::sleep;

use super::node::Node;

/// Pause before another attempt when Redis does not reply.
const RETRY: Duration = Duration::from_secs(5);

/// Settings of Redis that are checked.
const SETTINGS: [&str; 3] = ["appendonly", "appendfsync", "maxmemory-policy"];

/// Checks until the task is cancelled.
pub(super) async fn run(node: Arc<Node>) {
    let mut fault = node.health.fault();
    let mut known = Vec::new();
    loop {
        match settings(&node).await {
            Ok(settings) => {
                let warnings = warnings(&settings);
                if warnings != known {
                    for warning in &warnings {
                        tracing::warn!("{warning}");
                    }
                    known = warnings;
                }
            }
            // Providers often deny it and document their guarantees elsewhere.
            Err(error) if error.code().is_some() => tracing::debug!(%error, "cannot read the settings of Redis"),
            Err(_) => {
                sleep(RETRY).await;
                continue;
            }
        }
        // Again when it is back: it may be another one.
        if fault.wait_for(Option::is_some).await.is_err() || fault.wait_for(Option::is_none).await.is_err() {
            return;
        }
    }
}

async fn settings(node: &Node) -> redis::RedisResult<HashMap<String, String>> {
    let mut connection = node.link.connect(Duration::ZERO).await?;
    let mut settings = HashMap::new();
    for name in SETTINGS {
        let found: Vec<String> = cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await?;
        if let [_, value] = &found[..] {
            settings.insert(name.to_owned(), value.clone());
        }
    }
    Ok(settings)
}

/// Returns the warnings for these settings. Unknown settings cause none.
fn warnings(settings: &HashMap<String, String>) -> Vec<String> {
    let get = |name: &str| settings.get(name).map(String::as_str);
    let mut warnings = Vec::new();
    match (get("appendonly"), get("appendfsync")) {
        (Some("no"), _) => warnings.push(
            "Redis has appendonly no: accepted pushes are lost when it stops; set appendonly yes and appendfsync always"
                .to_owned(),
        ),
        (Some("yes"), Some(fsync)) if fsync != "always" => warnings.push(format!(
            "Redis has appendfsync {fsync}: when it is killed, what was accepted in the last seconds may be lost; set \
             appendfsync always"
        )),
        _ => {}
    }
    if let Some(policy) = get("maxmemory-policy").filter(|policy| *policy != "noeviction") {
        warnings.push(format!(
            "Redis has maxmemory-policy {policy}: when its memory is full it drops parts of the log; set noeviction"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> Vec<String> {
        warnings(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn settings_that_lose_data_are_named_and_others_are_not() {
        let good = [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];
        assert!(of(&good).is_empty());
        assert!(of(&[]).is_empty(), "unknown settings cause no warning");
        assert!(of(&[("appendonly", "no"), ("appendfsync", "always")])[0].contains("appendonly no"));
        assert!(of(&[("appendonly", "yes"), ("appendfsync", "everysec")])[0].contains("appendfsync everysec"));
        for policy in ["allkeys-lru", "volatile-ttl"] {
            let found = of(&[good[0], good[1], ("maxmemory-policy", policy)]);
            assert!(found.len() == 1 && found[0].contains(policy), "{found:?}");
        }
    }
}
