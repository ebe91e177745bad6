//! `rust-clients CLIENT OPERATION ARGUMENT...`: one call of one S3 client, for the tests in the folder above. Objects
//! are read from stdin and written to stdout; the target is in the environment. Exit code 44: the object does not
//! exist; 1: the call failed.

mod aws_sdk;
mod object_store;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

/// Smallest part that S3 accepts, except as the last one, in bytes.
const PART: usize = 5 * 1024 * 1024;
const NOT_FOUND: u8 = 44;

/// Endpoint, bucket and credentials of the calls.
struct Target {
    endpoint: String,
    bucket: String,
    access: String,
    secret: String,
}

enum Failure {
    NotFound,
    Other(String),
}

type Outcome<T> = Result<T, Failure>;

/// The operations of an S3 client that the tests need.
trait Client {
    /// Lists the sizes and keys of all objects under the prefix.
    async fn list(&self, prefix: &str) -> Outcome<Vec<(u64, String)>>;
    /// Returns the object's size in bytes.
    async fn head(&self, key: &str) -> Outcome<u64>;
    /// Reads the object, or its bytes from the first position up to the second.
    async fn get(&self, key: &str, range: Option<(u64, u64)>) -> Outcome<Vec<u8>>;
    async fn put(&self, key: &str, body: Vec<u8>) -> Outcome<()>;
    /// Uploads in parts of [`PART`] bytes.
    async fn put_parts(&self, key: &str, body: &[u8]) -> Outcome<()>;
    async fn copy(&self, from: &str, to: &str) -> Outcome<()>;
    async fn delete(&self, key: &str) -> Outcome<()>;
    async fn presign(&self, key: &str, expires: Duration) -> Outcome<String>;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else has installed one");
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        Some((&"aws-sdk", words)) => run(aws_sdk::AwsSdk::new(target()), words).await,
        Some((&"object_store", words)) => run(object_store::Store::new(&target()), words).await,
        _ => Err(Failure::Other("no such client".into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::NotFound) => ExitCode::from(NOT_FOUND),
        Err(Failure::Other(text)) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn target() -> Target {
    let variable = |name| env::var(name).unwrap_or_else(|_| panic!("{name} must be set"));
    Target {
        endpoint: variable("AWS_ENDPOINT_URL"),
        bucket: variable("BUCKET"),
        access: variable("AWS_ACCESS_KEY_ID"),
        secret: variable("AWS_SECRET_ACCESS_KEY"),
    }
}

async fn run(client: impl Client, words: &[&str]) -> Outcome<()> {
    match *words {
        ["list", prefix] => {
            for (size, key) in client.list(prefix).await? {
                print(format!("{size}\t{key}\n").as_bytes())?;
            }
            Ok(())
        }
        ["head", key] => print(client.head(key).await?.to_string().as_bytes()),
        ["get", key] => print(&client.get(key, None).await?),
        ["get", key, start, end] => {
            let range = (number(start)?, number(end)?);
            print(&client.get(key, Some(range)).await?)
        }
        ["put", key] => {
            let body = input()?;
            if body.len() <= PART {
                return client.put(key, body).await;
            }
            client.put_parts(key, &body).await
        }
        ["copy", from, to] => client.copy(from, to).await,
        ["delete", key] => client.delete(key).await,
        ["presign", key, seconds] => {
            let expires = Duration::from_secs(number(seconds)?);
            print(client.presign(key, expires).await?.as_bytes())
        }
        _ => Err(Failure::Other(format!("no such operation: {words:?}"))),
    }
}

fn number(word: &str) -> Outcome<u64> {
    word.parse().map_err(|_| Failure::Other(format!("not a number: {word}")))
}

fn input() -> Outcome<Vec<u8>> {
    let mut body = Vec::new();
    io::stdin().read_to_end(&mut body).map_err(|e| Failure::Other(e.to_string()))?;
    Ok(body)
}

fn print(bytes: &[u8]) -> Outcome<()> {
    io::stdout().write_all(bytes).map_err(|e| Failure::Other(e.to_string()))
}
