//! A client of the admin port's API.

use std::net::SocketAddr;

use http::Method;
use serde_json::Value;

use super::client::{Client, Request};
use super::within;

/// A client of the API that sends JSON.
pub struct Api {
    client: Client,
    token: Option<&'static str>,
}

impl Api {
    #[must_use]
    pub fn new(admin: SocketAddr) -> Api {
        Api { client: Client::new(admin), token: None }
    }

    #[must_use]
    pub fn with_token(admin: SocketAddr, token: &'static str) -> Api {
        Api { client: Client::new(admin), token: Some(token) }
    }

    /// Sends a POST; returns status and body of the response.
    pub async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self.client.request(Method::POST, path);
        self.send(request.header("content-type", "application/json").body(body.to_owned())).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(path)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(self.client.delete(path)).await
    }

    /// Starts a warm job, waits until it has ended, and returns its final state.
    pub async fn warm(&self, body: &str) -> Value {
        let (status, begun) = self.post("/api/v1/warm", body).await;
        assert_eq!(status, 202, "{begun}");
        self.job(&begun, |job| job["state"] != "running").await
    }

    /// Polls a job until it meets the condition.
    pub async fn job(&self, begun: &Value, is_so: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/warm/{}", begun["id"].as_str().expect("an id"));
        let asked = async {
            loop {
                let (status, job) = self.get(&path).await;
                assert_eq!(status, 200, "{job}");
                if is_so(&job) {
                    return job;
                }
            }
        };
        within("a warm job", asked).await
    }

    async fn send(&self, request: Request) -> (u16, Value) {
        let request = match self.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        };
        let answer = request.send().await;
        assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
        let text = answer.text();
        (answer.status.as_u16(), serde_json::from_str(&text).expect("JSON"))
    }
}
