//! Real MySQL and MariaDB servers as processes of their own, and what their own clients say.

mod pair;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use pair::Pair;

use crate::{ports, wait};

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::MySql, Self::MariaDb];

    fn script(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }
}

/// A server. It ends when this is dropped, and when the test's process ends in whatever way.
pub struct Server {
    flavour: Flavour,
    options: String,
    port: u16,
    data: PathBuf,
    attendant: Child,
    input: Option<ChildStdin>,
    _dir: TempDir,
}

impl Server {
    /// The server of this kind that the tests of this process share; those that harm one start their own.
    pub fn shared(flavour: Flavour) -> &'static Self {
        static MYSQL: OnceLock<Server> = OnceLock::new();
        static MARIADB: OnceLock<Server> = OnceLock::new();
        let shared = if flavour == Flavour::MySql { &MYSQL } else { &MARIADB };
        shared.get_or_init(|| Self::start(flavour))
    }

    /// A server of one's own.
    #[track_caller]
    pub fn start(flavour: Flavour) -> Self {
        Self::start_with(flavour, "")
    }

    /// One with more options, as on its command line.
    #[track_caller]
    pub fn start_with(flavour: Flavour, options: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("deltaforge-sql-").tempdir().unwrap();
        let (port, data) = (ports::free(1), dir.path().join("server"));
        let mut attendant = script(flavour, options, "attend", &data, port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = attendant.stdin.take();
        let mut ready = String::new();
        BufReader::new(attendant.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        if ready.trim() != "READY" {
            let log = std::fs::read_to_string(dir.path().join("server.log")).unwrap_or_default();
            panic!("{flavour:?} did not start: {log}");
        }
        Self { flavour, options: options.to_owned(), port, data, attendant, input, _dir: dir }
    }

    /// Whose it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A DSN of root's, who has no password.
    pub fn dsn(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.port)
    }

    /// A DSN of an account that [`Server::account`] made.
    pub fn dsn_of(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Makes an account with a login and these privileges on everything.
    #[track_caller]
    pub fn account(&self, user: &str, login: &str, privileges: &str) {
        self.sql(&format!(
            "CREATE USER {user}@'%' IDENTIFIED {login}; GRANT {privileges} ON *.* TO {user}@'%'"
        ));
    }

    /// Runs statements; answers the rows of the last one as the server's own text.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        let answer = self.try_sql(statements);
        answer.unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// The same; the server's own words when it refuses.
    pub fn try_sql(&self, statements: &str) -> Result<Vec<Vec<String>>, String> {
        let mut client = self.client(&["--batch", "--raw", "--skip-column-names"]).spawn().unwrap();
        client.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
        let answer = client.wait_with_output().unwrap();
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&answer.stdout);
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// Where it is, for threads that need no more.
    pub fn handle(&self) -> Handle {
        Handle { flavour: self.flavour, port: self.port }
    }

    fn client(&self, args: &[&str]) -> Command {
        self.handle().client(args)
    }

    /// SIGKILL, as a crash.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.data.with_extension("pid")).unwrap();
        kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        wait::until("the server is gone", wait::SOON, || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(())
        });
    }

    /// Ends it well, as an operator would.
    pub fn stop(&self) {
        assert!(self.script("stop").status().unwrap().success());
    }

    /// Starts it again with all that it holds, after [`Server::kill`] or [`Server::stop`].
    #[track_caller]
    pub fn start_again(&self) {
        let started = self.script("start").output().unwrap();
        let (status, said) = (started.status, String::from_utf8_lossy(&started.stderr));
        let log = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        assert!(status.success(), "the server does not start again, {status}: {said}\n{log}");
    }

    /// Keeps what it holds now, while it is stopped.
    pub fn keep(&self) {
        let _ = std::fs::remove_dir_all(self.kept());
        copy(&self.data, &self.kept());
    }

    /// Puts back what was kept, while it is stopped: it then has lost all that came after.
    pub fn put_back(&self) {
        std::fs::remove_dir_all(&self.data).unwrap();
        copy(&self.kept(), &self.data);
    }

    fn kept(&self) -> PathBuf {
        self.data.with_extension("kept")
    }

    fn script(&self, command: &str) -> Command {
        script(self.flavour, &self.options, command, &self.data, self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.attendant.wait();
    }
}

/// Where a server is.
#[derive(Debug, Clone, Copy)]
pub struct Handle {
    flavour: Flavour,
    port: u16,
}

impl Handle {
    /// Whose it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// A session of the server's own client, which runs what is written to it. It ends with its server, and at the first
    /// statement that is refused.
    pub fn session(&self) -> Session {
        let mut client = self.client(&["--batch", "--unbuffered"]);
        let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Session { input: client.stdin.take(), client }
    }

    fn client(&self, args: &[&str]) -> Command {
        let mut client = Command::new(script_path(self.flavour));
        client.arg("client").arg(self.port.to_string()).args(args);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        client
    }
}

/// A session that stays open, for transactions that others come in between of.
pub struct Session {
    client: Child,
    input: Option<ChildStdin>,
}

impl Session {
    /// Runs statements, in order, after those that were written before. Does not wait for them. False: the session has
    /// ended, with its server.
    pub fn run(&mut self, statements: &str) -> bool {
        let Some(input) = &mut self.input else { return false };
        let written = input.write_all(statements.as_bytes()).and_then(|()| input.write_all(b";\n"));
        written.and_then(|()| input.flush()).is_ok()
    }
}

impl Drop for Session {
    /// Waits until all of them are done.
    fn drop(&mut self) {
        self.input = None;
        let _ = self.client.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn script_path(flavour: Flavour) -> PathBuf {
    let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../scripts/servers");
    servers.join(format!("{}.sh", flavour.script()))
}

fn script(flavour: Flavour, options: &str, command: &str, data: &Path, port: u16) -> Command {
    let mut run = Command::new(script_path(flavour));
    run.arg(command).arg(data).arg(port.to_string()).stderr(Stdio::inherit());
    let name = if flavour == Flavour::MySql { "MYSQL_OPTIONS" } else { "MARIADB_OPTIONS" };
    run.env(name, options);
    run
}
