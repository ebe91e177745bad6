//! Sources of credentials, over real HTTP: a container's agent (ECS, EKS Pod Identity), the instance metadata service
//! (`IMDSv2`), STS and IAM Identity Center (SSO).

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::lock;

/// Credentials that the agent hands out.
#[derive(Debug, Clone)]
pub struct Given {
    pub access_key: String,
    /// Lifetime, from the time of the request.
    pub lives: Duration,
}

/// A request as the agent received it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: String,
    pub imds_token: String,
    pub sso_token: String,
    pub body: String,
}

#[derive(Debug)]
struct State {
    given: Given,
    instead: Option<Instead>,
    asked: Vec<Asked>,
}

/// Behaviour in place of handing out credentials.
#[derive(Debug, Clone)]
enum Instead {
    Status(u16),
    /// Answers 200 with this body.
    Text(String),
    Hang,
}

/// One server for all of them, told apart by the request.
#[derive(Debug)]
pub struct FakeAgent {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl FakeAgent {
    /// # Panics
    /// When no port is free.
    pub async fn start(access_key: &str, lives: Duration) -> FakeAgent {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let given = Given { access_key: access_key.to_owned(), lives };
        let state = Arc::new(Mutex::new(State { given, instead: None, asked: Vec::new() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(answer(&state, request).await) }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that closes its connection is no failure.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        FakeAgent { url, state }
    }

    /// Changes the credentials that are handed out; they are handed out again if they were not.
    pub fn give(&self, access_key: &str, lives: Duration) {
        let mut state = lock(&self.state);
        state.given = Given { access_key: access_key.to_owned(), lives };
        state.instead = None;
    }

    /// Makes it answer with this status.
    pub fn fail(&self, status: u16) {
        lock(&self.state).instead = Some(Instead::Status(status));
    }

    /// Makes it answer 200 with this body.
    pub fn answer(&self, text: &str) {
        lock(&self.state).instead = Some(Instead::Text(text.to_owned()));
    }

    /// Makes it never answer.
    pub fn hang(&self) {
        lock(&self.state).instead = Some(Instead::Hang);
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Response<String> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let header = |name: &str| {
        head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        authorization: header("authorization"),
        imds_token: header("x-aws-ec2-metadata-token"),
        sso_token: header("x-amz-sso_bearer_token"),
        body,
    };
    let (given, instead) = {
        let mut state = lock(state);
        state.asked.push(asked.clone());
        (state.given.clone(), state.instead.clone())
    };
    let (status, text) = match instead {
        None => (200, credentials(&given, &asked)),
        // Looks like credentials, but is invalid.
        Some(Instead::Status(status)) => {
            (status, agent(&Given { access_key: "AKBAD".to_owned(), ..given }))
        }
        Some(Instead::Text(text)) => (200, text),
        Some(Instead::Hang) => std::future::pending().await,
    };
    Response::builder()
        .status(status)
        .header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        .body(text)
        .expect("a legal answer")
}

fn credentials(given: &Given, asked: &Asked) -> String {
    match asked.path.as_str() {
        "/latest/api/token" => "imds-token".to_owned(),
        "/latest/meta-data/iam/security-credentials/" => "node-role".to_owned(),
        "/federation/credentials" => sso(given),
        "/" => sts(given, &asked.body),
        _ => agent(given),
    }
}

fn time_of_end(given: &Given) -> chrono::DateTime<chrono::Utc> {
    (SystemTime::now() + given.lives).into()
}

fn ends(given: &Given) -> String {
    time_of_end(given).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Answers `GetRoleCredentials`.
fn sso(given: &Given) -> String {
    let keys = json!({
        "accessKeyId": given.access_key,
        "secretAccessKey": "hidden-material",
        "sessionToken": "session-token",
        "expiration": time_of_end(given).timestamp_millis(),
    });
    json!({ "roleCredentials": keys }).to_string()
}

fn agent(given: &Given) -> String {
    let answer = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2020-01-01T00:00:00Z",
        "AccessKeyId": given.access_key,
        "SecretAccessKey": "hidden-material",
        "Token": "session-token",
        "Expiration": ends(given),
    });
    answer.to_string()
}

/// Answers `AssumeRole` and `AssumeRoleWithWebIdentity`.
fn sts(given: &Given, body: &str) -> String {
    let action = match body.contains("Action=AssumeRoleWithWebIdentity") {
        true => "AssumeRoleWithWebIdentity",
        false => "AssumeRole",
    };
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
         <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/r/s</Arn>\
         <AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>\
         <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>hidden-material</SecretAccessKey>\
         <SessionToken>session-token</SessionToken><Expiration>{}</Expiration></Credentials>\
         </{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>",
        given.access_key,
        ends(given)
    )
}
