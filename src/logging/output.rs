//! Destinations of lines: the standard output, a file, or syslog.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::config::LogOutput;
use super::syslog::{Facility, Syslog};
use crate::pacing::RateLimit;

/// Minimum time between two messages about a failing destination.
const EVERY: Duration = Duration::from_secs(10);
/// Permissions of a new file: its lines name objects and people.
const MODE: u32 = 0o640;

/// Destination of lines.
pub(crate) trait Output: Send {
    /// Writes complete lines, and returns the number of lost ones.
    ///
    /// # Errors
    /// The destination accepts no more lines, now and later.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<u64>;

    /// Reopens a file, after it was renamed.
    fn reopen(&mut self) {}
}

/// Opens a destination. `name`: of the log.
///
/// # Errors
/// The file cannot be opened. A syslog socket may appear later.
pub(crate) fn open(
    output: &LogOutput,
    name: &'static str,
    facility: Facility,
) -> io::Result<Box<dyn Output>> {
    Ok(match output {
        LogOutput::Stdout => Box::new(Stdout(io::stdout())),
        LogOutput::File(path) => {
            let mut file =
                LogFile { path: path.clone(), file: None, warnings: RateLimit::new(EVERY) };
            file.open()?;
            Box::new(file)
        }
        LogOutput::Syslog(path) => Box::new(Syslog::local(path.clone(), name, facility)),
        LogOutput::SyslogUdp(address) => Box::new(Syslog::remote(*address, name, facility)),
    })
}

/// Returns the number of lines in a batch.
pub(super) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

struct Stdout(io::Stdout);

impl Output for Stdout {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<u64> {
        self.0.write_all(lines)?;
        self.0.flush()?;
        Ok(0)
    }
}

struct LogFile {
    path: PathBuf,
    file: Option<File>,
    warnings: RateLimit,
}

impl LogFile {
    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(MODE);
            self.file = Some(options.open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Output for LogFile {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<u64> {
        let written = self.open().and_then(|file| file.write_all(lines));
        let Err(error) = written else { return Ok(0) };
        self.file = None;
        if self.warnings.allow() {
            log::error!("{}: lines of the log are lost: {error}", self.path.display());
        }
        Ok(count(lines))
    }

    fn reopen(&mut self) {
        self.file = None;
        if let Err(error) = self.open() {
            log::error!("{}: cannot open the log again: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_appended_to_and_opened_again_after_it_was_renamed() {
        let folder = std::env::temp_dir().join(format!("hotset-log-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.log");
        fs::write(&path, "0\n").unwrap();
        let mut output = open(&LogOutput::File(path.clone()), "a", Facility::Local0).unwrap();
        assert_eq!(output.write_lines(b"1\n").unwrap(), 0);
        let old = folder.join("a.log.1");
        fs::rename(&path, &old).unwrap();
        assert_eq!(output.write_lines(b"2\n").unwrap(), 0);
        output.reopen();
        assert_eq!(output.write_lines(b"3\n4\n").unwrap(), 0);
        assert_eq!(fs::read_to_string(&old).unwrap(), "0\n1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n4\n");
        let missing = LogOutput::File(folder.join("none/a.log"));
        assert!(open(&missing, "a", Facility::Local0).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lines_of_a_full_disk_are_counted() {
        let mut output = open(&LogOutput::File("/dev/full".into()), "a", Facility::Local0).unwrap();
        assert_eq!(output.write_lines(b"1\n2\n").unwrap(), 2);
        assert_eq!(output.write_lines(b"3\n").unwrap(), 1);
    }
}
