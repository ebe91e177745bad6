//! Suffix ranges longer than their object, which s3s-fs 0.14 answers with 500.
//!
//! It seeks back by the length that was asked for instead of the object's. `bytes=-65536` of a small
//! file is what readers of Parquet begin with, so the length is cut to the object's before the
//! library sees it; S3 answers such a range with the whole object.

use s3s::access::S3Access;
use s3s::dto::{GetObjectInput, HeadObjectInput, Range};
use s3s::{S3, S3Request, S3Result};
use s3s_fs::FileSystem;

use super::samples::request;

/// The library's default access check, which also cuts the suffix range of a `GetObject` to the size of the object.
pub(super) struct CutSuffixes {
    /// A second view of the folder, for sizes; the first one is the service's.
    pub(super) sizes: FileSystem,
}

#[async_trait::async_trait]
impl S3Access for CutSuffixes {
    async fn get_object(&self, get: &mut S3Request<GetObjectInput>) -> S3Result<()> {
        let Some(Range::Suffix { length }) = &mut get.input.range else { return Ok(()) };
        let asked = HeadObjectInput {
            bucket: get.input.bucket.clone(),
            key: get.input.key.clone(),
            ..HeadObjectInput::default()
        };
        // For a missing object, the operation itself returns the error.
        if let Ok(found) = self.sizes.head_object(request(asked)).await
            && let Some(size) =
                found.output.content_length.and_then(|size| u64::try_from(size).ok())
        {
            *length = size.min(*length);
        }
        Ok(())
    }
}
