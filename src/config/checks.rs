//! Checks of settings that involve more than one section.

use jiff::tz::TimeZone;

use super::{AuthMode, Config, Fault, Listen, listen, origin, origin_of};
use crate::web::base_path::BasePath;
use tricast_cluster::check_bus_url;
use tricast_core::{
    decider::ChannelTtls,
    settings::{FaultList, Section},
};
use tricast_store::postgres::check_database_url;

impl Config {
    /// Returns everything that is wrong with the settings as a whole: ranges, and settings that contradict each other.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = FaultList::default();
        self.check(&mut faults);
        self.auth.check(&mut faults);
        self.check_database(&mut faults);
        self.check_cluster(&mut faults);
        self.heartbeat.check(&mut faults);
        self.smtp.check(&mut faults);
        self.webhook.check(&mut faults);
        self.check_ranges("", &mut faults);
        faults.0
    }

    /// Reports faults of the settings that are in no section.
    fn check(&self, faults: &mut FaultList) {
        self.check_listen(faults);
        self.check_origins(faults);
        if self.data_dir.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
            faults.add("data_dir", "is empty: name a directory, or leave it out to keep nothing");
        }
        if self.auth.mode == AuthMode::Keys && self.data_dir.is_none() && self.database_url.is_empty() {
            faults.add("auth.mode", "is \"keys\", but nothing stores them: set data_dir or database_url");
        }
        faults.add_err("base_path", BasePath::parse(&self.base_path));
        for text in self.trusted_proxies.iter().filter(|text| *text != "unix:") {
            if listen::parse_network(text).is_none() {
                let problem = format!("{text:?} is not a network: write 10.0.0.0/8, 192.0.2.1 or unix:");
                faults.add("trusted_proxies", problem);
            }
        }
        faults.add_err("time_zone", TimeZone::get(&self.time_zone).map_err(|error| error.to_string()));
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            faults.add("currency", format!("{:?} is not a code of ISO 4217, such as EUR", self.currency));
        }
        faults.add_err("channel_ttls", ChannelTtls::parse(&self.channel_ttls));
        let filter = self.log_filter.parse::<tracing_subscriber::filter::Targets>();
        faults.add_err("log_filter", filter.map_err(|error| error.to_string()));
    }

    fn check_listen(&self, faults: &mut FaultList) {
        if self.listen.is_empty() {
            faults.add("listen", "is empty: name at least one address");
        }
        let is_protected = self.auth.mode != AuthMode::None || self.allow_anonymous;
        let is_remote = |place: &&Listen| matches!(place, Listen::Tcp(address) if !address.ip().is_loopback());
        for text in &self.listen {
            match listen::parse_listen(text) {
                Err(problem) => faults.add("listen", problem),
                Ok(places) => {
                    if let Some(address) = places.iter().find(is_remote).filter(|_| !is_protected) {
                        let problem = format!(
                            "{address} can be reached from other machines, and auth.mode is \"none\": set auth.mode = \
                             \"keys\", or \"jwt\" and a key, or set --allow-anonymous if every client may read and write"
                        );
                        faults.add("listen", problem);
                    }
                }
            }
        }
    }

    fn check_origins(&self, faults: &mut FaultList) {
        match self.public_url.as_deref().map(origin_of) {
            // The URL is not repeated, since it may hold a password.
            Some(None) => faults.add("public_url", "is not an http or https URL"),
            Some(Some(origin)) if origin.contains('@') => {
                faults.add("public_url", "contains user information: write the URL that users type");
            }
            _ => {}
        }
        for origin in self.allowed_origins.iter().filter(|origin| *origin != "*" && !origin::is_origin(origin)) {
            let problem = format!(
                "{origin:?} is not an origin: write \"https://shop.example\" or \"capacitor://localhost\", without a path, \
                 \"null\" for pages of files, or \"*\""
            );
            faults.add("allowed_origins", problem);
        }
        // A page of any site can have a frame whose origin is "null".
        let is_any = |origin: &&String| matches!(origin.as_str(), "*" | "null");
        if let Some(origin) = self.allowed_origins.iter().find(is_any).filter(|_| self.auth.cookie.is_some()) {
            let problem = format!(
                "{origin:?} together with auth.cookie lets any page use the cookie of its visitor: name the origins"
            );
            faults.add("allowed_origins", problem);
        }
    }

    /// Reports settings of the store that contradict each other or make no sense.
    fn check_database(&self, faults: &mut FaultList) {
        if self.database_url.is_empty() {
            if self.database.ca_file.is_some() {
                faults.add("database.ca_file", "is set, but there is no database_url: it would never be used");
            }
            return;
        }
        if self.data_dir.is_some() {
            faults.add("database_url", "is set together with data_dir: data is stored in only one of them");
        }
        faults.add_err("database_url", check_database_url(self.database_url.expose()));
    }

    /// Reports settings of the bus that contradict each other or make no sense.
    fn check_cluster(&self, faults: &mut FaultList) {
        if self.bus.is_empty() {
            if self.cluster.ca_file.is_some() {
                faults.add("cluster.ca_file", "is set, but there is no bus: it would never be used");
            }
            if self.node_id.is_some() {
                faults.add("node_id", "is set, but there is no bus: this server is the only node");
            }
        } else {
            faults.add_err("bus", check_bus_url(self.bus.expose()));
        }
        let is_name = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
        };
        for (key, text) in
            [("node_id", self.node_id.as_deref()), ("cluster.key_prefix", Some(&*self.cluster.key_prefix))]
        {
            if text.is_some_and(|text| !is_name(text)) {
                faults.add(key, "has to be 1 to 64 of A-Z a-z 0-9 _ . : -");
            }
        }
    }
}
