//! A disk that hangs or fails on command, below the real process: a preloaded library that overrides libc's calls to
//! write and sync. Bytes written before stay readable.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::Scratch;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_there(const char *name) {
    const char *path = getenv(name);
    return path && access(path, F_OK) == 0;
}

static int fails(void) {
    while (is_there("DISK_HANGS")) usleep(5000);
    if (is_there("DISK_FAILS")) { errno = EIO; return 1; }
    return 0;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    static ssize_t (*real)(int, const struct iovec *, int, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwritev64");
    return fails() ? -1 : real(fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return pwritev64(fd, parts, count, at);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return fails() ? -1 : real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return fails() ? -1 : real(fd);
}
"#;

/// The faults of one process's disk.
#[derive(Debug)]
pub struct FaultyDisk {
    library: String,
    hangs: PathBuf,
    fails: PathBuf,
}

impl FaultyDisk {
    /// Builds the library in `scratch`.
    ///
    /// # Panics
    /// Without a C compiler, which building hotset needs, too.
    #[must_use]
    pub fn new(scratch: &Scratch) -> FaultyDisk {
        let (source, library) = (scratch.file("disk.c", SOURCE), scratch.path("disk.so"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"]);
        let output = compiler.output().expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [hangs, fails] = ["disk-hangs", "disk-fails"].map(|name| scratch.path(name).into());
        FaultyDisk { library, hangs, fails }
    }

    /// Preloads the library into a process that is to be started.
    pub fn below(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        command.env("DISK_HANGS", &self.hangs).env("DISK_FAILS", &self.fails);
    }

    /// Makes every write hang from now on.
    ///
    /// # Panics
    /// When the flag file cannot be written.
    pub fn hang(&self) {
        fs::write(&self.hangs, "").expect("a writable folder");
    }

    /// Makes every write fail from now on.
    ///
    /// # Panics
    /// When the flag file cannot be written.
    pub fn fail(&self) {
        fs::write(&self.fails, "").expect("a writable folder");
    }

    /// Makes the disk work again.
    pub fn heal(&self) {
        let _ = fs::remove_file(&self.hangs);
        let _ = fs::remove_file(&self.fails);
    }
}
