//! Lives of a server, from which its logs derive the epochs before their own.
//!
//! A log in memory ends with its process. If the next process can identify cursors of earlier logs, their holders get all
//! of the new log, which they cannot have seen; holders of other cursors do not.

use super::position::Epoch;
use crate::ids::random_u64;

/// Most lives that are remembered.
const MOST: usize = 32;

/// Life of this process, and those before it.
#[derive(Clone, Debug)]
pub struct Lives {
    now: u64,
    /// Earlier lives, oldest first; `None` if they are unknown.
    earlier: Option<Vec<u64>>,
}

impl Lives {
    /// Creates a life without knowledge of earlier ones.
    pub fn unknown() -> Self {
        Self { now: random_u64(), earlier: None }
    }

    /// Creates a life after those in `text`, which an earlier one wrote.
    pub fn after(text: &str) -> Self {
        let lives = text.lines().filter_map(|line| u64::from_str_radix(line.trim(), 16).ok()).collect();
        Self { earlier: Some(lives), ..Self::unknown() }
    }

    /// Returns all lives, a line each, for the next one.
    pub fn to_text(&self) -> String {
        let earlier = self.earlier.as_deref().unwrap_or_default();
        let kept = &earlier[earlier.len().saturating_sub(MOST - 1)..];
        kept.iter().chain([&self.now]).map(|life| format!("{life:016x}\n")).collect()
    }

    /// Returns the epoch of a tenant's log that follows `before` others in this life, and the epochs of those and of the
    /// first logs in earlier lives; `None` if earlier lives are unknown.
    pub fn epochs_of(&self, tenant: &str, before: u32) -> (Epoch, Option<Vec<Epoch>>) {
        let earlier = self.earlier.as_ref().map(|lives| {
            let in_this_life = (before.saturating_sub(MOST as u32)..before).map(|log| epoch_of(self.now, tenant, log));
            lives.iter().map(|life| epoch_of(*life, tenant, 0)).chain(in_this_life).collect()
        });
        (epoch_of(self.now, tenant, before), earlier)
    }
}

/// Computes an epoch: FNV-1a with an additional mixing step (the last of SplitMix64), the same in every version of this
/// program. `log` is the number of the tenant's logs before it in that life.
fn epoch_of(life: u64, tenant: &str, log: u32) -> Epoch {
    // No name of a tenant contains a zero byte.
    let log = (log > 0).then(|| std::iter::once(0).chain(log.to_le_bytes())).into_iter().flatten();
    let bytes = life.to_le_bytes().into_iter().chain(tenant.bytes()).chain(log);
    let mut bits =
        bytes.fold(0xcbf2_9ce4_8422_2325, |bits: u64, byte| (bits ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Epoch::of_bits(bits ^ (bits >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_knows_the_epochs_of_the_lives_before_and_each_tenant_has_its_own() {
        let first = Lives::unknown();
        assert_eq!(first.epochs_of("acme", 0).1, None);
        let second = Lives::after(&first.to_text());
        let third = Lives::after(&second.to_text());
        let [one, two, three] = [&first, &second, &third].map(|lives| lives.epochs_of("acme", 0).0);
        assert_eq!(third.epochs_of("acme", 0), (three.clone(), Some(vec![one.clone(), two.clone()])));
        assert!(one != two && two != three && three != third.epochs_of("globex", 0).0);
    }

    #[test]
    fn the_list_of_lives_is_bounded_and_a_damaged_one_is_read_as_far_as_possible() {
        let mut lives = Lives::unknown();
        for _ in 0..2 * MOST {
            lives = Lives::after(&lives.to_text());
        }
        assert_eq!(lives.to_text().lines().count(), MOST);
        let read = Lives::after("00000000000000ff\n\0nonsense\n");
        assert_eq!(read.epochs_of("acme", 0).1, Some(vec![epoch_of(255, "acme", 0)]));
    }

    #[test]
    fn the_epoch_of_a_life_is_the_same_in_every_version() {
        assert_eq!(epoch_of(1, "default", 0).to_string(), "u9hk4688");
    }

    #[test]
    fn each_log_of_a_tenant_in_one_life_has_its_own_epoch_and_follows_the_ones_before() {
        let lives = Lives::after("00000000000000ff\n");
        let logs: Vec<_> = (0..100).map(|before| lives.epochs_of("acme", before)).collect();
        for (n, (epoch, earlier)) in logs.iter().enumerate() {
            let earlier = earlier.as_ref().unwrap();
            assert!(earlier.len() <= 1 + MOST && !earlier.contains(epoch));
            assert!(logs[n.saturating_sub(MOST)..n].iter().all(|(before, _)| earlier.contains(before)), "{n}");
            assert!(logs[n + 1..].iter().all(|(later, _)| later != epoch), "{n}");
        }
    }
}
