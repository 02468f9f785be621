//! A real Kafka broker as a process of its own, and what is in its topics.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::proxy::{Proxy, Way};
use crate::{ports, runtime, wait};

/// How long a broker may take for an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How long after the last request every commit that was decided is marked. Nothing shows when.
const DECIDED_AND_MARKED_WITHIN: Duration = Duration::from_secs(1);

/// A broker. It ends when this is dropped, and when the test's process ends in whatever way.
pub struct Kafka {
    port: u16,
    login: bool,
    proxy: Option<Proxy>,
    data: PathBuf,
    attendant: Child,
    input: Option<ChildStdin>,
    _dir: TempDir,
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub partition: i32,
    /// Where in its partition.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value; `None`: a tombstone.
    pub value: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
}

impl Kafka {
    /// The broker that the tests of this process share; those that harm one start their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A broker of one's own.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(ports::free(3), false, None)
    }

    /// One that can be reached by a way that is held up or cut, too.
    #[track_caller]
    pub fn start_with_proxy() -> Self {
        let port = ports::free(3);
        Self::start_with(port, false, Some(Proxy::start(port + 2)))
    }

    /// One that clients speak TLS with and log in to, as `deltaforge` with the password `forge`.
    #[track_caller]
    pub fn start_with_login() -> Self {
        Self::start_with(ports::free(3), true, None)
    }

    #[track_caller]
    fn start_with(port: u16, login: bool, proxy: Option<Proxy>) -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-kafka-").tempdir().unwrap();
        let data = dir.path().join("broker");
        let mut attendant = script("attend", &data, port, login, proxy.as_ref())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = attendant.stdin.take();
        let mut ready = String::new();
        BufReader::new(attendant.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        if ready.trim() != "READY" {
            let log = std::fs::read_to_string(dir.path().join("broker.log")).unwrap_or_default();
            panic!("the Kafka broker did not start: {log}");
        }
        Self { port, login, proxy, data, attendant, input, _dir: dir }
    }

    /// `host:port`, for `brokers:`. By its proxy, where it has one.
    pub fn brokers(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.itself(), Proxy::address)
    }

    fn itself(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The other way to it: whoever asks there first is told to come that way.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("a broker with a proxy")
    }

    /// The authority of its certificate, where it speaks TLS.
    pub fn ca(&self) -> PathBuf {
        self.data.join("ca.pem")
    }

    /// SIGKILL, as a crash.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        wait::until("the broker is gone", wait::SOON, || {
            std::net::TcpStream::connect(self.itself()).is_err().then_some(())
        });
    }

    /// Ends it well, as an operator would.
    pub fn stop(&self) {
        assert!(self.script("stop").status().unwrap().success());
    }

    /// Ends it with all that it has begun, but for a commit, whose clients come by its proxy. A broker that is alone (4.3) and
    /// ends between the decision and the marks may find no partition to mark when it begins again: it counts the transaction
    /// as complete, and whoever reads what is committed waits for the marks for good. That is Kafka's own loss, and told from
    /// ours by this.
    pub fn between_commits(&self, end: fn(&Self)) {
        self.proxy().set(Way::Held);
        std::thread::sleep(DECIDED_AND_MARKED_WITHIN);
        end(self);
        self.proxy().set(Way::Open);
    }

    /// Holds it still: connections stay, and nothing is answered.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.pid());
        wait::until("every thread of the broker is stopped", ANSWERS_WITHIN, || {
            let mut threads = std::fs::read_dir(&threads).unwrap().flatten();
            let is_stopped = |thread: std::fs::DirEntry| {
                // One that has ended meanwhile answers nothing either.
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
            };
            threads.all(is_stopped).then_some(())
        });
    }

    /// Ends that.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn pid(&self) -> i32 {
        std::fs::read_to_string(self.data.with_extension("pid")).unwrap().trim().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Starts it again with all that it holds, after [`Kafka::kill`] or [`Kafka::stop`].
    #[track_caller]
    pub fn start_again(&self) {
        let started = self.script("start").output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    }

    fn script(&self, command: &str) -> Command {
        script(command, &self.data, self.port, self.login, self.proxy.as_ref())
    }

    /// Makes a topic.
    #[track_caller]
    pub fn make_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = config.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(ANSWERS_WITHIN));
        // The caller may have a runtime of its own, which this must not wait in.
        let made = std::thread::scope(|scope| {
            let make = || runtime().block_on(admin.create_topics([&topic], &options));
            scope.spawn(make).join().unwrap()
        })
        .unwrap();
        assert_eq!(made, [Ok(name.to_owned())]);
    }

    /// Deletes a topic, and waits until it is gone.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(ANSWERS_WITHIN));
        let deleted = std::thread::scope(|scope| {
            let delete = || runtime().block_on(admin.delete_topics(&[name], &options));
            scope.spawn(delete).join().unwrap()
        })
        .unwrap();
        assert_eq!(deleted, [Ok(name.to_owned())]);
        wait::until("the topic is gone", ANSWERS_WITHIN, || self.partitions(name).is_none().then_some(()));
    }

    /// How many partitions a topic has; `None`: it is not there.
    pub fn partitions(&self, topic: &str) -> Option<usize> {
        // Asking for it by name could make it.
        let metadata = self.consumer().fetch_metadata(None, ANSWERS_WITHIN).unwrap();
        let found = metadata.topics().iter().find(|known| known.name() == topic);
        found.map(|known| known.partitions().len())
    }

    /// Everything that is in a topic now, partition by partition: the records of a key are in order. `None`: there is no
    /// such topic.
    #[track_caller]
    pub fn records(&self, topic: &str) -> Option<Vec<Record>> {
        self.partitions(topic)?;
        let mut follower = self.follow(topic);
        let mut records = Vec::new();
        while !follower.is_at_end() {
            records.extend(follower.poll());
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Some(records)
    }

    /// Reads a topic from its beginning, as it grows.
    #[track_caller]
    pub fn follow(&self, topic: &str) -> Follower {
        let partitions = self.partitions(topic).unwrap_or_else(|| panic!("no topic {topic}"));
        let consumer = self.consumer();
        let mut assigned = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            assigned.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assigned).unwrap();
        Follower { consumer, topic: topic.to_owned(), partitions: partitions as i32, next: HashMap::new() }
    }

    fn consumer(&self) -> BaseConsumer {
        self.client()
            .set("group.id", "deltaforge-tests")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap()
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.itself());
        if self.login {
            client
                .set("security.protocol", "SASL_SSL")
                .set("ssl.ca.location", self.ca().to_string_lossy())
                .set("sasl.mechanism", "PLAIN")
                .set("sasl.username", "deltaforge")
                .set("sasl.password", "forge");
        }
        client
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.attendant.wait();
    }
}

/// A consumer of one topic.
pub struct Follower {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
    /// The offset after the last record of each partition.
    next: HashMap<i32, i64>,
}

impl Follower {
    /// What has come since the last time.
    pub fn poll(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut patience = Duration::from_millis(200);
        while let Some(polled) = self.consumer.poll(patience) {
            patience = Duration::ZERO;
            // A broker that is down: the consumer goes on by itself.
            let Ok(message) = polled else { continue };
            self.next.insert(message.partition(), message.offset() + 1);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            records.push(Record {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(text),
                value: message.payload().map(text),
                headers: headers
                    .map(|header| (header.key.to_owned(), header.value.map(text).unwrap_or_default()))
                    .collect(),
            });
        }
        records
    }

    /// Whether everything that is in the topic now was read. A transaction's own marks are no records, so the consumer's
    /// position counts as well.
    pub fn is_at_end(&self) -> bool {
        let positions = self.consumer.position().unwrap();
        (0..self.partitions).all(|partition| {
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, ANSWERS_WITHIN).unwrap();
            let position =
                positions.find_partition(&self.topic, partition).and_then(|at| match at.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                });
            let read = self.next.get(&partition).copied().into_iter().chain(position).max();
            low == high || read.is_some_and(|read| read >= high)
        })
    }
}

fn script(command: &str, data: &Path, port: u16, login: bool, proxy: Option<&Proxy>) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../scripts/servers/kafka.sh");
    let mut run = Command::new(script);
    run.arg(command).arg(data).arg(port.to_string()).stderr(Stdio::inherit());
    if login {
        run.env("KAFKA_LOGIN", "1");
    }
    if let Some(proxy) = proxy {
        run.env("KAFKA_PROXY", proxy.port().to_string());
    }
    run
}
