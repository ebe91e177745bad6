//! Tests of the mapping of buckets to origins.

use std::collections::HashSet;

use super::*;
use crate::origin::OriginConfig;

fn origin(endpoint: &str) -> Arc<Origin> {
    let config = OriginConfig { endpoint: endpoint.to_owned(), ..OriginConfig::default() };
    Arc::new(Origin::new(config, None).unwrap())
}

fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

fn texts(names: &[BucketName]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

/// `archive` and `old` are bucket `real` of origin x, `logs-*` are of origin x by their own names, and `logs-eu` is of y.
fn origins() -> Origins {
    let (x, y) = (origin("http://x"), origin("http://y"));
    let mapping = |pattern: &str, origin: &Arc<Origin>, real: Option<&str>| Mapping {
        pattern: pattern.to_owned(),
        name: Some(if origin.config().endpoint == "http://x" { "x" } else { "y" }.to_owned()),
        origin: origin.clone(),
        bucket: real.map(bucket),
    };
    let mappings = vec![
        mapping("*-eu", &x, None),
        mapping("logs-*", &x, None),
        mapping("logs-eu", &y, None),
        mapping("archive", &x, Some("real")),
        mapping("old", &x, Some("real")),
        mapping("swapped", &y, Some("data")),
    ];
    let named = vec![("x".to_owned(), x.clone()), ("y".to_owned(), y.clone())];
    Origins::new(origin("http://default"), named, mappings).unwrap()
}

fn endpoint_of(origins: &Origins, name: &str) -> String {
    origins.of(&bucket(name)).config().endpoint.clone()
}

#[test]
fn a_bucket_is_found_by_its_name_then_by_the_glob_that_says_most_then_at_the_default() {
    let origins = origins();
    for (name, endpoint) in [
        ("logs-eu", "http://y"),
        ("logs-us", "http://x"),
        ("data-eu", "http://x"),
        ("archive", "http://x"),
        ("data", "http://default"),
        ("real", "http://default"),
    ] {
        assert_eq!(endpoint_of(&origins, name), endpoint, "{name}");
    }
}

#[test]
fn r1_each_mapped_bucket_has_a_realm_that_no_other_origin_or_bucket_has() {
    let origins = origins();
    let realm = |name: &str| origins.realm_of(Some(&bucket(name))).as_str().to_owned();
    let all = ["data", "archive", "logs-us", "logs-eu"].map(realm);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "{all:?}");
    // The names tell these apart.
    assert_eq!(realm("archive"), realm("old"));
    assert_eq!(realm("data"), *origins.default_origin().domains().own().realm().as_str());
    let plain: Origins = origin("http://default").into();
    assert_eq!(plain.realm_of(Some(&bucket("archive"))).as_str(), realm("data"));
}

#[test]
fn r8_a_bucket_is_known_by_each_name_that_leads_to_it() {
    let origins = origins();
    let names = |name: &str| texts(&origins.names_of(&bucket(name)));
    assert_eq!(names("archive"), ["archive", "old", "real"]);
    assert_eq!(names("old"), names("archive"));
    assert_eq!(names("real"), names("archive"));
    assert_eq!(names("data"), ["data", "swapped"]);
    assert_eq!(names("logs-us"), ["logs-us"]);
    let clients = |name: &str| texts(&origins.clients_of(&bucket(name)));
    // No client reads it by its own name.
    assert_eq!(clients("archive"), [""; 0]);
    assert_eq!(clients("real"), ["archive", "old", "real"]);
    assert!(
        !origins.is_of_one_origin(&bucket("real")) && origins.is_of_one_origin(&bucket("logs-us"))
    );
    let plain: Origins = origin("http://default").into();
    assert_eq!(texts(&plain.names_of(&bucket("real"))), ["real"]);
}

#[test]
fn an_object_is_asked_for_by_the_name_that_its_origin_knows() {
    let origins = origins();
    let id = ObjectId::new(
        &origins.realm_of(Some(&bucket("archive"))),
        bucket("archive"),
        ObjectKey::new("k").unwrap(),
    );
    let version = crate::s3::VersionId::new("v1").unwrap();
    let there = origins.in_force().target_of(&id).unwrap().there(&id.at(version.clone()).paid());
    assert_eq!(there.to_string(), "real/k");
    assert_eq!((there.version(), there.pays()), (Some(&version), true));
    assert_eq!(there.realm(), origins.of(id.bucket()).domains().own().realm());
}

#[test]
fn r1_an_object_that_fails_over_has_a_realm_of_its_own_and_a_place_at_the_other_origin() {
    let origins = origins();
    let (first, key) = (bucket("data"), ObjectKey::new("k").unwrap());
    assert!(origins.failover(&first, "none", None).is_none());
    assert!(origins.failover(&first, "x", None).is_none(), "not added");
    assert_eq!(origins.realms_of(&first).len(), 1);
    let real = bucket("replica");
    for _ in 0..2 {
        origins.add_failover("x", Some(&real));
    }
    origins.add_failover("y", None);
    let (realm, other) = origins.failover(&first, "x", Some(&real)).unwrap();
    assert_eq!(other.config().endpoint, "http://x");
    assert!(origins.failover(&first, "x", None).is_none(), "another bucket of it");
    let (realm_y, _) = origins.failover(&first, "y", None).unwrap();
    let realms = origins.realms_of(&first);
    assert_eq!(realms.len(), 3);
    assert!(realms.contains(&realm) && realms.contains(&realm_y) && realm != realm_y);
    assert_eq!(origins.realm_of(Some(&first)), realms[0], "what is asked of the first has its own");
    let there = |realm: &Realm| {
        let id = ObjectId::new(realm, first.clone(), key.clone());
        let target = origins.in_force().target_of(&id).map(|target| target.there(&id).to_string());
        (target, origins.of_object(&id).config().endpoint.clone())
    };
    assert_eq!(there(&realm), (Some("replica/k".to_owned()), "http://x".to_owned()));
    assert_eq!(there(&realm_y), (Some("data/k".to_owned()), "http://y".to_owned()));
    assert_eq!(there(&realms[0]), (None, "http://default".to_owned()));
    // One that is of that origin has nowhere else to go.
    assert!(origins.failover(&bucket("swapped"), "y", None).is_none());
    for n in 0..1000 {
        origins.add_failover("y", Some(&bucket(&format!("bucket-{n}"))));
    }
    assert!(origins.realms_of(&first).len() <= 65);
}

#[test]
fn an_error_names_the_bucket_as_its_client_does() {
    let origins = origins();
    let client = bucket("archive");
    let id = ObjectId::new(
        &origins.realm_of(Some(&client)),
        client.clone(),
        ObjectKey::new("real").unwrap(),
    );
    let mut said = S3Error::no_such_key("real");
    said.details = [("BucketName", "real"), ("Other", "really")]
        .map(|(n, t)| (n.to_owned(), t.to_owned()))
        .into();
    let error = OriginError::NotFound(said);
    let mut error = origins.in_force().target_of(&id).unwrap().for_client(error, &client);
    let details = &error.said_mut().unwrap().details;
    let texts: Vec<&str> = details.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["archive", "really"]);
}

#[test]
fn r1_an_object_is_asked_of_a_set_that_has_its_realm_or_of_none() {
    let origins = Origins::from(origin("http://one"));
    let id = |origins: &Origins| {
        let realm = origins.realm_of(Some(&bucket("data")));
        ObjectId::new(&realm, bucket("data"), ObjectKey::new("k").unwrap())
    };
    let asked = |id: &ObjectId| {
        let (origin, _) = origins.route(id).ok()?;
        Some(origin.config().endpoint.clone())
    };
    let one = id(&origins);
    origins.replace(origin("http://two").into(), true);
    let two = id(&origins);
    assert_eq!(
        [asked(&one), asked(&two)],
        ["http://one", "http://two"].map(|e| Some(e.to_owned()))
    );
    // Mapped to another store, whose realm is another.
    let x = origin("http://x");
    let mapping = Mapping {
        pattern: "data".to_owned(),
        name: Some("x".to_owned()),
        origin: x.clone(),
        bucket: None,
    };
    let mapped = OriginSet::new(origin("http://two"), vec![("x".to_owned(), x)], vec![mapping]);
    origins.replace(mapped.unwrap(), true);
    assert_eq!(asked(&id(&origins)).as_deref(), Some("http://x"));
    assert_eq!(
        [asked(&one), asked(&two)],
        ["http://one", "http://two"].map(|e| Some(e.to_owned()))
    );
    for n in 0..MOST_REPLACED {
        origins.replace(origin(&format!("http://more-{n}")).into(), true);
    }
    assert_eq!(asked(&one), None, "it is refused, and not asked of another");
}

#[test]
fn a_set_that_only_tunes_its_origins_takes_over_at_once() {
    let origins = Origins::from(origin("http://one"));
    let realm = origins.realm_of(None);
    let next = origin("http://one");
    origins.replace(next.clone().into(), false);
    assert!(Arc::ptr_eq(&origins.default_origin(), &next) && origins.realm_of(None) == realm);
    assert!(origins.0.replaced.lock().is_empty());
}
