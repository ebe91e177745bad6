//! The crate object_store, which DataFusion, polars and delta-rs use for reads.

use std::time::Duration;

use futures_util::TryStreamExt;
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};

use crate::{Client, Failure, Outcome, PART, Target};

pub struct Store {
    store: AmazonS3,
}

impl Store {
    pub fn new(target: &Target) -> Self {
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store = AmazonS3Builder::new()
            .with_endpoint(&target.endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(&target.bucket)
            .with_access_key_id(&target.access)
            .with_secret_access_key(&target.secret)
            .with_retry(retry)
            .build()
            .expect("all that it needs is given");
        Self { store }
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::NotFound { .. } => Failure::NotFound,
        error => Failure::Other(format!("{error:?}")),
    }
}

/// Returns the key unchanged; `Path::from` would encode some of its characters.
fn path(key: &str) -> Outcome<Path> {
    Path::parse(key).map_err(|error| Failure::Other(error.to_string()))
}

impl Client for Store {
    async fn list(&self, prefix: &str) -> Outcome<Vec<(u64, String)>> {
        let prefix = path(prefix.trim_end_matches('/'))?;
        let found: Vec<_> = self.store.list(Some(&prefix)).try_collect().await.map_err(failure)?;
        Ok(found.into_iter().map(|meta| (meta.size, meta.location.to_string())).collect())
    }

    async fn head(&self, key: &str) -> Outcome<u64> {
        Ok(self.store.head(&path(key)?).await.map_err(failure)?.size)
    }

    async fn get(&self, key: &str, range: Option<(u64, u64)>) -> Outcome<Vec<u8>> {
        let range = range.map(|(start, end)| GetRange::Bounded(start..end));
        let options = GetOptions { range, ..GetOptions::default() };
        let answer = self.store.get_opts(&path(key)?, options).await.map_err(failure)?;
        Ok(answer.bytes().await.map_err(failure)?.to_vec())
    }

    async fn put(&self, key: &str, body: Vec<u8>) -> Outcome<()> {
        self.store.put(&path(key)?, body.into()).await.map_err(failure)?;
        Ok(())
    }

    async fn put_parts(&self, key: &str, body: &[u8]) -> Outcome<()> {
        let mut upload = self.store.put_multipart(&path(key)?).await.map_err(failure)?;
        for part in body.chunks(PART) {
            upload.put_part(part.to_vec().into()).await.map_err(failure)?;
        }
        upload.complete().await.map_err(failure)?;
        Ok(())
    }

    async fn copy(&self, from: &str, to: &str) -> Outcome<()> {
        self.store.copy(&path(from)?, &path(to)?).await.map_err(failure)
    }

    async fn delete(&self, key: &str) -> Outcome<()> {
        self.store.delete(&path(key)?).await.map_err(failure)
    }

    async fn presign(&self, key: &str, expires: Duration) -> Outcome<String> {
        let url = self.store.signed_url(Method::GET, &path(key)?, expires).await;
        Ok(url.map_err(failure)?.to_string())
    }
}
