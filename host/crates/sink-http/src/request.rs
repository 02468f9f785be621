//! Where a request goes and what it carries.

use std::fmt;

use bytes::Bytes;
use deltaforge_engine::message::Message;
use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::config::header;

/// The configured URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The same for every event.
    Fixed(Url),
    /// The text up to the first value of a template: what it says of scheme and server holds.
    Template {
        /// Scheme and server, when no value is part of them.
        server: Option<Url>,
    },
}

/// Why an event has no place to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoute(pub &'static str);

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Target {
    /// Reads the configured text.
    pub fn new(text: &str, constant: bool) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return Err("must begin with http:// or https://".to_owned());
        }
        if constant {
            let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
            return Ok(Self::Fixed(url));
        }
        let before = rest.find("${").map_or(rest, |at| &rest[..at]);
        let server = match before.find(['/', '?', '#']) {
            // A value begins inside the server's name, or right after it where it could extend it.
            None => None,
            Some(end) => {
                let server = format!("{scheme}://{}", &before[..end]);
                Some(Url::parse(&server).map_err(|error| format!("is no URL: {error}"))?)
            }
        };
        Ok(Self::Template { server })
    }

    /// Where an event goes whose template gave `destination`.
    pub fn resolve(&self, destination: Option<&str>) -> Result<Url, NoRoute> {
        let server = match self {
            Self::Fixed(url) => return Ok(url.clone()),
            Self::Template { server } => server,
        };
        let text = destination.ok_or(NoRoute("the event has no URL"))?;
        let path = text.split_once("://").map_or(text, |(_, rest)| rest);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let is_dots = |segment: &str| {
            let plain = segment.replace("%2e", ".").replace("%2E", ".");
            plain == "." || plain == ".."
        };
        if path.split(['/', '\\']).any(is_dots) {
            return Err(NoRoute("a value in the URL makes it lead to another path"));
        }
        let url = Url::parse(text).map_err(|_| NoRoute("the values in the URL make it none"))?;
        match server {
            Some(server) if url.origin() != server.origin() => {
                Err(NoRoute("a value in the URL makes it lead to another server"))
            }
            _ if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) => {
                Err(NoRoute("the values in the URL make it none"))
            }
            _ => Ok(url),
        }
    }

    /// Whether a server that does not know the path is a mistake of the configuration and not of one event.
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }
}

/// A URL as messages show it: without user, password, query and fragment.
pub(crate) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// The headers of a request: those of the event under those of the configuration.
pub(crate) fn headers(
    event: &[(String, String)],
    content_type: &str,
    configured: &HeaderMap,
) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    let (name, value) = header("content-type", content_type)
        .map_err(|reason| format!("the envelope's content type {reason}"))?;
    map.insert(name, value);
    for (name, value) in event {
        let (key, value) =
            header(name, value).map_err(|reason| format!("the event's header {name:?} {reason}"))?;
        map.insert(key, value);
    }
    for (name, value) in configured {
        map.insert(name.clone(), value.clone());
    }
    Ok(map)
}

/// The bodies of several messages as one JSON array.
pub(crate) fn array<'a>(messages: impl Iterator<Item = &'a Message<'a>>) -> Bytes {
    let mut text = vec![b'['];
    for body in messages.filter_map(|message| message.body) {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(body);
    }
    text.push(b']');
    text.into()
}

/// The content type of an array of bodies of this type; `None`: such bodies do not make an array.
pub(crate) fn array_type(content_type: &str) -> Option<&str> {
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    match bare {
        "application/cloudevents+json" => Some("application/cloudevents-batch+json"),
        "application/json" => Some(content_type),
        _ if bare.ends_with("+json") => Some("application/json"),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn template(text: &str) -> Target {
        Target::new(text, false).unwrap()
    }

    #[test]
    fn values_stay_inside_the_server_that_the_template_names() {
        let target = template("https://api.example.com/cdc/${source.table}?of=${tenant_id}");
        let at = |text: &str| target.resolve(Some(text)).map(|url| url.to_string());
        assert_eq!(
            at("https://api.example.com/cdc/a b?of=x").unwrap(),
            "https://api.example.com/cdc/a%20b?of=x"
        );
        for bad in [
            "https://api.example.com/cdc/../admin?of=x",
            "https://api.example.com/cdc/%2e%2E/admin",
            "https://api.example.com/cdc/..\\admin",
            "https://evil.example/cdc/orders",
            "http://api.example.com/cdc/orders",
            "nonsense",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
        assert!(target.resolve(None).is_err());
    }

    #[test]
    fn a_value_may_be_part_of_the_server_where_the_template_says_so() {
        let target = template("https://${source.db}.api.internal/events");
        assert_eq!(
            target.resolve(Some("https://shop.api.internal/events")).unwrap().host_str(),
            Some("shop.api.internal")
        );
        assert_eq!(template("http://host${op}"), Target::Template { server: None });
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for bad in ["", "ftp://x/", "${after.url}", "localhost:80", "http://", "http://[::1/"] {
            assert!(Target::new(bad, !bad.contains("${")).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_not_shown() {
        let url = Url::parse("https://me:pw@h:8443/a/b?token=t#f").unwrap();
        assert_eq!(shown(&url), "https://h:8443/a/b");
    }
}
