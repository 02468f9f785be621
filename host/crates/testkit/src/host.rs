//! The binary under test as a process.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::rest::Rest;
use crate::wait;

/// How much of a failed test's host log is shown.
const SHOWN_LOG_LINES: usize = 60;

/// The binary: `DELTAFORGE_BIN`, or what was built last beside the test program.
///
/// # Panics
///
/// When there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("DELTAFORGE_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let built = ["release", "debug"].map(|profile| target.join(profile).join("deltaforge"));
    let newest =
        built.into_iter().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).max();
    newest.expect("no deltaforge is built here: cargo build -p deltaforge, or set DELTAFORGE_BIN").1
}

/// Runs the binary to its end.
pub fn command(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    command.output().expect("the binary can be started")
}

/// A directory with a pipeline file in it, and the host that runs it. Killed when dropped.
pub struct Host {
    dir: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    api: SocketAddr,
    /// Where this process's lines begin in the log.
    log_from: u64,
}

impl Host {
    /// A host that keeps everything in `dir` and is not started yet.
    pub fn new(dir: &Path, yaml: &str) -> Self {
        let host = Self { dir: dir.to_owned(), args: Vec::new(), env: Vec::new(), process: None };
        host.write_yaml(yaml);
        host
    }

    /// Adds a flag for every later start.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Sets an environment variable for every later start.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the pipeline file.
    pub fn write_yaml(&self, yaml: &str) {
        std::fs::write(self.yaml_path(), yaml).unwrap();
    }

    /// The pipeline file.
    pub fn yaml_path(&self) -> PathBuf {
        self.dir.join("pipelines.yaml")
    }

    /// Where the host keeps its state.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn start(&mut self) {
        self.start_with(&[]);
        assert!(self.listens(wait::SOON), "the host ended instead of listening");
    }

    /// Starts it, armed to kill itself the `count`-th time it passes a failpoint. It may be dead on return.
    #[track_caller]
    pub fn start_armed(&mut self, failpoint: &str, count: u64) {
        self.start_with(&[("DELTAFORGE_FAILPOINTS", &format!("{failpoint}={count}"))]);
    }

    fn start_with(&mut self, env: &[(&str, &str)]) {
        assert!(self.process.is_none(), "the host runs already");
        let append =
            |name: &str| OpenOptions::new().create(true).append(true).open(self.dir.join(name)).unwrap();
        let log: File = append("host.log");
        let log_from = log.metadata().unwrap().len();
        let mut command = Command::new(binary());
        command
            .args([
                "run",
                "--log-format",
                "json",
                "--api-addr",
                "127.0.0.1:0",
                "--metrics-addr",
                "127.0.0.1:0",
            ])
            .arg("--config")
            .arg(self.yaml_path())
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(&self.args)
            .current_dir(&self.dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(append("host.out"))
            .stderr(log);
        if !env.is_empty() {
            command.arg("--test-hooks").envs(env.iter().copied());
        }
        let child = command.spawn().expect("the binary can be started");
        self.process = Some(Process { child, api: SocketAddr::from(([127, 0, 0, 1], 0)), log_from });
    }

    /// Waits until it listens; false when it ended before.
    pub fn listens(&mut self, deadline: Duration) -> bool {
        let log_path = self.dir.join("host.log");
        let process = self.process.as_mut().expect("a started host");
        let log_from = process.log_from as usize;
        let found = wait::until("the host listens, or has ended", deadline, || {
            let ended = process.child.try_wait().unwrap().is_some();
            let log = std::fs::read(&log_path).unwrap();
            let log = String::from_utf8_lossy(&log[log_from..]);
            let api = log.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "deltaforge is up").then(|| line["api"].as_str()?.parse().ok()).flatten()
            });
            api.map(Some).or(ended.then_some(None))
        });
        if let Some(api) = found {
            process.api = api;
        }
        found.is_some()
    }

    /// Starts it and waits until every pipeline is ready.
    #[track_caller]
    pub fn start_ready(&mut self) {
        self.start();
        self.wait_ready(wait::SOON);
    }

    /// Waits for `/ready` to answer 200.
    #[track_caller]
    pub fn wait_ready(&self, deadline: Duration) {
        let rest = self.rest();
        wait::until("/ready answers 200", deadline, || {
            rest.send("GET", "/ready", None).is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }

    /// Its API.
    pub fn rest(&self) -> Rest {
        Rest::new(self.process.as_ref().expect("a started host").api)
    }

    /// What `GET /pipelines/{name}` shows.
    #[track_caller]
    pub fn pipeline(&self, name: &str) -> Value {
        self.rest().get(&format!("/pipelines/{name}")).ok()
    }

    /// Waits until the pipeline shows what is asked for.
    #[track_caller]
    pub fn wait_pipeline(
        &self,
        name: &str,
        what: &str,
        deadline: Duration,
        ask: impl Fn(&Value) -> bool,
    ) -> Value {
        wait::until(what, deadline, || Some(self.pipeline(name)).filter(|shown| ask(shown)))
    }

    /// The value of a metric, summed over all its series that carry these labels (`name="value"`).
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.rest().get("/metrics").text;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let rest = series.strip_prefix(name)?;
            let matches =
                (rest.is_empty() || rest.starts_with('{')) && labels.iter().all(|label| rest.contains(label));
            matches.then(|| value.parse::<f64>().ok()).flatten()
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Kills the process with SIGKILL so much later, while the caller goes on. [`Host::kill`] takes note of it.
    pub fn kill_in(&self, time: Duration) -> std::thread::JoinHandle<()> {
        let pid = Pid::from_child(&self.process.as_ref().expect("a started host").child);
        std::thread::spawn(move || {
            std::thread::sleep(time);
            // It may have ended by itself; nobody has waited for it, so its number is nobody else's.
            let _ = kill_process(pid, Signal::KILL);
        })
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            process.child.wait().unwrap();
        }
    }

    /// SIGTERM; answers how it ended and how long that took.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        let child = &self.process.as_ref().expect("a started host").child;
        kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        let start = Instant::now();
        (self.wait_exit(deadline), start.elapsed())
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let process = self.process.as_mut().expect("a started host");
        let status = wait::until("the host ends", deadline, || process.child.try_wait().unwrap());
        self.process = None;
        status
    }

    /// How the process ended; `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let process = self.process.as_mut().expect("a started host");
        let status = process.child.try_wait().unwrap();
        if status.is_some() {
            self.process = None;
        }
        status
    }

    /// Memory in use now (resident), bytes.
    pub fn memory_bytes(&self) -> u64 {
        let process = self.process.as_ref().expect("a started host");
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// The processor time that the process has had.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn cpu(&self) -> Duration {
        let process = self.process.as_ref().expect("a started host");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id())).unwrap();
        // Behind the name, which may hold anything: utime and stime are its 12th and 13th values.
        let values = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        let ticks: u64 = values.map(|value| value.parse::<u64>().unwrap()).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Everything all its processes logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("host.log")).unwrap_or_default()
    }

    /// Everything they wrote to stdout.
    pub fn out(&self) -> String {
        std::fs::read_to_string(self.dir.join("host.out")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(process) = &self.process
                && let Ok(answer) = Rest::new(process.api).send("GET", "/pipelines", None)
            {
                eprintln!("--- GET /pipelines: {} {}", answer.status, answer.text);
            }
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..];
            eprintln!(
                "--- the end of {} ({} lines):\n{}",
                self.dir.join("host.log").display(),
                lines.len(),
                shown.join("\n")
            );
        }
        self.kill();
    }
}
