//! Result of a push, with a result for each line if some were refused.

use serde::Serialize;
use utoipa::ToSchema;

use crate::web::problem::Problem;
use tricast_core::{
    openapi::Cursor,
    protocol::error::{Code, MAX_LISTED},
};

/// Response to a push that was not refused as a whole.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum PushResponse {
    /// All lines are in the log.
    Accepted(Accepted),
    /// Some lines were refused.
    PartlyAccepted(PartlyAccepted),
}

/// All lines are in the log, before `cursor`.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"accepted": 1, "cursor": "k3f9x2ab:10482"}))]
pub(crate) struct Accepted {
    /// Number of lines, all of which were accepted.
    #[schema(minimum = 0)]
    pub(super) accepted: usize,
    #[schema(value_type = Cursor)]
    pub(super) cursor: String,
    /// `false` if channels have ended whose ends are not stored yet: until then a crash may restore them. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) stored: Option<bool>,
}

/// Some lines are in the log, others were refused.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"accepted": 1, "refused": 1, "cursor": "k3f9x2ab:10482", "results": [{"index": 0, "status": 202},
    {"index": 1, "status": 403, "code": "FORBIDDEN", "detail": "metrics.api is a channel of the server's own"}]}))]
pub(crate) struct PartlyAccepted {
    /// Number of accepted lines.
    #[schema(minimum = 0)]
    pub(super) accepted: usize,
    /// Number of refused lines.
    #[schema(minimum = 1)]
    pub(super) refused: usize,
    #[schema(value_type = Cursor)]
    pub(super) cursor: String,
    /// `false` if channels have ended whose ends are not stored yet: until then a crash may restore them. Left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) stored: Option<bool>,
    /// Results of all accepted lines and of at most 100 refused ones; all other lines were refused.
    pub(super) results: Vec<LineResult>,
}

/// Response to the end of a channel that is not stored yet.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"stored": false}))]
pub(crate) struct NotStored {
    /// `false`: the store did not confirm the deletion in time.
    pub(super) stored: bool,
}

/// Result of one line of a push.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"index": 1, "status": 403, "code": "FORBIDDEN", "detail": "metrics.api is a channel of the server's own"}))]
pub(crate) struct LineResult {
    /// Place of the line, counted from 0.
    #[schema(minimum = 0)]
    index: usize,
    /// Status that a push of this line alone would have.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// Stable code of the error, if the line was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<Code>,
    /// Explanation of the error, if the line was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// Refused lines, counted from 0: the first [`MAX_LISTED`] ones with their problems, and their total number.
#[derive(Default)]
pub(in crate::api) struct Refused {
    pub(in crate::api) count: usize,
    pub(in crate::api) listed: Vec<(usize, Problem)>,
}

impl Refused {
    /// Counts a refused line, and lists it if there is room.
    pub(in crate::api) fn add(&mut self, line: usize, problem: impl FnOnce() -> Problem) {
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push((line, problem()));
        }
    }

    /// Returns the results in the order of the lines.
    pub(super) fn results(self, accepted: Vec<usize>) -> Vec<LineResult> {
        let accepted = accepted.into_iter().map(|index| LineResult { index, status: 202, code: None, detail: None });
        let refused = self.listed.into_iter().map(|(index, problem)| {
            let Problem { status, code, detail, .. } = problem;
            LineResult { index, status: status.as_u16(), code: Some(code), detail: Some(detail) }
        });
        let mut results: Vec<_> = accepted.chain(refused).collect();
        results.sort_by_key(|result| result.index);
        results
    }
}
