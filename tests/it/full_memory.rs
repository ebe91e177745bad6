//! Full memory: an object fetched a moment ago is a hit for the next readers.

use futures_util::future::join_all;

use crate::support::{Client, FakeS3, Object, TestProxy};

const OBJECT: u64 = 100_000;
/// Number of old objects: more than the 64 MiB of memory hold.
const OLD: u64 = 900;
/// Number of new objects of each reader.
const ROUNDS: u64 = 20;

async fn read(client: &Client, key: &str) {
    let answer = client.get(&format!("/data/{key}")).send().await;
    assert!(answer.status == 200 && answer.complete, "{key}: {}", answer.status);
}

/// Runs readers that each read new objects, one after another, each of them twice. Returns the number of new objects,
/// and of the origin's requests for them.
async fn fetches(readers: u64) -> (u64, usize) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let object = Object::random(OBJECT, 1);
    let client = proxy.client();
    for n in 0..OLD {
        s3.put("data", &format!("old{n}"), object.clone());
        for _ in 0..2 {
            read(&client, &format!("old{n}")).await;
        }
    }
    s3.forget_requests();
    let reader = async |reader: u64| {
        let client = proxy.client();
        for n in 0..ROUNDS {
            let key = format!("new{reader}-{n}");
            s3.put("data", &key, object.clone());
            read(&client, &key).await;
            read(&client, &key).await;
        }
    };
    join_all((0..readers).map(reader)).await;
    (readers * ROUNDS, s3.requests().len())
}

#[tokio::test]
async fn with_full_memory_what_is_read_twice_in_a_row_is_fetched_once() {
    for readers in [16, 64] {
        let (objects, requests) = fetches(readers).await;
        let twice = requests - usize::try_from(objects).unwrap();
        println!("{readers} readers: {twice} of {objects} objects were fetched twice");
        assert!(twice * 50 <= requests, "{twice} of {objects} objects were fetched twice");
    }
}
