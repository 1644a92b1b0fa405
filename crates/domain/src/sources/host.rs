//! Measurements of the host: the channel `metrics.infrastructure`. No other file uses the crate that reads them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, Networks, System};
use tokio::sync::watch;

use super::{Source, nodes::Nodes, round};
use tricast_core::counters::Counters;

/// Interval at which the host is read, which is also the span over which CPU and network are measured.
const EVERY: Duration = Duration::from_secs(1);

/// Calculation of one value from those of several nodes.
#[derive(Clone, Copy)]
enum Merge {
    /// Their mean, with one decimal.
    Mean,
    /// Their sum, a whole number.
    Sum,
}

/// Measurement of a field of `metrics.infrastructure`.
struct HostField {
    /// Name in the table of built-in channels.
    name: &'static str,
    merge: Merge,
    measure: fn(&Measured<'_>) -> Option<f64>,
}

const CPU: &str = "cpu_usage";

/// The measurement of every field.
const FIELDS: [HostField; 6] = [
    HostField {
        name: CPU,
        merge: Merge::Mean,
        measure: |host| Some(round(f64::from(host.system.global_cpu_usage()).clamp(0.0, 100.0), 1)),
    },
    HostField {
        name: "memory_usage",
        merge: Merge::Mean,
        measure: |host| used_percent(host.system.available_memory(), host.system.total_memory()),
    },
    HostField {
        name: "disk_usage",
        merge: Merge::Mean,
        measure: |host| host.disk().and_then(|disk| used_percent(disk.available_space(), disk.total_space())),
    },
    HostField {
        name: "load_average",
        merge: Merge::Mean,
        measure: |_| System::load_average().ok().map(|load| round(load.one, 2)),
    },
    HostField {
        name: "network_in",
        merge: Merge::Sum,
        measure: |host| Some(host.traffic(sysinfo::NetworkData::received)),
    },
    HostField {
        name: "network_out",
        merge: Merge::Sum,
        measure: |host| Some(host.traffic(sysinfo::NetworkData::transmitted)),
    },
];

/// Source of `metrics.infrastructure`: the newest reading of this host; `None` before the first.
pub(super) struct Infrastructure(pub(super) watch::Receiver<Option<HostReading>>);

impl Source for Infrastructure {
    fn channel(&self) -> &'static str {
        "metrics.infrastructure"
    }

    fn name(&self) -> &'static str {
        "host"
    }

    fn measure(&mut self) -> Value {
        serde_json::to_value(*self.0.borrow_and_update()).unwrap_or_default()
    }

    /// In a cluster the value also has each node by itself, under `nodes`.
    fn merge(&mut self, nodes: &Nodes) -> Value {
        let hosts = nodes.of::<HostReading>(self.name());
        let readings: Vec<HostReading> = hosts.iter().map(|(_, host)| *host).collect();
        let mut value = HostReading::merged(&readings).to_json();
        if nodes.in_cluster {
            let each = hosts.iter().map(|(node, host)| {
                let mut value = host.to_json();
                value["node"] = json!(node);
                value
            });
            value["nodes"] = each.collect();
        }
        value
    }
}

/// One reading of the host: a value per field, `None` where it can't be read.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(from = "BTreeMap<String, Option<f64>>", into = "BTreeMap<&'static str, Option<f64>>")]
pub struct HostReading([Option<f64>; FIELDS.len()]);

impl HostReading {
    /// Returns the reading whose fields have the values that `value` returns.
    fn of(value: impl Fn(&HostField) -> Option<f64>) -> Self {
        Self(FIELDS.each_ref().map(value))
    }

    /// Returns the CPU usage of all cores, in percent.
    fn cpu_usage(&self) -> Option<f64> {
        FIELDS.iter().position(|field| field.name == CPU).and_then(|index| self.0[index])
    }

    /// Returns the mean or the sum of each field over several readings; `None` where none of them has a value.
    fn merged(readings: &[Self]) -> Self {
        let mut merged = Self::default();
        for (index, field) in FIELDS.iter().enumerate() {
            let known: Vec<f64> = readings.iter().filter_map(|reading| reading.0[index]).collect();
            let sum: f64 = known.iter().sum();
            merged.0[index] = (!known.is_empty()).then(|| match field.merge {
                Merge::Mean => round(sum / known.len() as f64, 1),
                Merge::Sum => sum,
            });
        }
        merged
    }

    /// Returns the value of `metrics.infrastructure`. Without a reading every field is null, since unknown is not zero.
    fn to_json(self) -> Value {
        let value = |(field, value): (&HostField, Option<f64>)| {
            let value = match field.merge {
                Merge::Mean => json!(value),
                Merge::Sum => json!(value.map(|value| value as u64)),
            };
            (field.name.to_owned(), value)
        };
        FIELDS.iter().zip(self.0).map(value).collect()
    }
}

impl From<BTreeMap<String, Option<f64>>> for HostReading {
    /// A node of another version may report other fields.
    fn from(values: BTreeMap<String, Option<f64>>) -> Self {
        Self::of(|field| values.get(field.name).copied().flatten())
    }
}

impl From<HostReading> for BTreeMap<&'static str, Option<f64>> {
    fn from(reading: HostReading) -> Self {
        FIELDS.iter().map(|field| field.name).zip(reading.0).collect()
    }
}

/// Starts reading on a thread of its own, since reading blocks for milliseconds. `counters` get the CPU usage for the load level. The
/// thread ends when every receiver is dropped.
pub(super) fn start(counters: Arc<Counters>) -> watch::Receiver<Option<HostReading>> {
    let (sender, readings) = watch::channel(None);
    #[expect(clippy::disallowed_methods, reason = "a thread of its own: nobody waits for it")]
    let spawned = thread::Builder::new().name("host".into()).spawn(move || match Host::new() {
        Ok(mut host) => {
            // First reading at once: CPU usage needs two measurements, some 200 ms apart.
            thread::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL);
            loop {
                let reading = host.read();
                counters.cpu_permille.set((reading.cpu_usage().unwrap_or(0.0) * 10.0) as i64);
                if sender.send(Some(reading)).is_err() {
                    return;
                }
                thread::sleep(EVERY);
            }
        }
        Err(error) => tracing::warn!(%error, "cannot measure this host: metrics.infrastructure stays empty"),
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "cannot start the thread that measures this host: metrics.infrastructure stays empty");
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
        let measured = Measured { system: &self.system, disks: &self.disks, networks: &self.networks, seconds };
        HostReading::of(|field| (field.measure)(&measured))
    }
}

/// Inputs of the measurement of a field.
struct Measured<'a> {
    system: &'a System,
    disks: &'a Disks,
    networks: &'a Networks,
    /// Time since the networks were read before.
    seconds: f64,
}

impl Measured<'_> {
    /// Returns the disk whose mount point is the longest prefix of the working directory.
    fn disk(&self) -> Option<&sysinfo::Disk> {
        let here = std::env::current_dir().ok()?;
        let holds = |disk: &&sysinfo::Disk| here.starts_with(disk.mount_point());
        self.disks.iter().filter(holds).max_by_key(|disk| disk.mount_point().as_os_str().len())
    }

    /// Returns the bytes per second over all interfaces but loopback.
    fn traffic(&self, bytes: fn(&sysinfo::NetworkData) -> u64) -> f64 {
        let interfaces = self.networks.iter().filter(|(name, _)| *name != "lo");
        let total: u64 = interfaces.map(|(_, data)| bytes(data)).sum();
        (total as f64 / self.seconds).floor()
    }
}

/// Returns the used part in percent; `None` if the total is unknown.
fn used_percent(free: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| round(100.0 * (1.0 - free as f64 / total as f64), 1))
}

#[cfg(test)]
mod tests {
    use super::{super::nodes::Gathered, *};

    fn report(cpu: f64, network: Option<u64>) -> String {
        let host = HostReading::of(|field| match field.name {
            CPU => Some(cpu),
            "memory_usage" => Some(50.0),
            "disk_usage" => None,
            _ => network.map(|bytes| bytes as f64),
        });
        json!({"host": host}).to_string()
    }

    #[test]
    fn shares_are_averaged_and_traffic_is_added_up() {
        let reports =
            [("a", report(10.0, Some(100))), ("b", json!({"host": null}).to_string()), ("c", report(40.0, Some(11)))];
        let reports = reports.map(|(node, report)| (node.to_owned(), report)).to_vec();
        let mut source = Infrastructure(watch::channel(None).1);
        let value = source.merge(&Nodes::many(Gathered { users: 0, reports }));
        assert_eq!(value["cpu_usage"], 25.0);
        assert_eq!(value["memory_usage"], 50.0);
        assert_eq!(value["disk_usage"], Value::Null);
        assert_eq!(value["network_in"], 111);
        assert_eq!(value["nodes"].as_array().map(Vec::len), Some(2), "{value}");
        assert_eq!(value["nodes"][1]["node"], "c");
        assert_eq!(value["nodes"][1]["cpu_usage"], 40.0);
    }

    #[test]
    fn this_host_is_measured() {
        let mut host = Host::new().unwrap();
        let until = Instant::now() + sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;
        while Instant::now() < until {
            // Keeps one core busy, so that there is something to measure.
            std::hint::spin_loop();
        }
        let reading = host.read();
        assert!(reading.cpu_usage().is_some_and(|cpu| cpu > 0.0 && cpu <= 100.0), "{reading:?}");
        let value = reading.to_json();
        let memory = value["memory_usage"].as_f64().unwrap();
        assert!(memory > 0.0 && memory < 100.0, "{value}");
        assert!(value["disk_usage"].as_f64().is_some_and(|disk| disk > 0.0), "{value}");
        assert!(value["load_average"].as_f64().is_some_and(|load| load >= 0.0), "{value}");
        assert!(value["network_in"].is_u64(), "{value}");
    }
}
