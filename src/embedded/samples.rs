//! Sample objects of the embedded origin.
//!
//! Every byte is a function of the sample's name, so a folder can be thrown away and made again, and
//! two machines hold the same objects. Nothing is held whole in memory but the small ones.

use std::convert::Infallible;
use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::stream;
use s3s::dto::{
    CreateBucketInput, HeadBucketInput, HeadObjectInput, PutObjectInput, StreamingBlob,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request};
use s3s_fs::FileSystem;

use super::EmbeddedError;

/// The bucket that holds the samples.
pub const BUCKET: &str = "samples";

const MIB: u64 = 1024 * 1024;
/// Bytes of a piece of a pseudo-random sample.
const PIECE: u64 = 256 * 1024;

/// One sample object.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// The object's key in [`BUCKET`].
    pub key: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    content: Content,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Fixed(&'static [u8]),
    Csv { rows: u32 },
    Random { size: u64 },
}

/// Every sample; the last one is 300 MiB.
pub const ALL: &[Sample] = &[
    Sample {
        key: "hello.txt",
        content_type: "text/plain; charset=utf-8",
        content: Content::Fixed(b"Hello from behind hotset.\n"),
    },
    Sample {
        key: "measurements.csv",
        content_type: "text/csv",
        content: Content::Csv { rows: 4_230 },
    },
    Sample {
        key: "measurements.parquet",
        content_type: "application/vnd.apache.parquet",
        content: Content::Fixed(include_bytes!("../../conf/samples/measurements.parquet")),
    },
    Sample {
        key: "random-5MiB.bin",
        content_type: "application/octet-stream",
        content: Content::Random { size: 5 * MIB },
    },
    Sample {
        key: "random-300MiB.bin",
        content_type: "application/octet-stream",
        content: Content::Random { size: 300 * MIB },
    },
];

/// The samples of at most 5 MiB.
pub const SMALL: &[Sample] = ALL.split_at(4).0;

impl Sample {
    /// Returns the object's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.content {
            Content::Fixed(bytes) => bytes.len() as u64,
            Content::Csv { rows } => csv(rows).len() as u64,
            Content::Random { size } => size,
        }
    }

    /// Returns the object's bytes, in pieces of at most 256 KiB; a small sample is one piece.
    #[must_use]
    pub fn pieces(&self) -> Box<dyn Iterator<Item = Bytes> + Send + Sync> {
        match self.content {
            Content::Fixed(bytes) => Box::new(std::iter::once(Bytes::from_static(bytes))),
            Content::Csv { rows } => Box::new(std::iter::once(Bytes::from(csv(rows)))),
            Content::Random { size } => Box::new(random(size)),
        }
    }
}

/// Returns hourly readings of 500 stations as CSV, one per row.
fn csv(rows: u32) -> String {
    let mut numbers = SplitMix(1);
    let mut text = String::from("row,station,hour,temperature\n");
    for row in 0..rows {
        let tenths = i32::try_from(numbers.next() % 500).expect("below 500");
        let temperature = f64::from(tenths) / 10.0 - 15.0;
        let _ = writeln!(text, "{row},station-{:03},{},{temperature:.1}", row % 500, row % 24);
    }
    text
}

fn random(size: u64) -> impl Iterator<Item = Bytes> + Send + Sync {
    (0..size.div_ceil(PIECE)).map(move |piece| {
        let mut numbers = SplitMix(piece);
        let length = usize::try_from(PIECE.min(size - piece * PIECE)).expect("at most 256 KiB");
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&numbers.next().to_le_bytes());
        }
        bytes.truncate(length);
        Bytes::from(bytes)
    })
}

/// Steele, Lea and Flood's `SplitMix64`: the same bytes for ever, as no generator of `rand` promises.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Writes the bucket, and those of `wanted` that are missing or have another size.
pub(super) async fn write_missing(
    store: &FileSystem,
    wanted: &[Sample],
) -> Result<(), EmbeddedError> {
    if wanted.is_empty() {
        return Ok(());
    }
    ensure_bucket(store)
        .await
        .map_err(|source| EmbeddedError::Sample { key: BUCKET.to_owned(), source })?;
    for sample in wanted {
        let refused =
            |source| EmbeddedError::Sample { key: format!("{BUCKET}/{}", sample.key), source };
        if !exists(store, sample).await.map_err(refused)? {
            log::info!("embedded origin: writing {BUCKET}/{} ({} B)", sample.key, sample.size());
            write(store, sample).await.map_err(refused)?;
        }
    }
    Ok(())
}

async fn ensure_bucket(store: &FileSystem) -> Result<(), S3Error> {
    let asked = HeadBucketInput { bucket: BUCKET.to_owned(), ..HeadBucketInput::default() };
    if store.head_bucket(request(asked)).await.is_ok() {
        return Ok(());
    }
    let asked = CreateBucketInput { bucket: BUCKET.to_owned(), ..CreateBucketInput::default() };
    store.create_bucket(request(asked)).await.map(drop)
}

/// Whether a sample is there. One whose write was interrupted is not: the library renames a file once it is complete.
async fn exists(store: &FileSystem, sample: &Sample) -> Result<bool, S3Error> {
    let asked = HeadObjectInput {
        bucket: BUCKET.to_owned(),
        key: sample.key.to_owned(),
        ..HeadObjectInput::default()
    };
    match store.head_object(request(asked)).await {
        Ok(found) => {
            let size = found.output.content_length.and_then(|size| u64::try_from(size).ok());
            Ok(size == Some(sample.size()) && found.output.content_type.is_some())
        }
        Err(error) if *error.code() == S3ErrorCode::NoSuchKey => Ok(false),
        Err(error) => Err(error),
    }
}

async fn write(store: &FileSystem, sample: &Sample) -> Result<(), S3Error> {
    let pieces = stream::iter(sample.pieces().map(Ok::<_, Infallible>));
    let object = PutObjectInput {
        bucket: BUCKET.to_owned(),
        key: sample.key.to_owned(),
        body: Some(StreamingBlob::wrap(pieces)),
        content_length: i64::try_from(sample.size()).ok(),
        content_type: Some(sample.content_type.to_owned()),
        ..PutObjectInput::default()
    };
    store.put_object(request(object)).await.map(drop)
}

/// The library's operations take a whole HTTP request; only the input matters to s3s-fs.
pub(super) fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: http::Method::PUT,
        uri: http::Uri::default(),
        headers: http::HeaderMap::default(),
        extensions: http::Extensions::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}
