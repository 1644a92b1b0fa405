//! Settings of the connections to PostgreSQL.

use std::path::PathBuf;

use super::{
    Config, Span,
    setting::{FaultList, section},
};
use tricast_store::postgres::{MIN_CONNECTIONS, PostgresConfig, check_database_url};

section! {
    /// Connections to PostgreSQL, if it is used.
    pub struct Database {
        /// File with the certificates, in PEM, of the authorities that may vouch for PostgreSQL; without it those of the system.
        /// With it `sslmode=require` means `verify-ca`, as for libpq.
        ca_file: Option<PathBuf> = None,
        /// Connections to PostgreSQL at once, 3 at least: one writes, one checks availability, the others read.
        #[range(MIN_CONNECTIONS..=1_000)]
        connections: usize = PostgresConfig::default().connections,
        /// Longest time to get a connection, a new one or a free one.
        #[range(Span::from_millis(100)..=Span::from_secs(60))]
        connect_timeout: Span = Span(PostgresConfig::default().connect_timeout),
        /// Longest time of a statement: PostgreSQL ends it, and a second later its connection is closed.
        #[range(Span::from_millis(100)..=Span::from_secs(60))]
        statement_timeout: Span = Span(PostgresConfig::default().statement_timeout),
    }
}

impl Database {
    /// Reports settings of `config` that contradict each other or make no sense.
    pub(super) fn check(&self, config: &Config, faults: &mut FaultList) {
        if config.database_url.is_empty() {
            if self.ca_file.is_some() {
                faults.add("database.ca_file", "is set, but there is no database_url: it would never be used");
            }
            return;
        }
        if config.data_dir.is_some() {
            faults.add("database_url", "is set together with data_dir: data is stored in only one of them");
        }
        faults.add_err("database_url", check_database_url(config.database_url.expose()));
    }

    /// Returns the configuration of the PostgreSQL store of `config`; `None` if the store is embedded.
    pub(super) fn postgres(&self, config: &Config) -> Option<PostgresConfig> {
        let Self { ca_file, connections, connect_timeout, statement_timeout } = self.clone();
        (!config.database_url.is_empty()).then(|| PostgresConfig {
            url: config.database_url.expose().to_owned(),
            ca_file,
            connections,
            connect_timeout: connect_timeout.0,
            shares_log: !config.bus.is_empty(),
            statement_timeout: statement_timeout.0,
        })
    }
}
