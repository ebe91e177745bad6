//! The real binary in a process of its own, as users run it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::client::Client;
use super::{lock, within};

/// Timeout for a process that must end by itself.
const WATCHDOG: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Returns a command for the binary with these arguments; its environment has only keys for the origin.
#[must_use]
pub fn hotset(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hotset"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", "AKTEST").env("AWS_SECRET_ACCESS_KEY", "sktest");
    command
}

/// Runs the binary to its end; returns its exit code, stdout and stderr.
///
/// # Panics
/// When it does not run, is killed, or does not end within a minute.
#[must_use]
pub fn run(mut command: Command) -> (i32, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("it is ours");
    // A start that should have been refused would serve for ever.
    thread::spawn(move || {
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&WATCHDOG));
        if ended == Ok(0) {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    });
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("it writes text");
    (status.code().expect("it exits by itself"), text(stdout), text(stderr))
}

/// A running `hotset serve`, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    /// Address of the S3 listener; `None` when it listens on a unix socket only.
    pub addr: Option<SocketAddr>,
    pub admin: SocketAddr,
}

impl Process {
    /// Starts `hotset serve` with this configuration file, whose ports are 0, and waits until it listens.
    ///
    /// # Panics
    /// When it does not listen within 10 s.
    pub async fn serve(config: &str) -> Process {
        Process::spawn(hotset(&["serve", "--config", config])).await
    }

    /// As [`Process::serve`], with a command that may have more arguments or variables.
    ///
    /// # Panics
    /// As [`Process::serve`].
    pub async fn spawn(mut command: Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let mut stderr = Lines::of(child.stderr.take().unwrap());
        let admin = stderr.wait_for("metrics and health on http").await;
        let find = |prefix: &str, text: &str| {
            text.split_once(prefix).map(|(_, address)| address.trim().parse().expect("an address"))
        };
        let addr = stderr.all().iter().find_map(|line| {
            find("serving S3 on http://", line).or_else(|| find("serving S3 on https://", line))
        });
        let admin = find("://", &admin).unwrap();
        Process { child, stdout, stderr, addr, admin }
    }

    /// # Panics
    /// When it listens on no port.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.addr.expect("it listens on a port"))
    }

    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(self.admin)
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is still there");
    }

    /// Sends SIGHUP.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("it is still there");
    }

    /// Sends SIGUSR1.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal_user(&self) {
        kill_process(Pid::from_child(&self.child), Signal::USR1).expect("it is still there");
    }

    /// Stops the process with SIGSTOP, until [`Process::thaw`].
    ///
    /// # Panics
    /// When the process is gone.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("it is still there");
    }

    /// Continues the process with SIGCONT.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("it is still there");
    }

    /// Sends SIGKILL and waits until the process has ended.
    ///
    /// # Panics
    /// When it had ended before, by itself.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("our own child");
        assert!(ended.is_none(), "it ended before: {ended:?}\n{}", self.output());
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Returns the value of a metric's series, as `/metrics` prints it; 0 when it is absent.
    ///
    /// # Panics
    /// When the value is not a number.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.admin().get("/metrics").send().await.text();
        super::sum_of_series(&page, series)
    }

    /// Waits until a metric meets the condition; returns its value.
    ///
    /// # Panics
    /// When it does not within the watchdog's time.
    pub async fn wait_for_metric(&self, series: &str, is_so: impl Fn(f64) -> bool) -> f64 {
        let reached = async {
            loop {
                let value = self.metric(series).await;
                if is_so(value) {
                    return value;
                }
                tokio::task::yield_now().await;
            }
        };
        within(&format!("{series} to change"), reached).await
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let id = self.child.id();
        let closed = async { while self.stderr.next().await.is_some() {} };
        within(&format!("process {id} to end"), closed).await;
        self.child.wait().expect("our own child")
    }

    /// Waits for a line of its log (stderr) that contains this text.
    pub async fn logged(&mut self, text: &str) -> String {
        self.stderr.wait_for(text).await
    }

    /// Waits for a line of its output that contains this text.
    pub async fn printed(&mut self, text: &str) -> String {
        self.stdout.wait_for(text).await
    }

    /// Returns everything that it has logged and printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        [self.stderr.all(), self.stdout.all()].concat().join("\n")
    }

    /// Returns a value of `/proc/<pid>/status` in bytes, such as `VmHWM`.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it is still there");
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("a value in kB") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a pipe, read by a thread so that the process never blocks on it.
#[derive(Debug)]
struct Lines {
    arrivals: UnboundedReceiver<()>,
    kept: Arc<Mutex<Vec<String>>>,
    seen: usize,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Lines {
        let (sender, arrivals) = unbounded_channel();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&kept);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lock(&all).push(line);
                let _ = sender.send(());
            }
        });
        Lines { arrivals, kept, seen: 0 }
    }

    fn all(&self) -> Vec<String> {
        lock(&self.kept).clone()
    }

    /// Returns the next line; `None` once the pipe is closed.
    async fn next(&mut self) -> Option<String> {
        self.arrivals.recv().await?;
        let line = lock(&self.kept).get(self.seen).cloned();
        self.seen += 1;
        line
    }

    async fn wait_for(&mut self, text: &str) -> String {
        let kept = Arc::clone(&self.kept);
        let found = async {
            while let Some(line) = self.next().await {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the process ended without '{text}':\n{}", lock(&kept).join("\n"));
        };
        within(&format!("a line with '{text}'"), found).await
    }
}
