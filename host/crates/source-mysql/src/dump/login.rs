//! The handshake, and who we are (manual: "Connection Phase").

use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, ErrPacket, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::MySerialize;
use tokio::net::TcpStream;

use super::tls;
use super::wire::Wire;
use crate::config::TlsMode;
use crate::connect::Endpoint;
use crate::failure::MysqlError;

/// Most bytes of a packet that we say we take: the protocol's own bound.
const MAX_ALLOWED_PACKET: u32 = 1 << 30;
/// utf8mb4_general_ci.
const COLLATION: u8 = 45;

/// Opens a connection and logs in.
pub(crate) async fn open(endpoint: &Endpoint, max_payload: usize) -> Result<Wire, MysqlError> {
    let address = endpoint.address();
    let unreachable = |cause: std::io::Error| MysqlError::Unreachable {
        action: "connect to",
        address: address.to_owned(),
        cause: cause.to_string(),
    };
    let socket = TcpStream::connect((endpoint.dsn.host.as_str(), endpoint.dsn.port)).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    let mut wire = Wire::new(Box::new(socket), address, max_payload);
    let greeting = Greeting::read(endpoint, wire.packet().await?)?;
    let capabilities = greeting.capabilities(endpoint)?;
    let encrypted = capabilities.contains(CapabilityFlags::CLIENT_SSL);
    if encrypted {
        let mut request = Vec::new();
        SslRequest::new(capabilities, MAX_ALLOWED_PACKET, COLLATION).serialize(&mut request);
        wire.send(&request).await?;
        wire = wire.over(|socket| tls::encrypt(endpoint, socket)).await?;
    }
    let mut login = Login { endpoint, nonce: greeting.nonce, plugin: greeting.plugin, encrypted };
    let response = login.response(greeting.version, capabilities)?;
    wire.send(&response).await?;
    login.finish(&mut wire).await?;
    Ok(wire)
}

/// What of the server's first packet matters.
struct Greeting {
    version: (u16, u16, u16),
    offered: CapabilityFlags,
    nonce: Vec<u8>,
    plugin: AuthPlugin<'static>,
}

impl Greeting {
    fn read(endpoint: &Endpoint, packet: &[u8]) -> Result<Self, MysqlError> {
        if packet.first() == Some(&0xff) {
            return Err(refusal("connect to", endpoint.address(), packet));
        }
        let packet = ParseBuf(packet).parse::<HandshakePacket<'_>>(()).map_err(|error| unexpected(endpoint, &error))?;
        Ok(Self {
            version: packet.server_version_parsed().unwrap_or((5, 6, 0)),
            offered: packet.capabilities(),
            nonce: packet.nonce(),
            // What the server proposes may be a plugin that the account does not have: it then names the right one.
            plugin: match packet.auth_plugin() {
                Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
                _ => AuthPlugin::MysqlNativePassword,
            },
        })
    }

    /// What we ask for of what the server has.
    fn capabilities(&self, endpoint: &Endpoint) -> Result<CapabilityFlags, MysqlError> {
        let mut wanted = CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_LONG_PASSWORD
            | CapabilityFlags::CLIENT_TRANSACTIONS
            | CapabilityFlags::CLIENT_LONG_FLAG
            | CapabilityFlags::CLIENT_PLUGIN_AUTH
            | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA;
        let has_tls = self.offered.contains(CapabilityFlags::CLIENT_SSL);
        match endpoint.tls.mode {
            TlsMode::Disabled => {}
            TlsMode::Preferred if !has_tls => {}
            _ if !has_tls => return Err(MysqlError::no_tls(endpoint.address())),
            _ => wanted |= CapabilityFlags::CLIENT_SSL,
        }
        Ok(wanted & self.offered)
    }
}

struct Login<'a> {
    endpoint: &'a Endpoint,
    nonce: Vec<u8>,
    plugin: AuthPlugin<'static>,
    encrypted: bool,
}

impl Login<'_> {
    fn password(&self) -> Option<&str> {
        self.endpoint.dsn.password.as_deref()
    }

    fn response(&self, version: (u16, u16, u16), capabilities: CapabilityFlags) -> Result<Vec<u8>, MysqlError> {
        let proof = self.proof()?;
        let packet = HandshakeResponse::new(
            Some(proof.as_slice()),
            version,
            Some(self.endpoint.dsn.user.as_bytes()),
            None::<&[u8]>,
            Some(self.plugin.borrow()),
            capabilities,
            None,
            MAX_ALLOWED_PACKET,
        );
        let mut bytes = Vec::new();
        packet.serialize(&mut bytes);
        Ok(bytes)
    }

    /// That we know the password, without saying it.
    fn proof(&self) -> Result<Vec<u8>, MysqlError> {
        match &self.plugin {
            AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword => {
                let proof = self.plugin.gen_data(self.password(), &self.nonce);
                Ok(proof.map(|proof| proof.to_vec()).unwrap_or_default())
            }
            other => Err(MysqlError::unknown_login(self.endpoint.address(), &String::from_utf8_lossy(other.as_bytes()))),
        }
    }

    async fn finish(&mut self, wire: &mut Wire) -> Result<(), MysqlError> {
        const OK: u8 = 0x00;
        const MORE: u8 = 0x01;
        const SWITCH: u8 = 0xfe;
        const REFUSED: u8 = 0xff;
        // What follows a MORE of caching_sha2_password.
        const KNOWN: u8 = 0x03;
        const SAY_IT: u8 = 0x04;
        loop {
            let packet = wire.packet().await?;
            match packet {
                [OK, ..] => return Ok(()),
                [REFUSED, ..] => return Err(refusal("log in to", self.endpoint.address(), packet)),
                [SWITCH, _, ..] => {
                    let asked = ParseBuf(packet).parse::<AuthSwitchRequest<'_>>(());
                    let asked = asked.map_err(|error| unexpected(self.endpoint, &error))?;
                    self.plugin = asked.auth_plugin().into_owned();
                    self.nonce = asked.plugin_data().to_vec();
                    let proof = self.proof()?;
                    wire.send(&proof).await?;
                }
                [MORE, KNOWN] => {}
                [MORE, SAY_IT] => self.say(wire).await?,
                _ => return Err(unexpected(self.endpoint, &"it is none of the login")),
            }
        }
    }

    /// Says the password: over an encrypted connection, or encrypted with the server's key.
    async fn say(&self, wire: &mut Wire) -> Result<(), MysqlError> {
        const ASK_KEY: u8 = 0x02;
        let mut password = self.password().unwrap_or_default().as_bytes().to_vec();
        password.push(0);
        if !self.encrypted {
            wire.send(&[ASK_KEY]).await?;
            let key = match wire.packet().await? {
                [0x01, key @ ..] if key.starts_with(b"-----BEGIN PUBLIC KEY-----") => key,
                _ => return Err(unexpected(self.endpoint, &"it is not the server's key")),
            };
            for (byte, mask) in password.iter_mut().zip(self.nonce.iter().cycle()) {
                *byte ^= mask;
            }
            password = crypto::encrypt(&password, key);
        }
        wire.send(&password).await
    }
}

/// The server's words in an error packet.
pub(crate) fn refusal(action: &str, address: &str, packet: &[u8]) -> MysqlError {
    match ParseBuf(packet).parse::<ErrPacket<'_>>(CapabilityFlags::CLIENT_PROTOCOL_41) {
        Ok(ErrPacket::Error(error)) => {
            MysqlError::told(&format!("{action} {address}"), address, error.error_code(), &error.message_str())
        }
        _ => MysqlError::told(&format!("{action} {address}"), address, 0, "an error that cannot be read"),
    }
}

fn unexpected(endpoint: &Endpoint, why: &dyn std::fmt::Display) -> MysqlError {
    MysqlError::Unreachable {
        action: "log in to",
        address: endpoint.address().to_owned(),
        cause: format!("a packet was not understood: {why}"),
    }
}
