//! The handshake, and who we are (manual: "Connection Phase").

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::tls;
use super::wire::Wire;
use crate::bytes::Bytes;
use crate::config::TlsMode;
use crate::connect::Endpoint;
use crate::error::DecodeError;
use crate::failure::MysqlError;

/// Most bytes of a packet that we say we take: the protocol's own bound.
const MAX_ALLOWED_PACKET: u32 = 1 << 30;
/// utf8mb4_general_ci.
const COLLATION: u8 = 45;

/// What the two ends can do (manual: "Capabilities Flags").
mod can {
    pub const LONG_PASSWORD: u32 = 1;
    pub const LONG_FLAG: u32 = 1 << 2;
    pub const PROTOCOL_41: u32 = 1 << 9;
    pub const SSL: u32 = 1 << 11;
    pub const TRANSACTIONS: u32 = 1 << 13;
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    pub const PLUGIN_AUTH: u32 = 1 << 19;
}

/// Opens a connection and logs in.
pub(crate) async fn open(endpoint: &Endpoint, max_payload: usize) -> Result<Wire, MysqlError> {
    let address = endpoint.address();
    let unreachable = |cause: std::io::Error| MysqlError::Unreachable {
        action: "connect to",
        address: address.to_owned(),
        cause: cause.to_string(),
    };
    let socket =
        TcpStream::connect((endpoint.dsn.host.as_str(), endpoint.dsn.port)).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    let mut wire = Wire::new(Box::new(socket), address, max_payload);
    let greeting = match wire.packet().await? {
        packet @ [0xff, ..] => return Err(refusal("connect to", address, packet)),
        packet => Greeting::read(packet).map_err(|error| unexpected(endpoint, &error))?,
    };
    let capabilities = greeting.capabilities(endpoint)?;
    let encrypted = capabilities & can::SSL != 0;
    if encrypted {
        wire.send(&head(capabilities)).await?;
        wire = wire.over(|socket| tls::encrypt(endpoint, socket)).await?;
    }
    let mut login = Login { endpoint, nonce: greeting.nonce, plugin: greeting.plugin, encrypted };
    let response = login.response(capabilities);
    wire.send(&response).await?;
    login.finish(&mut wire).await?;
    Ok(wire)
}

/// What both the request for TLS and the login begin with.
fn head(capabilities: u32) -> Vec<u8> {
    let mut bytes = capabilities.to_le_bytes().to_vec();
    bytes.extend_from_slice(&MAX_ALLOWED_PACKET.to_le_bytes());
    bytes.push(COLLATION);
    bytes.extend_from_slice(&[0; 23]);
    bytes
}

/// How an account proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    /// `caching_sha2_password`
    CachingSha2,
    /// `sha256_password`
    Sha256,
    /// `mysql_native_password`
    Native,
}

impl Plugin {
    const NAMES: [(&str, Self); 3] = [
        ("caching_sha2_password", Self::CachingSha2),
        ("sha256_password", Self::Sha256),
        ("mysql_native_password", Self::Native),
    ];

    fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, plugin)| *plugin)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, plugin)| *plugin == self).map_or("", |(name, _)| *name)
    }

    /// That we know the password, without saying it: a hash of it, masked by one of the server's random bytes.
    fn proof(self, password: &[u8], nonce: &[u8], encrypted: bool) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let (algorithm, nonce_first) = match self {
            Self::CachingSha2 => (&SHA256, false),
            Self::Native => (&SHA1_FOR_LEGACY_USE_ONLY, true),
            // Says it, or asks for the server's key to say it by.
            Self::Sha256 if encrypted => return spoken(password),
            Self::Sha256 => return vec![ASK_KEY_OF_SHA256],
        };
        let hash = digest(algorithm, password);
        let twice = digest(algorithm, hash.as_ref());
        let masked = match nonce_first {
            true => digest(algorithm, &[nonce, twice.as_ref()].concat()),
            false => digest(algorithm, &[twice.as_ref(), nonce].concat()),
        };
        hash.as_ref().iter().zip(masked.as_ref()).map(|(hash, mask)| hash ^ mask).collect()
    }
}

const ASK_KEY_OF_SHA256: u8 = 0x01;
const ASK_KEY: u8 = 0x02;

/// What of the server's first packet matters.
struct Greeting {
    offered: u32,
    nonce: Vec<u8>,
    plugin: Plugin,
}

impl Greeting {
    fn read(packet: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a server's greeting";
        let mut bytes = Bytes::new(packet);
        let protocol = bytes.u8(WHAT)?;
        if protocol != 10 {
            return Err(DecodeError::corrupt(
                WHAT,
                format!("version {protocol} of the protocol; 10 is known"),
            ));
        }
        bytes.until_nul(WHAT)?;
        bytes.u32(WHAT)?;
        let mut nonce = bytes.take(8, WHAT)?.to_vec();
        bytes.u8(WHAT)?;
        let low = bytes.u16(WHAT)?;
        // Collation and status.
        bytes.take(1 + 2, WHAT)?;
        let high = bytes.u16(WHAT)?;
        let len = usize::from(bytes.u8(WHAT)?);
        bytes.take(10, WHAT)?;
        nonce.extend_from_slice(without_nul(bytes.take(len.saturating_sub(8).max(13), WHAT)?));
        // What the server proposes may be a plugin that the account does not have: it then names the right one.
        let plugin = Plugin::named(without_nul(bytes.rest())).unwrap_or(Plugin::Native);
        Ok(Self { offered: u32::from(low) | u32::from(high) << 16, nonce, plugin })
    }

    /// What we ask for of what the server has.
    fn capabilities(&self, endpoint: &Endpoint) -> Result<u32, MysqlError> {
        let mut wanted = can::PROTOCOL_41
            | can::SECURE_CONNECTION
            | can::LONG_PASSWORD
            | can::TRANSACTIONS
            | can::LONG_FLAG
            | can::PLUGIN_AUTH;
        let has_tls = self.offered & can::SSL != 0;
        match endpoint.tls.mode {
            TlsMode::Disabled => {}
            TlsMode::Preferred if !has_tls => {}
            _ if !has_tls => return Err(MysqlError::no_tls(endpoint.address())),
            _ => wanted |= can::SSL,
        }
        // MariaDB offers the first of them for something else.
        Ok(wanted & (self.offered | can::LONG_PASSWORD))
    }
}

/// The password itself.
fn spoken(password: &[u8]) -> Vec<u8> {
    [password, &[0]].concat()
}

fn without_nul(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&[0]).unwrap_or(bytes)
}

struct Login<'a> {
    endpoint: &'a Endpoint,
    nonce: Vec<u8>,
    plugin: Plugin,
    encrypted: bool,
}

impl Login<'_> {
    fn password(&self) -> &[u8] {
        self.endpoint.dsn.password.as_deref().unwrap_or_default().as_bytes()
    }

    fn response(&self, capabilities: u32) -> Vec<u8> {
        let mut bytes = head(capabilities);
        bytes.extend_from_slice(self.endpoint.dsn.user.as_bytes());
        bytes.push(0);
        let proof = self.plugin.proof(self.password(), &self.nonce, self.encrypted);
        bytes.push(proof.len() as u8);
        bytes.extend_from_slice(&proof);
        bytes.extend_from_slice(self.plugin.name().as_bytes());
        bytes.push(0);
        bytes
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
            match wire.packet().await? {
                [OK, ..] => return Ok(()),
                packet @ [REFUSED, ..] => return Err(refusal("log in to", self.endpoint.address(), packet)),
                [SWITCH, asked @ ..] => {
                    let mut parts = asked.splitn(2, |byte| *byte == 0);
                    let (name, nonce) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                    let unknown =
                        || MysqlError::unknown_login(self.endpoint.address(), &String::from_utf8_lossy(name));
                    self.plugin = Plugin::named(name).ok_or_else(unknown)?;
                    self.nonce = without_nul(nonce).to_vec();
                    let proof = self.plugin.proof(self.password(), &self.nonce, self.encrypted);
                    wire.send(&proof).await?;
                }
                [MORE, KNOWN] => {}
                [MORE, SAY_IT] if self.encrypted => wire.send(&spoken(self.password())).await?,
                [MORE, SAY_IT] => wire.send(&[ASK_KEY]).await?,
                [MORE, key @ ..] => {
                    let password = self.encrypt(key)?;
                    wire.send(&password).await?;
                }
                _ => return Err(unexpected(self.endpoint, &"it is none of the login")),
            }
        }
    }

    /// The password, encrypted by the server's key.
    fn encrypt(&self, key: &[u8]) -> Result<Vec<u8>, MysqlError> {
        let broken =
            |why: &dyn std::fmt::Display| unexpected(self.endpoint, &format!("the server's key: {why}"));
        let mut password = spoken(self.password());
        for (byte, mask) in password.iter_mut().zip(self.nonce.iter().cycle()) {
            *byte ^= mask;
        }
        let key = SubjectPublicKeyInfoDer::from_pem_slice(key).map_err(|error| broken(&error))?;
        let key = PublicEncryptingKey::from_der(&key).map_err(|error| broken(&error))?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|error| broken(&error))?;
        let mut encrypted = vec![0; key.ciphertext_size()];
        let done = key.encrypt(&OAEP_SHA1_MGF1SHA1, &password, &mut encrypted, None);
        done.map(|bytes| bytes.to_vec()).map_err(|error| broken(&error))
    }
}

/// The server's words in an error packet.
pub(crate) fn refusal(action: &str, address: &str, packet: &[u8]) -> MysqlError {
    let mut bytes = Bytes::new(packet.get(1..).unwrap_or_default());
    let code = bytes.u16("an error").unwrap_or_default();
    let message = match bytes.rest() {
        [b'#', state @ ..] => state.get(5..).unwrap_or_default(),
        message => message,
    };
    MysqlError::told(&format!("{action} {address}"), address, code, &String::from_utf8_lossy(message))
}

fn unexpected(endpoint: &Endpoint, why: &dyn std::fmt::Display) -> MysqlError {
    MysqlError::Unreachable {
        action: "log in to",
        address: endpoint.address().to_owned(),
        cause: format!("a packet was not understood: {why}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn proofs_are_those_of_the_servers_own_clients() {
        let nonce = b"eF!@34gH%^78abcdefgh";
        let native = Plugin::Native.proof(b"password", nonce, false);
        // SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))): undone by who knows the stored SHA1(SHA1(password)).
        let stored =
            digest(&SHA1_FOR_LEGACY_USE_ONLY, digest(&SHA1_FOR_LEGACY_USE_ONLY, b"password").as_ref());
        assert_eq!(hex(stored.as_ref()).to_uppercase(), "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
        let mask = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[&nonce[..], stored.as_ref()].concat());
        let hash: Vec<u8> = native.iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(digest(&SHA1_FOR_LEGACY_USE_ONLY, &hash).as_ref(), stored.as_ref());
        assert_eq!(Plugin::CachingSha2.proof(b"password", nonce, false).len(), 32);
        assert!(Plugin::CachingSha2.proof(b"", nonce, false).is_empty());
    }

    #[test]
    fn a_broken_greeting_is_an_error() {
        let mut whole = vec![10];
        whole.extend_from_slice(b"9.7.4\0\x01\0\0\0abcdefgh\0\xff\xff\x2d\x02\0\xff\xff\x15");
        whole.extend_from_slice(&[0; 10]);
        whole.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
        let greeting = Greeting::read(&whole).unwrap();
        assert_eq!(greeting.nonce, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.plugin, Plugin::CachingSha2);
        for len in 0..whole.len() - 22 {
            assert!(Greeting::read(&whole[..len]).is_err(), "{len}");
        }
        assert!(Greeting::read(b"\x09old").is_err());
    }
}
