use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::s3::{BucketName, ObjectKey, RequiredPermissions, Resource};

const FILE: &str = r#"
identities:
  - name: trainer
    access_key: AKTRAINER
    secret_key: hidden-material
    session_token: token-material
    allow:
      - { actions: [read, list], resources: ["data/**"] }
      - { actions: [write, delete], resources: [data/out/**, scratch/trainer/**] }
    networks: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7]
    expires: 2030-01-31T12:00:00Z
  - name: everybody
    anonymous: true
    allow:
      - { actions: [read], resources: ["public/**"] }
"#;

fn one(body: &str) -> String {
    format!("identities:\n  - {{ name: n, {body} }}")
}

fn problem(text: &str) -> String {
    let problem = parse(text).unwrap_err();
    assert!(!problem.contains('\n') && !problem.contains("material"), "{problem}");
    problem
}

fn read(path: &str) -> RequiredPermissions {
    let (bucket, key) = path.split_once('/').unwrap();
    let resource = Resource::Object(BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap());
    RequiredPermissions::one(Action::Read, resource)
}

#[test]
fn identities_are_found_by_their_access_key() {
    let set = parse(FILE).unwrap();
    assert_eq!(set.len(), 2);
    let trainer = set.by_access_key("AKTRAINER").unwrap();
    assert_eq!(trainer.name(), "trainer");
    let keys = trainer.credentials_of("AKTRAINER").unwrap();
    assert_eq!(keys.secret_key().expose(), "hidden-material");
    assert_eq!(keys.session_token().unwrap().expose(), "token-material");
    assert_eq!(trainer.expires(), Some(UNIX_EPOCH + Duration::from_hours(526_692)));
    let everybody = set.anonymous().unwrap();
    assert_eq!((everybody.name(), everybody.credentials().is_empty()), ("everybody", true));
    assert!(set.by_access_key("everybody").is_none() && set.by_access_key("").is_none());
    assert!(!format!("{set:?}").contains("material"));
}

#[test]
fn r20_what_no_grant_names_is_refused_and_no_action_includes_another() {
    let set = parse(&one(
        "access_key: AK, secret_key: s, allow: [{ actions: [admin, write], resources: [\"bkt/**\"] }]",
    ))
    .unwrap();
    let identity = set.by_access_key("AK").unwrap();
    let refused = identity.authorize(&read("bkt/k"), None, UNIX_EPOCH).unwrap_err();
    assert_eq!((refused.status.as_u16(), &*refused.code), (403, "AccessDenied"));
    assert_eq!(refused.message, "Access Denied: n may not read bkt/k");
    let bucket = BucketName::new("bkt").unwrap();
    let write = |key: &str| {
        let object = Resource::Object(bucket.clone(), ObjectKey::new(key).unwrap());
        RequiredPermissions::one(Action::Write, object)
    };
    assert!(identity.authorize(&write("a"), None, UNIX_EPOCH).is_ok());
    // R21: all pairs, not any.
    let both = write("a").and(Action::Read, Resource::bucket(&bucket));
    assert!(identity.authorize(&both, None, UNIX_EPOCH).is_err());
    let everything = RequiredPermissions::one(Action::Admin, Resource::Everything);
    let refused = identity.authorize(&everything, None, UNIX_EPOCH).unwrap_err();
    assert_eq!(refused.message, "Access Denied: n may not admin everything");
}

#[test]
fn an_identity_ends_when_it_expires() {
    let set = parse(FILE).unwrap();
    let trainer = set.by_access_key("AKTRAINER").unwrap();
    let end = trainer.expires().unwrap();
    let here = Some(IpAddr::from([10, 1, 2, 3]));
    assert!(trainer.authorize(&read("data/k"), here, end - Duration::from_secs(1)).is_ok());
    let refused = trainer.authorize(&read("data/k"), here, end).unwrap_err();
    assert_eq!((refused.status.as_u16(), &*refused.code), (400, "ExpiredToken"));
}

#[test]
fn an_identity_is_let_in_from_its_networks_only() {
    let set = parse(FILE).unwrap();
    let trainer = set.by_access_key("AKTRAINER").unwrap();
    let from = |peer: Option<&str>| {
        let peer = peer.map(|text| text.parse().unwrap());
        trainer.authorize(&read("data/k"), peer, UNIX_EPOCH).is_ok()
    };
    for peer in ["10.255.0.1", "::ffff:10.0.0.1", "2001:db8::1", "192.0.2.7"] {
        assert!(from(Some(peer)), "{peer}");
    }
    for peer in ["11.0.0.1", "::1", "2001:db9::1", "192.0.2.8", "::ffff:11.0.0.1"] {
        assert!(!from(Some(peer)), "{peer}");
    }
    assert!(!from(None), "a unix socket is in no network");
    let everybody = set.anonymous().unwrap();
    assert!(everybody.authorize(&read("public/k"), None, UNIX_EPOCH).is_ok());
}

#[test]
fn what_is_wrong_is_said_in_one_line_that_names_the_key() {
    const KEYS: &str = "access_key: AK, secret_key: material";
    const ALLOW: &str = "allow: [{ actions: [read], resources: [\"b/**\"] }]";
    for (body, expected) in [
        (ALLOW.to_owned(), "identities[0].access_key: is missing"),
        (format!("access_key: AK, {ALLOW}"), "identities[0].secret_key: is missing"),
        (
            format!("access_key: A K, secret_key: material, {ALLOW}"),
            "identities[0].access_key: the access key id is empty or holds a blank",
        ),
        (
            format!("access_key: AK, secret_key: '', {ALLOW}"),
            "identities[0].secret_key: the secret",
        ),
        (
            format!("{KEYS}, session_token: 'material twice', {ALLOW}"),
            "identities[0].session_token: the session token",
        ),
        (KEYS.to_owned(), "identities[0]: the key `allow` is missing"),
        (
            format!("{KEYS}, allow: [{{ actions: [reed], resources: [b/k] }}]"),
            "identities[0].allow[0].actions[0]: invalid value: text, expected one of `read`",
        ),
        (
            format!("{KEYS}, allow: [{{ actions: [], resources: [b/k] }}]"),
            "identities[0].allow[0].actions: an empty list",
        ),
        (
            format!("{KEYS}, allow: [{{ actions: [read], resources: [] }}]"),
            "identities[0].allow[0].resources: an empty list",
        ),
        (
            format!("{KEYS}, allow: [{{ actions: [read], resources: [b/k, bucket] }}]"),
            "identities[0].allow[0].resources[1]: `bucket` names no keys: write bucket/**",
        ),
        (
            format!("{KEYS}, {ALLOW}, networks: [10.0.0.1/8]"),
            "identities[0].networks[0]: `10.0.0.1/8` has bits beside the network: write 10.0.0.0/8",
        ),
        (format!("{KEYS}, {ALLOW}, networks: [ten]"), "identities[0].networks[0]: `ten` is not"),
        (format!("{KEYS}, {ALLOW}, expires: tomorrow"), "identities[0].expires: `tomorrow` is not"),
        (
            format!("{KEYS}, {ALLOW}, bucket: b"),
            "identities[0].bucket: unknown key, expected one of `name`",
        ),
        (
            format!("anonymous: true, {KEYS}, {ALLOW}"),
            "identities[0].anonymous: has neither keys nor certificates",
        ),
        (
            format!("{KEYS}, {ALLOW}, origin: {{ access_key: O, secret_key: '' }}"),
            "identities[0].origin.secret_key: the secret access key is empty",
        ),
        (
            format!("{KEYS}, {ALLOW}, origin: {{ access_key: O, secret_key: s, domain: a b }}"),
            "identities[0].origin.domain: must be non-empty and contain no whitespace",
        ),
        (
            format!("{KEYS}, {ALLOW}, origin: hidden"),
            "identities[0].origin: invalid value: text, expected `anonymous` or keys",
        ),
        (
            format!("{KEYS}, {ALLOW}, certificates: ['sha256:00']"),
            "identities[0].certificates[0]: `sha256:00` is not sha256: and 64 hex digits",
        ),
        (
            format!("anonymous: true, certificates: [x], {ALLOW}"),
            "identities[0].anonymous: has neither keys nor certificates",
        ),
        (
            format!("access_key: AK, secret_key: {{ material: 1 }}, {ALLOW}"),
            "identities[0].secret_key: invalid type: a map, expected text",
        ),
    ] {
        let problem = problem(&one(&body));
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn a_secret_of_the_wrong_type_is_not_shown() {
    for text in [
        one("access_key: AK, secret_key: [12345678], allow: []"),
        "identities: [\"AK:12345678, expected, x\"]".to_owned(),
        "12345678".to_owned(),
    ] {
        let problem = problem(&text);
        assert!(!problem.contains("12345678"), "{problem}");
        assert!(problem.contains("invalid type: "), "{problem}");
    }
}

#[test]
fn nobody_is_there_twice_and_somebody_must_be() {
    const ALLOW: &str = "allow: [{ actions: [read], resources: [\"b/**\"] }]";
    let both = |a: &str, b: &str| {
        problem(&format!("identities:\n  - {{ {a}, {ALLOW} }}\n  - {{ {b}, {ALLOW} }}"))
    };
    let keys = |name: &str, key: &str| format!("name: {name}, access_key: {key}, secret_key: s");
    assert_eq!(
        both(&keys("a", "K"), &keys("b", "K")),
        "identities[1].access_key: `K` is there twice"
    );
    assert_eq!(both(&keys("a", "K"), &keys("a", "L")), "identities[1].name: `a` is there twice");
    assert_eq!(
        both("name: a, anonymous: true", "name: b, anonymous: true"),
        "identities[1].anonymous: there is one already"
    );
    assert_eq!(problem("identities: []"), "identities: at least one is needed");
    for half_written in ["", "identities:\n", "identities:\n  - name: a\n    access_k"] {
        assert!(parse(half_written).is_err(), "{half_written:?}");
    }
}

#[test]
fn r1_keys_for_the_origin_belong_to_one_identity_unless_a_domain_is_named() {
    const ALLOW: &str = "allow: [{ actions: [read], resources: [\"b/**\"] }]";
    let set = parse(&format!(
        "identities:\n\
         - {{ name: a, access_key: A, secret_key: s, {ALLOW}, \
             origin: {{ access_key: OA, secret_key: material, session_token: t }} }}\n\
         - {{ name: b, access_key: B, secret_key: s, {ALLOW}, \
             origin: {{ access_key: OB, secret_key: material, domain: team }} }}\n\
         - {{ name: c, access_key: C, secret_key: s, {ALLOW} }}\n\
         - {{ name: d, anonymous: true, {ALLOW}, origin: anonymous }}"
    ))
    .unwrap();
    let brought: Vec<_> = set
        .with_origin()
        .map(|(who, keys)| (who.name(), keys.domain(), keys.credentials().map(|k| k.access_key())))
        .collect();
    let expected =
        [("a", "identity a", Some("OA")), ("b", "team", Some("OB")), ("d", "identity d", None)];
    assert_eq!(brought, expected);
    assert!(!format!("{set:?}").contains("material"));
}

#[test]
fn a_certificate_makes_known_who_has_no_keys() {
    const ALLOW: &str = "allow: [{ actions: [read], resources: [\"b/**\"] }]";
    let colons = vec!["aB"; 32].join(":");
    let set = parse(&format!(
        "identities:\n\
         - {{ name: a, certificates: [Node-1.example.org, 'sha256:{colons}'], {ALLOW} }}\n\
         - {{ name: b, access_key: B, secret_key: s, certificates: [other], {ALLOW} }}"
    ))
    .unwrap();
    let name = CertificateId::dns;
    let known =
        |ids: &[CertificateId]| set.by_certificate(ids).map(|identity| identity.name().to_owned());
    assert_eq!(known(&[CertificateId::Sha256([0xAB; 32])]).as_deref(), Some("a"));
    assert_eq!(known(&[name("x"), name("node-1.example.org")]).as_deref(), Some("a"));
    assert_eq!(known(&[name("other")]).as_deref(), Some("b"));
    assert_eq!(known(&[CertificateId::Sha256([0; 32]), name("x")]), None);
    assert!(set.anonymous().is_none());
    let twice = problem(&format!(
        "identities:\n- {{ name: a, certificates: [x], {ALLOW} }}\n\
         - {{ name: b, certificates: [y, X], {ALLOW} }}"
    ));
    assert_eq!(twice, "identities[1].certificates[1]: `dns:x` is there twice");
}

#[test]
fn each_kind_of_name_in_a_certificate_has_a_namespace_of_its_own() {
    const ALLOW: &str = "allow: [{ actions: [read], resources: [\"b/**\"] }]";
    let set = parse(&format!(
        "identities:\n\
         - {{ name: mail, certificates: ['Ops@Example.org'], {ALLOW} }}\n\
         - {{ name: spiffe, certificates: ['spiffe://Cluster/ns/Prod'], {ALLOW} }}\n\
         - {{ name: host, certificates: [Node.example.org, 'dns:b@c'], {ALLOW} }}\n\
         - {{ name: urn, certificates: ['uri:node.example.org', 'email:node.example.org'], {ALLOW} }}"
    ))
    .unwrap();
    let known = |id: CertificateId| set.by_certificate(&[id]).map(|identity| identity.name());
    for (id, who) in [
        (CertificateId::email("Ops@example.ORG"), Some("mail")),
        (CertificateId::email("ops@example.org"), None),
        (CertificateId::dns("Ops@example.org"), None),
        (CertificateId::uri("Ops@example.org"), None),
        (CertificateId::uri("SPIFFE://cluster/ns/Prod"), Some("spiffe")),
        (CertificateId::uri("spiffe://cluster/ns/prod"), None),
        (CertificateId::dns("spiffe://cluster/ns/Prod"), None),
        (CertificateId::email("spiffe://cluster/ns/Prod"), None),
        (CertificateId::dns("NODE.example.org"), Some("host")),
        (CertificateId::uri("node.example.org"), Some("urn")),
        (CertificateId::email("node.example.org"), Some("urn")),
        (CertificateId::dns("b@c"), Some("host")),
        (CertificateId::email("b@c"), None),
    ] {
        assert_eq!(known(id.clone()), who, "{id}");
    }
}

#[test]
fn an_identity_may_have_several_keys_and_each_belongs_to_one() {
    const ALLOW: &str = "allow: [{ actions: [read], resources: [\"b/**\"] }]";
    let keys = |keys: &str| one(&format!("keys: [{keys}], {ALLOW}"));
    let set = parse(&one(&format!(
        "access_key: OLD, secret_key: a, \
         keys: [{{ access_key: NEW, secret_key: b, session_token: t }}], {ALLOW}"
    )))
    .unwrap();
    for (key, secret) in [("OLD", "a"), ("NEW", "b")] {
        let credentials = set.by_access_key(key).unwrap().credentials_of(key).unwrap();
        assert_eq!(credentials.secret_key().expose(), secret);
    }
    assert!(set.anonymous().is_none());
    assert_eq!(parse(&keys("{ access_key: A, secret_key: a }")).unwrap().len(), 1);
    let twice = keys("{ access_key: A, secret_key: a }, { access_key: A, secret_key: b }");
    assert_eq!(problem(&twice), "identities[0].access_key: `A` is there twice");
    let empty = keys("{ access_key: A, secret_key: a }, { access_key: B, secret_key: '' }");
    assert!(problem(&empty).starts_with("identities[0].keys[1].secret_key: the secret"));
    assert!(problem(&keys("")).starts_with("identities[0].access_key: is missing"));
    let anonymous =
        keys("{ access_key: A, secret_key: a }").replace("keys:", "anonymous: true, keys:");
    assert!(problem(&anonymous).starts_with("identities[0].anonymous: "));
}

#[test]
fn the_documented_example_is_right() {
    let page = include_str!("../../../../docs/authentication.md");
    let (_, example) = page.split_once("identities: /etc/hotset/identities.yaml }\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let set = parse(example).unwrap();
    assert_eq!((set.len(), set.with_origin().count()), (4, 2));
    assert_eq!(set.by_access_key("AKTRAINER").unwrap().name(), "trainer");
}
