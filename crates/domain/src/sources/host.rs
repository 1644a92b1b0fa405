//! Measurements of the host: CPU, memory, disk and network. No other file uses the crate that reads them.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, Networks, System};
use tokio::sync::watch;

use super::round;
use tricast_core::counters::Counters;

/// Interval at which the host is read, which is also the span over which CPU and network are measured.
const EVERY: Duration = Duration::from_secs(1);

/// One reading of the host.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct HostReading {
    /// CPU usage of all cores, in percent.
    pub cpu_usage: f64,
    /// Memory that is not available, in percent; `None` if it can't be read.
    pub memory_usage: Option<f64>,
    /// Usage of the disk with the working directory, in percent.
    pub disk_usage: Option<f64>,
    /// Bytes per second over all interfaces but loopback.
    pub network_in: Option<u64>,
    /// Bytes per second over all interfaces but loopback.
    pub network_out: Option<u64>,
}

impl HostReading {
    /// Returns the value of `metrics.infrastructure`.
    pub fn to_json(self) -> Value {
        json!({
            "cpu_usage": self.cpu_usage,
            "memory_usage": self.memory_usage,
            "disk_usage": self.disk_usage,
            "network_in": self.network_in,
            "network_out": self.network_out,
        })
    }
}

/// Starts reading on a thread of its own, since reading blocks for milliseconds. `counters` get the CPU usage for the load level. The
/// thread ends when every receiver is dropped.
pub fn start(counters: Arc<Counters>) -> watch::Receiver<Option<HostReading>> {
    let (sender, readings) = watch::channel(None);
    #[expect(clippy::disallowed_methods, reason = "a thread of its own: nobody waits for it")]
    let spawned = thread::Builder::new().name("host".into()).spawn(move || match Host::new() {
        Ok(mut host) => {
            // A first reading at once: the CPU needs two looks, some 200 ms apart.
            thread::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL);
            loop {
                let reading = host.read();
                counters.cpu_permille.set((reading.cpu_usage * 10.0) as i64);
                if sender.send(Some(reading)).is_err() {
                    return;
                }
                thread::sleep(EVERY);
            }
        }
        Err(error) => tracing::warn!(%error, "this host can't be measured: metrics.infrastructure stays empty"),
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for measuring this host: metrics.infrastructure stays empty");
    }
    readings
}

struct Host {
    system: System,
    disks: Disks,
    networks: Networks,
    networks_read: Instant,
}

impl Host {
    fn new() -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        // Without the list there is nothing whose usage could be refreshed.
        system.refresh_cpu_list(CpuRefreshKind::nothing().with_usage());
        Ok(Self {
            system,
            disks: Disks::new_with_refreshed_list()?,
            networks: Networks::new_with_refreshed_list()?,
            networks_read: Instant::now(),
        })
    }

    fn read(&mut self) -> HostReading {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.disks.refresh(true);
        self.networks.refresh(true);
        let seconds = self.networks_read.elapsed().as_secs_f64().max(0.001);
        self.networks_read = Instant::now();
        let share = |free: u64, total: u64| (total > 0).then(|| round(100.0 * (1.0 - free as f64 / total as f64), 1));
        let traffic = |bytes: fn(&sysinfo::NetworkData) -> u64| {
            let interfaces = self.networks.iter().filter(|(name, _)| *name != "lo");
            let total: u64 = interfaces.map(|(_, data)| bytes(data)).sum();
            Some((total as f64 / seconds) as u64)
        };
        HostReading {
            cpu_usage: round(f64::from(self.system.global_cpu_usage()).clamp(0.0, 100.0), 1),
            memory_usage: share(self.system.available_memory(), self.system.total_memory()),
            disk_usage: self.disk().and_then(|disk| share(disk.available_space(), disk.total_space())),
            network_in: traffic(sysinfo::NetworkData::received),
            network_out: traffic(sysinfo::NetworkData::transmitted),
        }
    }

    /// The disk whose mount point is the longest prefix of the working directory.
    fn disk(&self) -> Option<&sysinfo::Disk> {
        let here = std::env::current_dir().ok()?;
        let holds = |disk: &&sysinfo::Disk| here.starts_with(disk.mount_point());
        self.disks.iter().filter(holds).max_by_key(|disk| disk.mount_point().as_os_str().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_measured() {
        let mut host = Host::new().unwrap();
        let until = Instant::now() + sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;
        while Instant::now() < until {
            // Keeps one core busy, so that there is something to measure.
            std::hint::spin_loop();
        }
        let reading = host.read();
        assert!(reading.cpu_usage > 0.0 && reading.cpu_usage <= 100.0, "{reading:?}");
        let memory = reading.memory_usage.unwrap();
        assert!(memory > 0.0 && memory < 100.0, "{reading:?}");
        assert!(reading.disk_usage.is_some_and(|disk| disk > 0.0), "{reading:?}");
    }
}
