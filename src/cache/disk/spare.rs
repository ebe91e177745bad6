//! Reads into memory that nobody has initialized: to zero 64 KiB first takes as long as to check them.

#![allow(unsafe_code, reason = "no safe call reads without waiting into uninitialized memory")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;

/// `length` bytes from `offset` on.
///
/// # Errors
/// The device's; `UnexpectedEof` when the file ends before.
pub(super) fn read(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut buffer: Vec<u8> = Vec::with_capacity(length);
    while buffer.len() < length {
        let at = offset + buffer.len() as u64;
        if retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut buffer), at))? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    buffer.truncate(length);
    Ok(buffer.into())
}

/// As [`read`], from the page cache and without waiting; `None`: not all of it is there, or nobody can tell.
pub(super) fn read_cached(file: &File, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
    let mut buffer: Vec<u8> = Vec::with_capacity(length);
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: length };
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the one part is the buffer's own memory, of at least `length` bytes, which nobody else knows yet.
    let read =
        unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
    match usize::try_from(read) {
        Ok(read) if read == length => {
            // SAFETY: the kernel has written so many bytes.
            unsafe { buffer.set_len(length) };
            Ok(Some(buffer.into()))
        }
        Ok(_) => Ok(None),
        Err(_) => match io::Error::last_os_error() {
            error if is_no_answer(&error) => Ok(None),
            error => Err(error),
        },
    }
}

/// Not cached, or a file system that cannot tell.
fn is_no_answer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINTR))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(length: usize) -> (File, Vec<u8>) {
        let path =
            std::env::temp_dir().join(format!("hotset-spare-{}-{length}", std::process::id()));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let bytes: Vec<u8> = (0..length).map(|n| (n * 5 / 3).to_le_bytes()[0]).collect();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn what_is_asked_for_is_what_is_read() {
        let (file, bytes) = file(200_000);
        for (offset, length) in [(0, 200_000), (0, 1), (65_536, 65_568), (199_999, 1)] {
            let expected = &bytes[offset..offset + length];
            assert_eq!(read(&file, offset as u64, length).unwrap(), expected);
            // Just written, it is in the page cache.
            let cached = read_cached(&file, offset as u64, length).unwrap();
            assert!(cached.is_none_or(|cached| cached == expected));
        }
    }

    #[test]
    fn what_is_behind_the_end_is_not_made_up() {
        let (file, _) = file(1000);
        assert_eq!(read(&file, 999, 2).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read_cached(&file, 999, 2).unwrap(), None);
        assert_eq!(read_cached(&file, 2000, 2).unwrap(), None);
    }
}
