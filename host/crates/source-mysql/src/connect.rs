//! Connections for statements: to look at the server, its tables and their rows. The log comes over one of its own
//! ([`dump`](crate::dump)), with the same endpoint.

use std::path::PathBuf;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use tokio::time::timeout;

use crate::config::{MysqlConfig, TlsConfig, TlsMode};
use crate::dsn::Dsn;
use crate::failure::{Doing, MysqlError};

/// A server, and how we come in.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub dsn: Dsn,
    pub tls: Tls,
    /// Longest time for a connection to be made.
    pub patience: Duration,
    address: String,
}

/// Encryption, as configured and with defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub mode: TlsMode,
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn of(config: Option<&TlsConfig>, asked_in_dsn: Option<TlsMode>) -> Self {
        let TlsConfig { mode, ca_file, cert_file, key_file } = config.cloned().unwrap_or_default();
        let usual = if ca_file.is_some() { TlsMode::VerifyCa } else { TlsMode::Preferred };
        Self { mode: mode.or(asked_in_dsn).unwrap_or(usual), ca_file, identity: cert_file.zip(key_file) }
    }
}

/// Every session: texts as UTF-8, times in UTC, and no time-out of the server's while a slow sink holds us up.
const SESSION: [&str; 3] = ["SET NAMES utf8mb4", "SET time_zone = '+00:00'", "SET net_write_timeout = 3600, wait_timeout = 86400"];

impl Endpoint {
    /// The endpoint of a configuration.
    pub fn of(config: &MysqlConfig) -> Result<Self, MysqlError> {
        let dsn = Dsn::parse(&config.dsn).map_err(MysqlError::NotReady)?;
        let (address, tls) = (dsn.address(), Tls::of(config.tls.as_ref(), dsn.tls));
        Ok(Self { dsn, tls, address, patience: Duration::from_secs(config.connect_timeout_secs.get()) })
    }

    /// `host:port`, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection with [`SESSION`] set.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, does not let us in, or has no TLS as configured.
    pub async fn connect(&self) -> Result<Conn, MysqlError> {
        match timeout(self.patience, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(MysqlError::Silent {
                action: "connect to",
                address: self.address.clone(),
                waited: self.patience,
            }),
        }
    }

    async fn open(&self) -> Result<Conn, MysqlError> {
        let opened = match (self.tls.mode, Conn::new(self.options(self.tls.mode != TlsMode::Disabled)).await) {
            (TlsMode::Preferred, Err(Error::Driver(DriverError::NoClientSslFlagFromServer))) => {
                Conn::new(self.options(false)).await
            }
            (_, opened) => opened,
        };
        let mut conn = opened.doing("connect to", &self.address)?;
        for statement in SESSION {
            conn.query_drop(statement).await.doing("set up the session at", &self.address)?;
        }
        Ok(conn)
    }

    fn options(&self, encrypted: bool) -> Opts {
        let Dsn { host, port, user, password, database, .. } = &self.dsn;
        OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(*port)
            .user(Some(user))
            .pass(password.as_ref())
            .db_name(database.as_ref())
            .prefer_socket(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .ssl_opts(encrypted.then(|| self.encryption()))
            .into()
    }

    fn encryption(&self) -> SslOpts {
        let Tls { mode, ca_file, identity } = &self.tls;
        let identity = identity.clone().map(|(cert, key)| ClientIdentity::new(cert.into(), key.into()));
        SslOpts::default()
            .with_root_certs(ca_file.clone().into_iter().map(Into::into).collect())
            .with_disable_built_in_roots(ca_file.is_some())
            .with_danger_accept_invalid_certs(!mode.verifies())
            .with_danger_skip_domain_validation(*mode != TlsMode::VerifyIdentity)
            .with_client_identity(identity)
    }
}
