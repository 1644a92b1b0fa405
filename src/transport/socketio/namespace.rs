//! The namespaces that clients can join.

/// A namespace that clients may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    /// `/`: the metrics of a dashboard, and alerts.
    Root,
    /// `/dashboard`: the metrics of entities.
    Dashboard,
    /// `/analytics/dashboard`: changes of dashboards.
    Analytics,
    /// `/tricast`: everything that a WebSocket can do.
    Tricast,
}

impl Namespace {
    /// Returns the namespace with this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Root, Self::Dashboard, Self::Analytics, Self::Tricast].into_iter().find(|known| known.as_str() == name)
    }

    /// Returns the name of the namespace, with its slash.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Dashboard => "/dashboard",
            Self::Analytics => "/analytics/dashboard",
            Self::Tricast => "/tricast",
        }
    }
}
