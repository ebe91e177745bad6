//! Keys that requests to an SQS queue are signed with: those of its origin, as they are renewed and reloaded.

use std::process::Command;
use std::time::Duration;

use crate::credentials::{HOUR, command, origin};
use crate::support::{FakeAgent, FakeS3, FakeSqs, Process, Scratch};

fn events(queue: &FakeSqs, more: &str) -> String {
    format!(
        "events: {{ sqs: [{{ queue: '{}', region: us-east-1, wait: 1s{more} }}] }}\n",
        queue.url
    )
}

fn with_agent(mut command: Command, agent: &FakeAgent) -> Command {
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1", agent.url));
    command
}

fn keys(access_key: &str) -> String {
    format!("[default]\naws_access_key_id = {access_key}\naws_secret_access_key = s\n")
}

#[tokio::test]
async fn a_queue_is_asked_with_the_keys_that_the_origin_renewed() {
    let (s3, queue, scratch) = (origin().await, FakeSqs::start().await, Scratch::new());
    let agent = FakeAgent::start("AK1", Duration::from_secs(8)).await;
    let serve = command("serve", &s3, &scratch, &events(&queue, ""));
    let _process = Process::spawn(with_agent(serve, &agent)).await;
    queue.until_signed_by("AK1").await;
    agent.give("AK2", HOUR);
    queue.until_signed_by("AK2").await;
    assert_eq!(agent.asked().len(), 2, "one renewal for the origin and the queue");
}

#[tokio::test]
async fn keys_that_a_queue_refuses_are_renewed() {
    let (s3, queue, scratch) = (origin().await, FakeSqs::start().await, Scratch::new());
    let agent = FakeAgent::start("AK1", HOUR).await;
    let serve = command("serve", &s3, &scratch, &events(&queue, ""));
    let mut process = Process::spawn(with_agent(serve, &agent)).await;
    queue.until_signed_by("AK1").await;
    agent.give("AK2", HOUR);
    queue.expire("AK1");
    queue.until_signed_by("AK2").await;
    process.logged("credentials for the origin renewed").await;
}

#[tokio::test]
async fn a_queue_is_asked_with_the_keys_that_a_reload_brings() {
    let (s3, queue, scratch) = (origin().await, FakeSqs::start().await, Scratch::new());
    let [one, two] = ["AK1", "AK2"].map(|key| scratch.file(key, &keys(key)));
    let more = |file: &str| format!("  credentials: {{ file: '{file}' }}\n{}", events(&queue, ""));
    let process = Process::spawn(command("serve", &s3, &scratch, &more(&one))).await;
    queue.until_signed_by("AK1").await;
    // Writes the configuration.
    let _unused = command("serve", &s3, &scratch, &more(&two));
    process.hang_up();
    queue.until_signed_by("AK2").await;
}

#[tokio::test]
async fn a_queue_of_a_named_origin_is_asked_with_that_origins_keys() {
    let (s3, archive, queue) = (origin().await, FakeS3::start().await, FakeSqs::start().await);
    let (agent, scratch) = (FakeAgent::start("AKAGENT", HOUR).await, Scratch::new());
    let file = scratch.file("own", &keys("AKARCHIVE"));
    let more = format!(
        "origins: {{ archive: {{ endpoint: '{}', credentials: {{ file: '{file}' }} }} }}\n{}",
        archive.endpoint(),
        events(&queue, ", origin: archive")
    );
    let serve = command("serve", &s3, &scratch, &more);
    let _process = Process::spawn(with_agent(serve, &agent)).await;
    queue.until_signed_by("AKARCHIVE").await;
    assert!(!queue.signers().contains(&"AKAGENT".to_owned()));
}

#[tokio::test]
async fn a_queue_of_an_anonymous_origin_is_asked_with_what_the_chain_finds() {
    let (s3, queue, scratch) = (origin().await, FakeSqs::start().await, Scratch::new());
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    let more = format!("  credentials: {{ anonymous: true }}\n{}", events(&queue, ""));
    let _process = Process::spawn(with_agent(command("serve", &s3, &scratch, &more), &agent)).await;
    queue.until_signed_by("AKAGENT").await;
    let requests = queue.signers().len();
    queue.until_requests(requests + 3).await;
    assert_eq!(agent.asked().len(), 1, "what was found is kept");
}
