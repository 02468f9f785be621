//! `mysql://user:password@host:port/database?ssl-mode=required`: where the server is, and who we are there.

use std::fmt;

use deltaforge_engine::suggest::near;
use percent_encoding::percent_decode_str;

use crate::config::TlsMode;

/// A server's address, and a login.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Dsn {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    /// What the query asks of TLS.
    pub tls: Option<TlsMode>,
}

const DEFAULT_PORT: u16 = 3306;

/// Words that options may have, for suggestions.
const OPTIONS: [&str; 4] = ["ssl-mode", "require_ssl", "verify_ca", "verify_identity"];

impl Dsn {
    /// Reads a DSN. Problems never quote what may be a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = ["mysql://", "mariadb://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let rest = rest.ok_or("write mysql://user:password@host:3306/database")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The database is a default for names without one, and no statement has such names.
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if database.contains('@') {
            return Err("write %2F for a / in the password, and %40 for an @".into());
        }
        let (login, address) =
            authority.rsplit_once('@').ok_or("whose login? write user:password@ before the host")?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if user.is_empty() {
            return Err("whose login? the user before the host is empty".into());
        }
        let (host, port) = address_of(address)?;
        Ok(Self {
            host,
            port,
            user: decoded(user)?,
            password: password.map(decoded).transpose()?.filter(|password| !password.is_empty()),
            tls: tls_of(query)?,
        })
    }

    /// `host:port`, for people.
    pub fn address(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{}:***@{}", self.user, self.address())
    }
}

fn address_of(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the `]` behind the host is missing")?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("which server? the host is empty".into());
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => {
            let number = port.parse().ok().filter(|port| *port > 0);
            number.ok_or(
                "the port is no number from 1 to 65535; is a special character in the password not encoded?",
            )?
        }
    };
    Ok((decoded(host)?, port))
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "what is percent-encoded in it is not UTF-8".into())
}

/// The words of the servers' own clients, and those of common Rust drivers.
fn tls_of(query: &str) -> Result<Option<TlsMode>, String> {
    let mut mode = None;
    let mut verifies = [true, true];
    for (name, value) in query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "true")))
    {
        let flag = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("`{name}` is true or false")),
        };
        match name {
            "ssl-mode" => mode = Some(TlsMode::from_word(value)?),
            "require_ssl" => {
                mode = if flag()? { Some(TlsMode::VerifyIdentity) } else { Some(TlsMode::Disabled) }
            }
            "verify_ca" => verifies[0] = flag()?,
            "verify_identity" => verifies[1] = flag()?,
            // The end of a password with a ? in it.
            _ if query.contains(['@', '/']) => {
                return Err("write %3F for a ? in the password, and %40 for an @".into());
            }
            _ => {
                let meant =
                    near(name, OPTIONS).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err(format!("the option `{name}` is not known{meant}"));
            }
        }
    }
    Ok(mode.map(|mode| match (mode, verifies) {
        (TlsMode::VerifyIdentity, [false, _]) => TlsMode::Required,
        (TlsMode::VerifyIdentity, [true, false]) => TlsMode::VerifyCa,
        (mode, _) => mode,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_says_where_and_who() {
        let dsn = Dsn::parse("mysql://df:p%40ss%2Fw%3Ard@db.example:3307/shop?ssl-mode=verify_ca").unwrap();
        assert_eq!((dsn.host.as_str(), dsn.port, dsn.user.as_str()), ("db.example", 3307, "df"));
        assert_eq!(dsn.password.as_deref(), Some("p@ss/w:rd"));
        assert_eq!(dsn.tls, Some(TlsMode::VerifyCa));
        let dsn = Dsn::parse("mariadb://root@[::1]").unwrap();
        assert_eq!((dsn.host.as_str(), dsn.port, dsn.password), ("::1", 3306, None));
        assert_eq!(Dsn::parse("mysql://root:@[::1]").unwrap().address(), "[::1]:3306");
        // An @ in a password is common, and readable.
        assert_eq!(Dsn::parse("mysql://u:a@b@h").unwrap().password.as_deref(), Some("a@b"));
    }

    #[test]
    fn options_of_other_drivers_are_understood() {
        let mode = |query: &str| Dsn::parse(&format!("mysql://u@h/d?{query}")).unwrap().tls;
        assert_eq!(mode("require_ssl=true"), Some(TlsMode::VerifyIdentity));
        assert_eq!(mode("require_ssl=true&verify_identity=false"), Some(TlsMode::VerifyCa));
        assert_eq!(mode("verify_ca=false&require_ssl=true"), Some(TlsMode::Required));
        assert_eq!(mode("require_ssl=false"), Some(TlsMode::Disabled));
        assert_eq!(mode("ssl-mode=PREFERRED"), Some(TlsMode::Preferred));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (text, why) in [
            ("postgres://u:secret@h", "mysql://user:password@host"),
            ("mysql://h:3306/db", "whose login"),
            ("mysql://u:secret@:3306", "which server"),
            ("mysql://u:sec:ret@h:port", "the port is no number"),
            ("mysql://u:a@b?secret@h/db", "%3F"),
            ("mysql://u:a@b?secret@h", "%3F"),
            ("mysql://u:1@secret/pw@h", "%2F"),
            ("mysql://u:secret/pw@h/db", "%2F"),
            ("mysql://u:secret@h?ssl_mode=required", "did you mean `ssl-mode`"),
            ("mysql://u:secret@h?ssl-mode=on", "one of disabled, preferred"),
            ("mysql://u:secret@h?require_ssl=maybe", "true or false"),
        ] {
            let told = Dsn::parse(text).unwrap_err();
            assert!(told.contains(why) && !told.contains("secret"), "{text}: {told}");
        }
        let shown = format!("{:?}", Dsn::parse("mysql://u:secret@h").unwrap());
        assert_eq!(shown, "mysql://u:***@h:3306");
    }
}
