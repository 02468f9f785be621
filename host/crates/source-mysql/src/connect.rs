//! Where the server is, and how we come in.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{MysqlConfig, TlsConfig, TlsMode};
use crate::dsn::Dsn;
use crate::failure::MysqlError;
use crate::server::Server;

/// A server, and how we come in.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub dsn: Dsn,
    pub tls: Tls,
    /// Longest time for a connection to be made.
    pub patience: Duration,
    address: String,
    /// The server that every connection must be to; `None`: not known yet.
    pub identity: Option<String>,
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

impl Endpoint {
    /// The endpoint of a configuration.
    pub fn of(config: &MysqlConfig) -> Result<Self, MysqlError> {
        let dsn = Dsn::parse(&config.dsn).map_err(MysqlError::NotReady)?;
        let (address, tls) = (dsn.address(), Tls::of(config.tls.as_ref(), dsn.tls));
        let patience = Duration::from_secs(config.connect_timeout_secs.get());
        Ok(Self { dsn, tls, address, patience, identity: None })
    }

    /// The same, where a connection to any other server is refused: behind one address there may be several.
    pub fn only(self, server: &Server) -> Self {
        Self { identity: Some(server.identity.clone()), ..self }
    }

    /// `host:port`, for people.
    pub fn address(&self) -> &str {
        &self.address
    }
}
