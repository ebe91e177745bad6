//! Location of the metadata of a columnar file, from the last bytes of the file.
//!
//! Readers of Parquet and ORC read the end of the file first, which holds the length of the metadata before it, and
//! then the metadata. Nothing else is parsed.

/// Bytes read from the end of a file to locate its metadata.
pub(in crate::cache) const TRAILER: u64 = 256;
/// Maximum length of metadata that is fetched ahead, in bytes.
const MOST: u64 = 16 << 20;

/// A file format with its metadata at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Columnar {
    Parquet,
    Orc,
}

impl Columnar {
    /// Returns the format by the extension of a key.
    pub(in crate::cache) fn of(key: &str) -> Option<Self> {
        let (_, extension) = key.rsplit_once('.')?;
        match extension {
            "parquet" | "parq" => Some(Self::Parquet),
            "orc" => Some(Self::Orc),
            _ => None,
        }
    }

    /// Returns the length of the metadata at the end of a file that ends with `trailer`, trailer included. `None`: the
    /// file has another format, or the metadata is too long.
    pub(in crate::cache) fn metadata(self, trailer: &[u8]) -> Option<u64> {
        let length = match self {
            Self::Parquet => parquet(trailer)?,
            Self::Orc => orc(trailer)?,
        };
        (length <= MOST).then_some(length)
    }
}

/// Parses `metadata, its length (4 bytes, little endian), "PAR1"`; "PARE" where it is encrypted.
fn parquet(trailer: &[u8]) -> Option<u64> {
    let (rest, magic) = trailer.split_last_chunk::<4>()?;
    let (_, length) = rest.split_last_chunk::<4>()?;
    let is_one = matches!(magic, b"PAR1" | b"PARE");
    is_one.then(|| 8 + u64::from(u32::from_le_bytes(*length)))
}

/// Parses `metadata, footer, postscript, its length (1 byte)`; the postscript has the lengths of the first two in a
/// protobuf message.
fn orc(trailer: &[u8]) -> Option<u64> {
    let (length, rest) = trailer.split_last()?;
    let start = rest.len().checked_sub(usize::from(*length))?;
    let mut postscript = &rest[start..];
    if !postscript.ends_with(b"ORC") {
        return None;
    }
    let mut total = 1 + u64::from(*length);
    while !postscript.is_empty() {
        let tag = varint(&mut postscript)?;
        match (tag >> 3, tag & 7) {
            (1 | 5, 0) => total = total.checked_add(varint(&mut postscript)?)?,
            (_, 0) => {
                varint(&mut postscript)?;
            }
            (_, 2) => {
                let length = usize::try_from(varint(&mut postscript)?).ok()?;
                postscript = postscript.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(total)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parquet_file_says_how_long_its_metadata_is() {
        let trailer = [&[0; 20][..], &1000_u32.to_le_bytes(), b"PAR1"].concat();
        assert_eq!(Columnar::Parquet.metadata(&trailer), Some(1008));
        assert_eq!(Columnar::Orc.metadata(&trailer), None);
        let long = [&u32::MAX.to_le_bytes()[..], b"PAR1"].concat();
        assert_eq!(Columnar::Parquet.metadata(&long), None);
        for other in [&b""[..], b"PAR1", b"0000PAR2", b"00000000"] {
            assert_eq!(Columnar::Parquet.metadata(other), None);
        }
    }

    #[test]
    fn an_orc_file_says_how_long_its_footer_and_metadata_are() {
        // Footer 300 bytes, compression 1, blocks of 256 KiB, version 0.12, metadata 70 bytes, magic.
        let postscript = [
            &[0x08, 0xac, 0x02, 0x10, 0x01, 0x18, 0x80, 0x80, 0x10, 0x22, 0x02, 0x00, 0x0c][..],
            &[0x28, 0x46, 0x82, 0xf4, 0x03, 0x03],
            b"ORC",
        ]
        .concat();
        let length = u8::try_from(postscript.len()).unwrap();
        let trailer = [&[7; 50][..], &postscript, &[length]].concat();
        assert_eq!(Columnar::Orc.metadata(&trailer), Some(1 + u64::from(length) + 300 + 70));
        assert_eq!(Columnar::Orc.metadata(&trailer[60..]), None);
        assert_eq!(Columnar::Parquet.metadata(&trailer), None);
        for length in 0..trailer.len() {
            // No truncated trailer causes a panic.
            let _ = Columnar::Orc.metadata(&trailer[..length]);
        }
    }

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(Columnar::of("a/b.c/part-0.parquet"), Some(Columnar::Parquet));
        assert_eq!(Columnar::of("x.orc"), Some(Columnar::Orc));
        assert_eq!(Columnar::of("parquet"), None);
        assert_eq!(Columnar::of("a.parquet/_SUCCESS"), None);
    }
}
