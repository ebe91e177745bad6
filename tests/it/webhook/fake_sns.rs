//! A fake SNS: it serves certificates over TLS, signs, and records its requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, lock};

pub const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:cache-events";
pub const PEM: &str = "/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem";

/// Private key of the fake, made for these tests.
const KEY: &str = include_str!("sns_key.pem");

pub struct FakeSns {
    pub authority: Authority,
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Contents of files, by path.
    files: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
}

impl FakeSns {
    /// Starts the fake with a certificate at [`PEM`] that its authority signed for SNS.
    pub async fn start() -> FakeSns {
        let authority = Authority::new("SNS's authority");
        let pair = authority.sign(&["127.0.0.1"]);
        let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (acceptor, shared) = (TlsAcceptor::from(Arc::new(config)), state.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, shared.clone()));
            }
        });
        let sns = FakeSns { authority, addr, state };
        sns.show(PEM, &sns.authority.certify(&["sns.amazonaws.com"], 2099, &key_pair()));
        sns
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.addr)
    }

    /// Serves a file at a path.
    pub fn show(&self, path: &str, content: &str) {
        lock(&self.state.files).insert(path.to_owned(), content.to_owned());
    }

    /// Returns the targets that were requested.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state.asked).clone()
    }

    /// Makes a notification of [`TOPIC`], not signed.
    pub fn notification(&self, message: &str) -> Value {
        json!({
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Subject": "Amazon S3 Notification",
            "Message": message,
            "Timestamp": timestamp(SystemTime::now()),
            "SignatureVersion": "2",
            "Signature": "",
            "SigningCertURL": format!("{}{PEM}", self.endpoint()),
            "UnsubscribeURL": format!("{}/?Action=Unsubscribe", self.endpoint()),
        })
    }

    /// Makes the request to confirm a subscription to [`TOPIC`], not signed.
    pub fn question(&self) -> Value {
        let url = format!(
            "{}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb687f",
            self.endpoint()
        );
        json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37fb687f",
            "TopicArn": TOPIC,
            "Message": "You have chosen to subscribe.",
            "SubscribeURL": url,
            "Timestamp": timestamp(SystemTime::now()),
            "SignatureVersion": "2",
            "Signature": "",
            "SigningCertURL": format!("{}{PEM}", self.endpoint()),
        })
    }
}

/// Formats a time as SNS does: `2026-11-23T02:50:12.011Z`.
pub fn timestamp(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub fn key_pair() -> KeyPair {
    KeyPair::from_pem_and_sign_algo(KEY, &PKCS_RSA_SHA256).unwrap()
}

/// Signs an envelope by version 2, as described in SNS's documentation on signatures.
pub fn signed(mut envelope: Value) -> String {
    const SIGNED: [&str; 8] = [
        "Message",
        "MessageId",
        "Subject",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ];
    let field = |name: &&str| Some(format!("{name}\n{}\n", envelope.get(*name)?.as_str()?));
    let text: String = SIGNED.iter().filter_map(field).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(key.secret_der()).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    envelope["Signature"] = json!(STANDARD.encode(signature));
    envelope.to_string()
}

/// Answers one request.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream, state: Arc<State>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let file = lock(&state.files).get(&target).cloned();
    let confirms = target.starts_with("/?Action=ConfirmSubscription&").then(String::new);
    let answer = match file.or(confirms) {
        Some(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    lock(&state.asked).push(target);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
