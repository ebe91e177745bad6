//! R20, R21, R23 in `verify` mode: signatures by independent code, over real sockets.

mod bodies;
mod changed;
mod heads;
mod once;
mod policies;

use hotset::auth::AuthMode;
use hotset::config::Config;

use crate::support::{Client, FakeS3, Object, Response, Scratch, Signed, TestProxy};

const IDENTITIES: &str = "
identities:
  - { name: writer, access_key: AKWRITER, secret_key: writers-secret,
      allow: [{ actions: [read, write, list, delete, admin], resources: ['**'] }] }
  - { name: reader, access_key: AKREADER, secret_key: readers-secret,
      allow: [{ actions: [read], resources: ['data/public/**'] }] }
  - { name: temporary, access_key: AKTEMPORARY, secret_key: temporary-secret, session_token: token/1,
      allow: [{ actions: [read], resources: ['data/**'] }] }
  - { name: cleaner, access_key: AKCLEANER, secret_key: cleaners-secret,
      allow: [{ actions: [read, write, delete], resources: ['data/tmp/**'] }] }
  - { name: expired, access_key: AKEXPIRED, secret_key: expired-secret, expires: '2020-01-01T00:00:00Z',
      allow: [{ actions: [read], resources: ['**'] }] }
";

/// hotset in `verify` mode, in front of an origin with `data/k` and `data/public/k`.
struct Verifying {
    s3: FakeS3,
    proxy: TestProxy,
    client: Client,
    _scratch: Scratch,
}

impl Verifying {
    async fn start() -> Verifying {
        Verifying::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Verifying {
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        s3.put("data", "public/k", Object::bytes("for all"));
        let scratch = Scratch::new();
        let identities = scratch.file("identities.yaml", IDENTITIES);
        let proxy = TestProxy::start_with(&s3, |config| {
            config.auth.mode = AuthMode::Verify;
            config.auth.identities = Some(identities.into());
            change(config);
        })
        .await;
        let client = proxy.client();
        Verifying { s3, proxy, client, _scratch: scratch }
    }

    /// Makes a request that `writer` signs.
    fn signed(&self, method: &'static str, target: &str) -> Signed {
        Signed::new(method, target, self.proxy.addr)
    }

    async fn send(&self, wire: &[u8]) -> Response {
        self.client.raw(wire).await
    }

    /// Returns the status, and the code of an error or the body.
    async fn answer(&self, wire: &[u8]) -> (u16, String) {
        let answer = self.send(wire).await;
        assert!(answer.complete);
        let text = answer.text();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let told = code.map_or(text.as_str(), |(code, _)| code).to_owned();
        (answer.status.as_u16(), told)
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
