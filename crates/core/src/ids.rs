//! Random bits for names that must not repeat.

/// Returns 64 bits of the operating system's generator.
///
/// Names that must differ between processes, hosts and restarts are made of them: epochs, node ids, ids of alerts.
/// `fastrand`, which seeds itself from the clock, serves for jitter only. Secrets come from
/// `tricast_auth::unguessable`, which fails where this function falls back to `fastrand`: when the system has
/// no random bytes.
pub fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}
