//! The sink: requests in order, retries, and which event a refusal is about.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::Message;
use deltaforge_engine::retry::{Backoff, Hurry};
use deltaforge_engine::sink::{
    Addressing, Delivery, Durable, Sink, SinkContext, SinkError, SinkFactory, Trouble,
};
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

use crate::answer::{Verdict, retry_after, text_of, verdict};
use crate::config::{HttpConfig, Method};
use crate::error::HttpError;
use crate::request::{Target, array, array_type, headers, shown};

/// Tries for one request before the engine opens the sink anew and goes on trying. Each one that fails is told.
const TRIES: u32 = 3;
/// The pauses between them, unless the server asks for another.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Most redirects of one request.
const MOST_REDIRECTS: usize = 5;

/// Makes HTTP sinks.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpSinkFactory;

#[async_trait]
impl SinkFactory for HttpSinkFactory {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(HttpConfig)
    }

    fn validate(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        HttpConfig::read(config).map(drop)
    }

    fn addressing(&self, config: &Value) -> Addressing {
        let destination = config.get("url").and_then(Value::as_str).map(str::to_owned);
        // What `ev.route` names is a topic, not a URL: a script cannot send events to another server.
        Addressing { destination, ignores_routed: true, ..Addressing::default() }
    }

    async fn open(&self, config: &Value, context: SinkContext) -> Result<Box<dyn Sink>, SinkError> {
        let config = HttpConfig::read(config).map_err(|problems| {
            let texts: Vec<_> =
                problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect();
            HttpError::Config(texts.join("; "))
        })?;
        Ok(Box::new(HttpSink::new(config, context.trouble, context.hurry).map_err(HttpError::Config)?))
    }
}

struct HttpSink {
    client: Client,
    config: HttpConfig,
    target: Target,
    headers: HeaderMap,
    trouble: Trouble,
    hurry: Hurry,
    /// What no message may quote.
    secrets: Vec<String>,
    /// The delivery at work, and its places that are delivered.
    seq: Option<u64>,
    delivered: BTreeSet<usize>,
    /// Everything up to here is delivered.
    through: u64,
}

/// Why a request was not delivered.
enum Fault {
    /// The server refuses what was sent.
    Refused { code: &'static str, message: String },
    /// The sink does not work.
    Failed(HttpError),
}

impl From<HttpError> for Fault {
    fn from(error: HttpError) -> Self {
        Self::Failed(error)
    }
}

/// A request to be made.
struct Request<'a> {
    url: &'a Url,
    headers: &'a HeaderMap,
    body: Bytes,
    /// Longest time for one try.
    timeout: Duration,
    /// No try begins after this.
    deadline: Option<Instant>,
}

/// Messages that go together: same URL, same headers.
struct Group<'a> {
    destination: Option<&'a str>,
    event_headers: &'a [(String, String)],
    url: Url,
    headers: HeaderMap,
    members: Vec<(usize, Message<'a>)>,
}

impl HttpSink {
    fn new(config: HttpConfig, trouble: Trouble, hurry: Hurry) -> Result<Self, String> {
        let target = config.target()?;
        let headers = config.header_map()?;
        // Only a 307 or 308 repeats the method and the body; any other would make the event vanish.
        let policy = Policy::custom(|attempt| {
            let repeats =
                matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            let stays = attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
            if repeats && stays && attempt.previous().len() <= MOST_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let client = Client::builder()
            .user_agent(concat!("deltaforge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout())
            .redirect(policy)
            .referer(false)
            .build()
            .map_err(|error| format!("make an HTTP client: {}", error.without_url()))?;
        let secrets = secrets(&config, &target);
        Ok(Self {
            client,
            config,
            target,
            headers,
            trouble,
            hurry,
            secrets,
            seq: None,
            delivered: BTreeSet::new(),
            through: 0,
        })
    }

    /// Each event in a request of its own, one after the other.
    async fn write_each(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        let content_type = &delivery.messages.content_type;
        for (place, message) in delivery.messages() {
            let Some(body) = message.body else { continue };
            let (url, headers) =
                self.route(&message, content_type).map_err(|reason| unroutable(place, reason))?;
            let request = Request {
                url: &url,
                headers: &headers,
                body: Bytes::copy_from_slice(body),
                timeout: self.config.send_timeout(),
                deadline: Some(Instant::now() + self.config.batch_timeout()),
            };
            match self.send(&request).await {
                Ok(()) => {}
                Err(Fault::Refused { code, message }) => return Err(refused(place, code, message)),
                Err(Fault::Failed(error)) => return Err(SinkError::from(error).after(place)),
            }
        }
        Ok(())
    }

    /// The events of each URL together. Where one is refused, those before it are delivered when this returns.
    async fn write_batches(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        let content_type = array_type(&delivery.messages.content_type)
            .ok_or_else(|| HttpError::NotJson { content_type: delivery.messages.content_type.to_string() })?;
        let (groups, mut rejected) = self.groups(delivery, content_type);
        for mut group in groups {
            let limit = match &rejected {
                Some(SinkError::Rejected { place, .. }) => *place,
                _ => usize::MAX,
            };
            group.members.retain(|(place, _)| *place < limit);
            match self.send_group(group).await {
                Ok(None) => {}
                Ok(found) => rejected = found,
                Err(error) => {
                    let open = |place: &usize| !self.delivered.contains(place);
                    let first = delivery.messages().filter(|(_, message)| message.body.is_some());
                    let done = first.map(|(place, _)| place).find(open).unwrap_or(delivery.indexes.len());
                    return Err(SinkError::from(error).after(done));
                }
            }
        }
        rejected.map_or(Ok(()), Err)
    }

    /// Sends a group in one request; when the server refuses it, in halves, in order, until the event is found
    /// that it refuses. Answers that event.
    async fn send_group(&mut self, group: Group<'_>) -> Result<Option<SinkError>, HttpError> {
        let Group { url, headers, members, .. } = group;
        let mut parts = vec![&members[..]];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let request = Request {
                url: &url,
                headers: &headers,
                body: array(part.iter().map(|(_, message)| message)),
                timeout: self.config.batch_timeout(),
                deadline: None,
            };
            match self.send(&request).await {
                Ok(()) => self.delivered.extend(part.iter().map(|(place, _)| *place)),
                Err(Fault::Failed(error)) => return Err(error),
                Err(Fault::Refused { code, message }) => match part {
                    [(place, _)] => return Ok(Some(refused(*place, code, message))),
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok(None)
    }

    /// The messages by where they go, up to the first that goes nowhere. A key's messages keep their order: one
    /// that goes elsewhere than those of its key before it begins a new round of groups.
    fn groups<'a>(&self, delivery: &'a Delivery, content_type: &str) -> (Vec<Group<'a>>, Option<SinkError>) {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut round = 0;
        let mut of_key: HashMap<&[u8], usize> = HashMap::new();
        for (place, message) in delivery.messages() {
            if message.body.is_none() || self.delivered.contains(&place) {
                continue;
            }
            let (destination, event_headers) = (message.meta.destination.as_deref(), &*message.meta.headers);
            let fits =
                |group: &Group<'_>| group.destination == destination && group.event_headers == event_headers;
            let mut at = groups[round..].iter().rposition(fits).map(|at| round + at);
            if let Some(key) = message.key
                && let Some(before) = of_key.get(key)
                && at != Some(*before)
            {
                round = groups.len();
                of_key.clear();
                at = None;
            }
            let at = match at {
                Some(at) => at,
                None => match self.route(&message, content_type) {
                    Ok((url, headers)) => {
                        groups.push(Group { destination, event_headers, url, headers, members: Vec::new() });
                        groups.len() - 1
                    }
                    Err(reason) => return (groups, Some(unroutable(place, reason))),
                },
            };
            if let Some(key) = message.key {
                of_key.insert(key, at);
            }
            groups[at].members.push((place, message));
        }
        (groups, None)
    }

    fn route(&self, message: &Message<'_>, content_type: &str) -> Result<(Url, HeaderMap), String> {
        let url =
            self.target.resolve(message.meta.destination.as_deref()).map_err(|error| error.to_string())?;
        let headers = headers(&message.meta.headers, content_type, &self.headers)?;
        Ok((url, headers))
    }

    /// Makes a request, and again where that may help.
    async fn send(&self, request: &Request<'_>) -> Result<(), Fault> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut pauses = self.hurry.pauses();
        let mut tries = 0;
        loop {
            tries += 1;
            pauses.trying();
            let left = request.deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.map_or(request.timeout, |left| left.min(request.timeout));
            let error = match self.send_once(request, timeout).await {
                Ok(()) => {
                    self.trouble.works();
                    return Ok(());
                }
                Err(Fault::Failed(error)) if error.is_transient() => error,
                Err(fault) => return Err(fault),
            };
            let pause = error.wait().unwrap_or_else(|| backoff.next());
            let late = request.deadline.is_some_and(|at| Instant::now() + pause >= at);
            if tries == TRIES || late {
                return Err(error.into());
            }
            self.trouble.tell(&error.into());
            pauses.pause(pause).await;
        }
    }

    /// One try.
    async fn send_once(&self, request: &Request<'_>, timeout: Duration) -> Result<(), Fault> {
        let method = match self.config.method {
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let at = format!("{method} {}", shown(request.url));
        let sent = self
            .client
            .request(method, request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .timeout(timeout)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(HttpError::no_answer(at, error, timeout).into()),
        };
        let status = response.status();
        let wait = retry_after(response.headers(), SystemTime::now());
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.and_then(|to| response.url().join(to).ok()).map_or("nowhere".to_owned(), |to| shown(&to));
        let verdict = verdict(status, self.target.is_fixed());
        let secrets: Vec<String> = self.secrets.iter().cloned().chain(login(request.url)).collect();
        let text = text_of(response, &secrets).await;
        let fault = match verdict {
            Verdict::Delivered => return Ok(()),
            Verdict::Retry => HttpError::Busy { at, status, text, wait }.into(),
            Verdict::Refused => {
                let code =
                    if status == StatusCode::PAYLOAD_TOO_LARGE { "http_too_large" } else { "http_refused" };
                let quoted = if text.is_empty() { text } else { format!(": {text:?}") };
                Fault::Refused { code, message: format!("{at} answered {status}{quoted}") }
            }
            Verdict::Stop => match status.as_u16() {
                401 | 403 | 407 => HttpError::Unauthorized { at, status, text }.into(),
                404 | 405 | 410 => HttpError::WrongUrl { at, status, text }.into(),
                300..=399 => HttpError::Redirect { at, status, to }.into(),
                _ => HttpError::Strange { at, status, text }.into(),
            },
        };
        Err(fault)
    }
}

#[async_trait]
impl Sink for HttpSink {
    async fn write(&mut self, delivery: &Delivery) -> Result<(), SinkError> {
        if self.seq.replace(delivery.seq) != Some(delivery.seq) {
            self.delivered.clear();
        }
        if self.config.batch_mode {
            self.write_batches(delivery).await?;
        } else {
            self.write_each(delivery).await?;
        }
        self.through = delivery.seq;
        Ok(())
    }

    async fn durable(&mut self) -> Result<Durable, SinkError> {
        Ok(Durable { through: self.through, state: None })
    }
}

fn refused(place: usize, code: &'static str, message: String) -> SinkError {
    SinkError::Rejected { place, kind: "other", code, message }
}

fn unroutable(place: usize, message: String) -> SinkError {
    SinkError::Rejected { place, kind: "routing", code: "http_no_route", message }
}

/// Header values, what follows `Bearer` in them, and what a URL may hide.
/// What a URL's login is to the server, which may send it back: the password, and the header that it comes in.
fn login(url: &Url) -> Vec<String> {
    if url.username().is_empty() && url.password().is_none() {
        return Vec::new();
    }
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (plain(url.username()), url.password().map(plain));
    let basic = BASE64_STANDARD.encode(format!("{user}:{}", password.as_deref().unwrap_or_default()));
    let raw = url.password().map(str::to_owned);
    // Alone, a user's name is a token.
    [Some(basic), raw, password.or(Some(user))].into_iter().flatten().collect()
}

fn secrets(config: &HttpConfig, target: &Target) -> Vec<String> {
    let mut secrets = Vec::new();
    for value in config.headers.values().map(|value| value.reveal()) {
        secrets.push(value.to_owned());
        secrets.extend(value.split_once(' ').map(|(_, credential)| credential.trim().to_owned()));
    }
    if let Target::Fixed(url) = target {
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    }
    secrets
}
