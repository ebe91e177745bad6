//! The AWS SDK for Rust in its default configuration: virtual-hosted style unless the endpoint is an address, `x-id`
//! in the query, checksums on.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Config, Credentials, Region};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns};

use crate::{Client, Failure, Outcome, PART, Target};

pub struct AwsSdk {
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl AwsSdk {
    pub fn new(target: Target) -> Self {
        let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let config = Config::builder()
            .endpoint_url(target.endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(
                target.access,
                target.secret,
                None,
                None,
                "tests",
            ))
            .retry_config(RetryConfig::disabled())
            .http_client(Builder::new().tls_provider(ring).build_with_resolver(Loopback))
            .build();
        Self { client: aws_sdk_s3::Client::from_conf(config), bucket: target.bucket }
    }
}

/// Resolver that maps every name to this machine, as if a wildcard DNS record pointed here.
#[derive(Debug, Clone)]
struct Loopback;

impl ResolveDns for Loopback {
    fn resolve_dns<'a>(&'a self, _name: &'a str) -> DnsFuture<'a> {
        DnsFuture::ready(Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]))
    }
}

fn failure<E>(error: SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code() {
        Some("NotFound" | "NoSuchKey") => Failure::NotFound,
        _ => Failure::Other(DisplayErrorContext(error).to_string()),
    }
}

fn other(error: impl std::error::Error) -> Failure {
    Failure::Other(DisplayErrorContext(error).to_string())
}

impl Client for AwsSdk {
    async fn list(&self, prefix: &str) -> Outcome<Vec<(u64, String)>> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).max_keys(2);
        let mut pages = list.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(failure)?.contents() {
                let size = object.size().unwrap_or_default().cast_unsigned();
                found.push((size, object.key().unwrap_or_default().to_owned()));
            }
        }
        Ok(found)
    }

    async fn head(&self, key: &str) -> Outcome<u64> {
        let head = self.client.head_object().bucket(&self.bucket).key(key);
        let answer = head.send().await.map_err(failure)?;
        Ok(answer.content_length().unwrap_or_default().cast_unsigned())
    }

    async fn get(&self, key: &str, range: Option<(u64, u64)>) -> Outcome<Vec<u8>> {
        let range = range.map(|(start, end)| format!("bytes={start}-{}", end - 1));
        let get = self.client.get_object().bucket(&self.bucket).key(key).set_range(range);
        let answer = get.send().await.map_err(failure)?;
        Ok(answer.body.collect().await.map_err(other)?.to_vec())
    }

    async fn put(&self, key: &str, body: Vec<u8>) -> Outcome<()> {
        let put = self.client.put_object().bucket(&self.bucket).key(key);
        put.body(ByteStream::from(body)).send().await.map_err(failure)?;
        Ok(())
    }

    async fn put_parts(&self, key: &str, body: &[u8]) -> Outcome<()> {
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let upload = create.send().await.map_err(failure)?.upload_id.unwrap_or_default();
        let mut parts = Vec::new();
        for (number, part) in (1..).zip(body.chunks(PART)) {
            let put = self.client.upload_part().bucket(&self.bucket).key(key).upload_id(&upload);
            let put = put.part_number(number).body(ByteStream::from(part.to_vec()));
            let done = put.send().await.map_err(failure)?;
            parts.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(done.e_tag)
                    .set_checksum_crc32(done.checksum_crc32)
                    .build(),
            );
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(key);
        complete.upload_id(upload).multipart_upload(parts).send().await.map_err(failure)?;
        Ok(())
    }

    async fn copy(&self, from: &str, to: &str) -> Outcome<()> {
        let source = format!("{}/{from}", self.bucket);
        let copy = self.client.copy_object().bucket(&self.bucket).key(to);
        copy.copy_source(source).send().await.map_err(failure)?;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Outcome<()> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(key);
        delete.send().await.map_err(failure)?;
        Ok(())
    }

    async fn presign(&self, key: &str, expires: Duration) -> Outcome<String> {
        let config = PresigningConfig::expires_in(expires).map_err(other)?;
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        Ok(get.presigned(config).await.map_err(failure)?.uri().to_owned())
    }
}
