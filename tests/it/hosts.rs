//! R24: the host names that each mode accepts, with the configuration of a first start.

use hotset::auth::AuthMode;

use crate::support::{FakeS3, Object, Response, Scratch, Signed, TestProxy, setup};

/// Names of a server in Docker Compose, Kubernetes and sidecars, and addresses.
const LOCAL: [&str; 9] = [
    "hotset:9000",
    "HotSet",
    "my_cache:9000",
    "localhost:9000",
    "[::1]:9000",
    "192.0.2.7",
    "hotset.default.svc:9000",
    "hotset.default.svc.cluster.local:9000",
    "host.docker.internal:9000",
];
const PUBLIC: [&str; 4] = ["evil.example:9000", "hotset.default", "data.localhost", "a.b.c.d.e"];

fn content(answer: &Response) -> (u16, String) {
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn r24_local_names_are_path_style_by_default_in_trust_mode() {
    let (s3, _proxy, client) = setup().await;
    for (index, host) in LOCAL.into_iter().enumerate() {
        let target = format!("/data/k{index}");
        let put = client.put(&target).host(host).body(host).send().await;
        assert_eq!(put.status, 200, "{host}: {}", put.text());
        assert_eq!(s3.object_bytes("data", &format!("k{index}")), host);
        let list = client.get("/data?list-type=2").host(host).send().await;
        assert_eq!(list.status, 200, "{host}: {}", list.text());
        for cache in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
            let read = client.get(&target).host(host).send().await;
            assert_eq!(content(&read), (200, host.to_owned()));
            assert_eq!(read.header("cache-status"), cache, "{host}");
        }
    }
}

#[tokio::test]
async fn r24_a_public_name_is_refused_in_trust_mode_until_it_is_listed() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("content"));
    for host in PUBLIC {
        let refused = client.get("/data/k").host(host).send().await;
        assert_eq!(refused.status, 400, "{host}");
        assert!(refused.text().contains("<Code>InvalidRequest</Code>"), "{}", refused.text());
        assert!(refused.text().contains("listen[].domains"), "{}", refused.text());
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    let proxy = TestProxy::start_with(&s3, |config| {
        config.listen[0].domains = vec!["cache.example".to_owned()];
    })
    .await;
    let client = proxy.client();
    for (host, target) in [("cache.example:9000", "/data/k"), ("data.cache.example:9000", "/k")] {
        let read = client.get(target).host(host).send().await;
        assert_eq!(content(&read), (200, "content".to_owned()), "{host}");
    }
}

#[tokio::test]
async fn r24_any_name_is_path_style_where_signatures_decide() {
    let scratch = Scratch::new();
    let identities = scratch.file(
        "identities.yaml",
        "identities:\n  - { name: writer, access_key: AKWRITER, secret_key: writers-secret,\n      \
         allow: [{ actions: [read], resources: ['data/**'] }] }\n",
    );
    for mode in [AuthMode::Verify, AuthMode::Transparent] {
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        let proxy = TestProxy::start_with(&s3, |config| {
            config.auth.mode = mode;
            config.listen[0].domains = vec!["listed.example".to_owned()];
            if mode == AuthMode::Verify {
                config.auth.identities = Some(identities.clone().into());
            }
        })
        .await;
        let client = proxy.client();
        for host in LOCAL.into_iter().chain(PUBLIC) {
            let wire = Signed::new("GET", "/data/k", proxy.addr).header("host", host).wire();
            let read = client.raw(&wire).await;
            assert_eq!(content(&read), (200, "content".to_owned()), "{mode:?} {host}");
            assert_eq!(
                s3.requests().last().map(|seen| seen.target.clone()),
                Some("/data/k".into())
            );
        }
        let wire = Signed::new("GET", "/k", proxy.addr).header("host", "data.listed.example");
        assert_eq!(client.raw(&wire.wire()).await.status, 200, "{mode:?}");
    }
}
