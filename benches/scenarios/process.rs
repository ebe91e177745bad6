//! Servers in processes of their own: pinned to a core, awaited, measured, and stopped by their process id.
//!
//! Figures of a process and its children are read from `/proc`. Where the standard library has no call (pinning, file
//! limits, signals), `taskset`, `prlimit` and the shell are used, which every Debian has.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Result;

/// Timeouts: until a server accepts connections, and until it has exited after SIGTERM.
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Clock ticks of `/proc/PID/stat` in a second: the same on every Linux that Rust builds for here.
const TICKS: f64 = 100.0;

/// A server process, stopped when dropped.
pub struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `command` (best made by [`command`]) and waits until it accepts at `address`. Its output
    /// goes to `PORT.log` in `folder`.
    ///
    /// # Errors
    /// When it can't be started, ends at once, or does not accept within 30 s.
    pub fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{}.log", address.port()));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        let mut server = Self { name, child, address };
        server.wait_until_it_accepts(&log)?;
        Ok(server)
    }

    fn wait_until_it_accepts(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let output = fs::read_to_string(log).unwrap_or_default();
                let how =
                    ended.map_or("does not accept".into(), |status| format!("ended: {status}"));
                return Err(format!("{} {how}\n{output}", self.name).into());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the CPU time, user and system, of the process and all its descendants; in steps of 10 ms.
    ///
    /// # Errors
    /// When the process has exited.
    pub fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for id in self.ids() {
            let fields = stat(id).ok_or_else(|| format!("{} has gone", self.name))?;
            // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), of which the first two are cut off.
            ticks +=
                fields[11..15].iter().filter_map(|field| field.parse::<u32>().ok()).sum::<u32>();
        }
        Ok(Duration::from_secs_f64(f64::from(ticks) / TICKS))
    }

    /// Returns the resident memory of the process, in bytes (`VmRSS`).
    ///
    /// # Errors
    /// When the process has exited.
    pub fn memory(&self) -> Result<u64> {
        self.memory_field("VmRSS:")
    }

    /// Returns the peak resident memory of the process since it started, in bytes (`VmHWM`).
    ///
    /// # Errors
    /// When the process has exited.
    pub fn peak_memory(&self) -> Result<u64> {
        self.memory_field("VmHWM:")
    }

    fn memory_field(&self, name: &str) -> Result<u64> {
        let mut sum = 0;
        for id in self.ids() {
            let kib = status_field(&id.to_string(), name)?;
            sum += kib.trim_end_matches("kB").trim().parse::<u64>()? << 10;
        }
        Ok(sum)
    }

    /// Returns the ids of the process and its descendants.
    fn ids(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(parent) = stat(id).and_then(|fields| fields[1].parse().ok()) {
                children.entry(parent).or_default().push(id);
            }
        }
        let mut ids = vec![self.child.id()];
        let mut next = 0;
        while let Some(id) = ids.get(next) {
            ids.extend(children.remove(id).unwrap_or_default());
            next += 1;
        }
        ids
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ids = self.ids();
        signal("TERM", &ids[..1]);
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                signal("KILL", &ids);
                break;
            }
            sleep(Duration::from_millis(10));
        }
        // It has exited or cannot be stopped: neither leaves anything to do.
        let _ = self.child.wait();
    }
}

fn signal(name: &str, ids: &[u32]) {
    let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {}", ids.join(" "))]).status();
}

/// Returns the fields of `/proc/ID/stat` after the process's name, which may hold blanks: state, parent, ...
fn stat(id: u32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields = line.rsplit_once(") ")?.1;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn status_field(id: &str, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.ok_or_else(|| format!("/proc/{id}/status has no {name}"))?.trim().to_owned())
}

/// Moves the calling thread to idle priority: it gets only the cores that others leave idle, as if it ran on another
/// machine.
///
/// Niceness is not enough: since Linux 6.6 a thread that wakes up waits until the slice of the running one is over,
/// however nice that is, unless its policy is `SCHED_IDLE` (sched(7)).
#[allow(unsafe_code, reason = "a system call that the libraries at hand do not wrap")]
pub fn step_aside() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the kernel only reads the parameters, which live until it has.
    let failed =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) } != 0;
    // Lowering the priority is always allowed: if it fails, the figures are worse, not better.
    if failed {
        let _ = rustix::process::setpriority_process(None, 19);
    }
}

/// Makes a command that runs `program`, on `core` only if one is given, with the maximum number of open files.
pub fn command(program: &Path, core: Option<usize>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"", "sh"]);
    if let Some(core) = core {
        command.args(["taskset", "-c", &core.to_string()]);
    }
    command.arg(program);
    command
}

/// Returns the path of a program from Debian's packages, if it is installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    folders.into_iter().map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// Installs a program by `apt-get`, from the package of its name, unless it is present. The runlevel keeps Debian's
/// scripts from starting services.
///
/// # Errors
/// When there is no apt-get, the caller may not install, or the package is not available.
pub fn install(program: &str) -> Result<()> {
    if installed(program).is_some() {
        return Ok(());
    }
    eprintln!("installing {program} from Debian's packages");
    let command =
        format!("apt-get update -q && apt-get install -q -y --no-install-recommends {program}");
    let status = Command::new("sh")
        .args(["-c", &command])
        .envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")])
        .stdout(std::io::stderr())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("apt-get could not install {program}").into())
    }
}

/// Returns an unused address of the loopback interface.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Raises the runner's own limit of open files to the maximum: it holds both ends of some scenarios.
///
/// # Errors
/// When `prlimit` is missing or refuses.
pub fn raise_file_limit() -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let hard = limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?.split_whitespace().nth(1).map(str::to_owned)
    });
    let hard = hard.ok_or("/proc/self/limits names no limit of open files")?;
    let id = std::process::id().to_string();
    run("prlimit", &["--pid", &id, &format!("--nofile={hard}:{hard}")])
}

/// Keeps the runner to one core until this is dropped, and leaves the other core to a server.
pub struct Apart {
    all: String,
    /// The core that is left to the server.
    pub server: usize,
}

impl Apart {
    /// # Errors
    /// When there are not two cores.
    pub fn new() -> Result<Self> {
        let all = status_field("self", "Cpus_allowed_list:")?;
        let mut cores = all.split(',').flat_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            first.parse().unwrap_or(0)..=last.parse::<usize>().unwrap_or(0)
        });
        let (server, runner) = (cores.next(), cores.next());
        let (Some(server), Some(runner)) = (server, runner) else {
            return Err("two cores are needed: one for the server, one for the load".into());
        };
        pin_self(&runner.to_string())?;
        Ok(Self { all, server })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Err(error) = pin_self(&self.all) {
            eprintln!("the runner stays on one core: {error}");
        }
    }
}

/// Returns the CPU time of this process, clients and synthetic origins included.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn own_cpu() -> Result<Duration> {
    let fields = stat(std::process::id()).ok_or("no CPU time of this process in /proc")?;
    let ticks = fields[11..13].iter().filter_map(|field| field.parse::<u32>().ok()).sum::<u32>();
    Ok(Duration::from_secs_f64(f64::from(ticks) / TICKS))
}

fn pin_self(cores: &str) -> Result<()> {
    run("taskset", &["--all-tasks", "--pid", "--cpu-list", cores, &std::process::id().to_string()])
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be run or fails; the error holds its output.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program} does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()).into())
}

/// A folder for configuration, logs and caches; removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// When the folder for temporary files can't be written to.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("hotset-scenarios-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Anything that cannot be removed stays in a folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
