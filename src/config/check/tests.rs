use super::*;
use crate::auth::{AuthConfig, AuthMode};
use crate::config::units::ByteSize;
use crate::events::webhook::config::{SnsConfig, WebhookConfig};
use crate::origin::config::Addressing;
use crate::tls::config::{ClientAuth, TlsConfig};

/// Returns the error for the default configuration with one change.
fn error(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    config.check().expect_err("it must be refused").to_string()
}

fn accepted(change: impl FnOnce(&mut Config)) {
    let mut config = Config::default();
    change(&mut config);
    config.check().unwrap_or_else(|error| panic!("{error}"));
}

fn rule(pattern: &str) -> RuleConfig {
    RuleConfig { pattern: pattern.to_owned(), ..RuleConfig::default() }
}

#[test]
fn sizes_that_do_not_fit_each_other_are_refused_with_both_names() {
    assert_eq!(
        error(|c| c.cache.block = ByteSize::mib(3)),
        "cache.block: 3MiB is not a power of two between 64KiB and 16MiB"
    );
    assert!(error(|c| c.cache.block = ByteSize::mib(32)).starts_with("cache.block: 32MiB"));
    assert!(error(|c| c.cache.block = ByteSize(0)).starts_with("cache.block: 0"));
    assert_eq!(
        error(|c| c.cache.fetch = ByteSize::kib(1536)),
        "cache.fetch: 1536KiB is not a multiple of cache.block (1MiB)"
    );
    assert!(error(|c| c.cache.fetch = ByteSize(0)).starts_with("cache.fetch"));
    assert_eq!(
        error(|c| c.cache.in_flight = Some(ByteSize::mib(31))),
        "cache.in_flight: 31MiB is less than four times cache.fetch (8MiB)"
    );
    assert!(error(|c| c.cache.memory = Some(ByteSize::mib(1))).starts_with("cache.memory"));
    assert!(error(|c| c.cache.read_ahead = ByteSize::mib(1)).starts_with("cache.read_ahead"));
    accepted(|c| c.cache.in_flight = Some(ByteSize::mib(32)));
}

#[test]
fn the_last_rule_matches_everything_and_no_other_does() {
    let error_of = |rules: Vec<RuleConfig>| error(|c| c.rules = rules);
    assert_eq!(error_of(vec![]), "rules: at least one rule is needed, with match \"**\"");
    assert_eq!(
        error_of(vec![rule("b/**")]),
        "rules[0].match: the last rule must match everything: \"**\""
    );
    assert_eq!(
        error_of(vec![rule("**"), rule("**")]),
        "rules[0].match: \"**\" leaves nothing to the rules after it"
    );
    assert_eq!(
        error_of(vec![rule("b/**"), rule("b/**"), rule("**")]),
        "rules[1].match: `b/**` is that of rules[0], and the first match wins"
    );
    assert!(
        error_of(vec![rule("b/[a"), rule("**")]).starts_with("rules[0].match: `b/[a` has a `[`")
    );
    accepted(|c| c.rules = vec![rule("b/**"), rule("**")]);
}

#[test]
fn a_pattern_that_is_no_bucket_and_key_is_refused_with_one_that_is() {
    for (pattern, problem) in [
        (
            "/b/**",
            "`/b/**` begins with a slash, and matches nothing: write bucket/key, as in `b/**`",
        ),
        ("s3://b/x*", "`s3://b/x*` is a URL, and matches nothing: write bucket/key, as in `b/x*`"),
        (
            "arn:aws:s3:::b/**",
            "`arn:aws:s3:::b/**` is an ARN, and matches nothing: write bucket/key, as in `b/**`",
        ),
        ("b", "`b` names no keys: write b/**"),
    ] {
        let said = error(|c| c.rules = vec![rule(pattern), rule("**")]);
        assert_eq!(said, format!("rules[0].match: {problem}"));
    }
}

#[test]
fn r27_lists_are_kept_for_a_moment_at_most() {
    let error_of = |lists| error(|c| c.rules[0].lists = Some(lists));
    assert_eq!(error_of(HumanDuration::secs(61)), "rules[0].lists: 1m1s is more than 1m");
    assert_eq!(error_of(HumanDuration::secs(0)), "rules[0].lists: must be greater than zero");
    accepted(|c| c.rules[0].lists = Some(HumanDuration::secs(60)));
}

#[test]
fn a_glob_matches_bucket_and_key_as_text() {
    let matches =
        |pattern: &str, path: &str| rule(pattern).glob().unwrap().matches(Text::new(path));
    for id in ["b/k", "b/a/b/c", "b/a/..", "b//x", "b/line\nend", "b/.hidden", "b/a/"] {
        assert!(matches("**", id), "{id:?}");
    }
    assert!(matches("b/*.parquet", "b/x.parquet"));
    assert!(!matches("b/*.parquet", "b/d/x.parquet"));
    assert!(!matches("b/*.parquet", "c/x.parquet"));
    assert!(matches("b/**/*.parquet", "b/d/e/x.parquet"));
    assert!(matches("*/static/**", "any/static/a/b"));
}

#[test]
fn an_endpoint_is_a_scheme_a_host_and_perhaps_a_port() {
    for good in ["http://minio:9000", "https://s3.eu-west-1.amazonaws.com/", "http://[::1]:8333"] {
        accepted(|c| c.origin.endpoint = good.to_owned());
    }
    for bad in [
        "",
        "minio:9000",
        "//minio",
        "ftp://minio",
        "http://",
        "http://minio:",
        "http://minio:99999",
        "http://minio:0",
        "http://minio/bucket",
        "http://minio?x",
        "http://minio/#x",
        "http:/minio",
    ] {
        let error = error(|c| c.origin.endpoint = bad.to_owned());
        assert!(error.starts_with("origin.endpoint: "), "{bad}: {error}");
    }
}

#[test]
fn a_password_in_the_endpoint_is_refused_and_not_printed() {
    let error = error(|c| c.origin.endpoint = "http://me:hunter2@minio".to_owned());
    assert_eq!(error, "origin.endpoint: must not hold a user or a password");
}

#[test]
fn an_endpoint_that_is_our_own_listener_is_refused() {
    for own in ["http://127.0.0.1:9000", "http://localhost:9000"] {
        assert!(error(|c| c.origin.endpoint = own.to_owned()).contains("own listeners"));
    }
    assert!(
        error(|c| {
            c.listen[0].address = "0.0.0.0:80".to_owned();
            c.auth.open = true;
            c.origin.endpoint = "http://127.0.0.1".to_owned();
        })
        .contains("own listeners")
    );
    accepted(|c| c.origin.endpoint = "http://127.0.0.1:9010".to_owned());
}

#[test]
fn virtual_addressing_needs_a_name() {
    let change = |endpoint: &str| {
        let endpoint = endpoint.to_owned();
        move |c: &mut Config| {
            c.origin.addressing = Addressing::Virtual;
            c.origin.endpoint = endpoint;
        }
    };
    assert!(error(change("http://10.0.0.1:9000")).starts_with("origin.addressing: "));
    assert!(error(change("http://[::1]:9010")).starts_with("origin.addressing: "));
    accepted(change("https://s3.us-east-1.amazonaws.com"));
}

#[test]
fn addresses_are_parsed_and_used_once() {
    for bad in ["", "9000", "localhost:9000", "unix:", "unix:run/s3.sock", "unix:/run/", "1.2.3.4"]
    {
        let error = error(|c| c.listen[0].address = bad.to_owned());
        assert!(error.starts_with("listen[0].address: "), "{bad}: {error}");
    }
    assert_eq!(error(|c| c.listen.clear()), "listen: at least one address is needed");
    assert!(error(|c| c.listen.push(ListenConfig::default())).starts_with("listen[1].address"));
    assert!(
        error(|c| c.admin.address = Some("127.0.0.1:9000".to_owned())).starts_with("admin.address")
    );
    assert!(error(|c| c.admin.address = Some("here".to_owned())).starts_with("admin.address"));
    accepted(|c| c.admin.address = None);
    accepted(|c| c.listen[0].address = "unix:/run/hotset/s3.sock".to_owned());
    accepted(|c| {
        c.listen[0].address = "127.0.0.1:0".to_owned();
        c.admin.address = Some("127.0.0.1:0".to_owned());
    });
}

#[test]
fn r24_a_domain_is_a_name_and_not_an_address() {
    for bad in [
        "",
        "S3.local",
        ".s3.local",
        "s3.local.",
        "10.0.0.1",
        "s3.local:9000",
        "-a.b",
        "*.s3.local",
    ] {
        let error = error(|c| c.listen[0].domains = vec![bad.to_owned()]);
        assert!(error.starts_with("listen[0].domains[0]: "), "{bad}: {error}");
    }
    for bad in ["s3", "/", "/s3/", "//s3", "/a b", "/a%20b", "/..", ""] {
        let error = error(|c| c.listen[0].path_prefix = Some(bad.to_owned()));
        assert!(error.starts_with("listen[0].path_prefix: "), "{bad}: {error}");
    }
    accepted(|c| c.listen[0].path_prefix = Some("/tools/s3".to_owned()));
    accepted(|c| c.listen[0].domains = vec!["s3.local".to_owned(), "localhost".to_owned()]);
}

#[test]
fn numbers_and_times_that_would_stop_everything_are_refused() {
    let zero = HumanDuration::default();
    assert!(error(|c| c.threads = Some(0)).starts_with("threads: "));
    assert!(error(|c| c.limits.connections = 0).starts_with("limits.connections: "));
    assert!(error(|c| c.limits.write_timeout = zero).starts_with("limits.write_timeout: "));
    assert!(error(|c| c.origin.attempts = 0).starts_with("origin.attempts: "));
    assert!(error(|c| c.origin.deadline = zero).starts_with("origin.deadline: "));
    assert!(
        error(|c| c.origin.backoff.cap = HumanDuration::millis(1))
            .starts_with("origin.backoff.cap: ")
    );
    assert!(error(|c| c.origin.region = String::new()).starts_with("origin.region: "));
    assert!(error(|c| c.log.level = "loud".to_owned()).starts_with("log.level: "));
    assert!(error(|c| c.auth.buckets = Some(vec![])).starts_with("auth.buckets: "));
    assert!(
        error(|c| c.auth.buckets = Some(vec!["a/b".to_owned()])).starts_with("auth.buckets[0]: ")
    );
}

#[test]
fn r20_verify_needs_identities_and_takes_no_key_of_trust() {
    let verify = |c: &mut Config| {
        c.auth.mode = AuthMode::Verify;
        c.auth.identities = Some("identities.yaml".into());
    };
    accepted(verify);
    let error_of = |change: fn(&mut Config)| {
        error(|c| {
            verify(c);
            change(c);
        })
    };
    assert_eq!(
        error_of(|c| c.auth.identities = None),
        "auth.identities: is needed with auth.mode: verify"
    );
    assert_eq!(
        error_of(|c| c.auth.writes = false),
        "auth.writes: only valid with auth.mode: trust"
    );
    assert!(error_of(|c| c.auth.buckets = Some(vec!["b".into()])).starts_with("auth.buckets: "));
    assert!(error_of(|c| c.auth.region = Some("a b".into())).starts_with("auth.region: "));
    let hosts = error_of(|c| c.auth.hosts = vec!["s3.local:9000".into(), "http://x".into()]);
    assert_eq!(hosts, "auth.hosts[1]: `http://x` is not a host such as s3.local or s3.local:9000");
    assert_eq!(
        error(|c| c.auth.hosts = vec!["s3.local".into()]),
        "auth.hosts: only valid with auth.mode: verify"
    );
    assert!(error(|c| c.auth.identities = Some("f".into())).starts_with("auth.identities: "));
}

#[test]
fn a_receiver_of_notifications_believes_somebody_in_particular() {
    let error_of = |change: fn(&mut WebhookConfig)| {
        let mut webhook = WebhookConfig {
            tokens: vec!["a-made-up-token-of-16".into()],
            ..WebhookConfig::default()
        };
        change(&mut webhook);
        error(|c| c.events.webhook = Some(webhook))
    };
    assert_eq!(
        error_of(|w| *w =
            WebhookConfig { address: "0.0.0.0:9002".to_owned(), ..WebhookConfig::default() }),
        "events.webhook: whoever reaches 0.0.0.0:9002 would be believed: set secrets, tokens, api_keys, sns.topics or \
         tls.client_auth: required"
    );
    assert_eq!(
        error_of(|w| w.address = "localhost:9002".to_owned()),
        "events.webhook.address: `localhost:9002` is not an address such as 127.0.0.1:9000"
    );
    assert_eq!(
        error_of(|w| w.address = "127.0.0.1:9000".to_owned()),
        "events.webhook.address: 127.0.0.1:9000 is used by another listener already"
    );
    let short = error_of(|w| w.secrets = vec!["a made-up secret".into(), "short".into()]);
    assert_eq!(
        short,
        "events.webhook.secrets[1]: is shorter than 16 bytes: `openssl rand -hex 32` makes a long one"
    );
    for short in ["", "fifteen-bytes-x", "Bearer fifteen-bytes-x", "Basic dXNlcjpwYXM="] {
        let tokens = vec!["a-made-up-token-of-16".into(), short.into()];
        let webhook = WebhookConfig { tokens, ..WebhookConfig::default() };
        let problem = error(|c| c.events.webhook = Some(webhook));
        assert!(problem.starts_with("events.webhook.tokens[1]: is shorter"), "{short}: {problem}");
        assert!(short.is_empty() || !problem.contains(short), "{problem}");
    }
    let short = error_of(|w| w.api_keys = vec!["fifteen-bytes-x".into()]);
    assert!(short.starts_with("events.webhook.api_keys[0]: is shorter than 16 bytes"), "{short}");
    let old = error_of(|w| {
        let topics = vec!["arn:aws:sns:eu-central-1:123456789012:photos".to_owned()];
        let max_age = HumanDuration::secs(0);
        w.sns = Some(SnsConfig { topics, max_age, ..SnsConfig::default() });
    });
    assert!(old.starts_with("events.webhook.sns.max_age: "), "{old}");
    assert!(error_of(|w| w.api_key_header = "a b".to_owned()).contains("api_key_header: `a b`"));
    assert!(error_of(|w| w.body = ByteSize(0)).starts_with("events.webhook.body: "));
    assert!(error_of(|w| w.connections = 0).starts_with("events.webhook.connections: "));
    assert!(error_of(|w| w.requests = 0).starts_with("events.webhook.requests: "));
    let tls = error_of(|w| w.tls = Some(TlsConfig::default()));
    assert_eq!(tls, "events.webhook.tls.cert: a file is needed");
    accepted(|c| c.events.webhook = Some(WebhookConfig::default()));
}

#[test]
fn topics_are_named_in_full_and_what_stands_for_sns_is_no_more_than_a_host() {
    let error_of = |sns: SnsConfig| {
        error(|c| {
            c.events.webhook = Some(WebhookConfig { sns: Some(sns), ..WebhookConfig::default() });
        })
    };
    let topics = vec!["arn:aws:sns:eu-central-1:123456789012:photos".to_owned()];
    let none = error_of(SnsConfig::default());
    assert_eq!(none, "events.webhook.sns.topics: at least one ARN is needed");
    for topic in ["photos", "arn:aws:sqs:eu-central-1:123456789012:photos", "arn:aws:sns:r:1:", "*"]
    {
        let error = error_of(SnsConfig { topics: vec![topic.to_owned()], ..SnsConfig::default() });
        assert!(error.starts_with("events.webhook.sns.topics[0]: `"), "{error}");
    }
    for endpoint in ["127.0.0.1", "ftp://a", "https://a/", "https://a/b", "https://", "a b"] {
        let endpoint = Some(endpoint.to_owned());
        let error =
            error_of(SnsConfig { topics: topics.clone(), endpoint, ..SnsConfig::default() });
        assert!(error.starts_with("events.webhook.sns.endpoint: `"), "{error}");
    }
    let endpoint = Some("http://127.0.0.1:4566".to_owned());
    let sns = SnsConfig { topics, endpoint, ..SnsConfig::default() };
    accepted(|c| {
        c.events.webhook = Some(WebhookConfig { sns: Some(sns), ..WebhookConfig::default() });
    });
}

#[test]
fn r20_trust_on_an_address_that_is_not_loopback_must_be_said_to_be_open() {
    let listening =
        |address: &'static str| move |c: &mut Config| c.listen[0].address = address.to_owned();
    for address in ["0.0.0.0:9000", "[::]:9000", "10.0.0.1:9000", "[::ffff:10.0.0.1]:9000"] {
        let problem = error(listening(address));
        assert!(problem.starts_with("auth.open: with auth.mode: trust whoever"), "{problem}");
        assert!(problem.contains(address) && problem.contains("auth.open: true"), "{problem}");
        accepted(|c| {
            listening(address)(c);
            c.auth.open = true;
        });
        accepted(|c| {
            listening(address)(c);
            c.auth = AuthConfig { mode: AuthMode::Transparent, ..AuthConfig::default() };
        });
    }
    for address in ["127.0.0.1:9000", "127.8.9.1:9000", "[::1]:9000", "unix:/run/hotset/s3.sock"] {
        accepted(listening(address));
    }
    let with_certificates = |client_auth| {
        move |c: &mut Config| {
            let tls = TlsConfig {
                cert: "a.crt".into(),
                key: "a.key".into(),
                client_auth,
                client_ca: Some("ca.crt".into()),
                ..TlsConfig::default()
            };
            c.listen[0] = ListenConfig {
                address: "0.0.0.0:9000".to_owned(),
                tls: Some(tls),
                ..ListenConfig::default()
            };
        }
    };
    accepted(with_certificates(ClientAuth::Required));
    assert!(error(with_certificates(ClientAuth::Optional)).starts_with("auth.open: "));
    let unused = error(|c| {
        c.auth.mode = AuthMode::Transparent;
        c.auth.open = true;
    });
    assert_eq!(unused, "auth.open: only valid with auth.mode: trust");
}

#[test]
fn r39_an_origin_is_written_as_browsers_send_it() {
    let listing = |text: &str| {
        let text = text.to_owned();
        move |c: &mut Config| c.auth.origins = vec![text]
    };
    for text in ["https://app.example.org", "http://localhost:3000", "null", "http://[::1]:8080"] {
        accepted(listing(text));
    }
    for text in [
        "",
        "*",
        "app.example.org",
        "https://app.example.org/",
        "https://App.example.org",
        "https://app.example.org:443",
        "http://localhost:80",
        "https://u@app.example.org",
        "https://",
    ] {
        let problem = error(listing(text));
        assert!(problem.starts_with("auth.origins[0]: "), "{text}: {problem}");
    }
    let transparent = error(|c| {
        listing("null")(c);
        c.auth.mode = AuthMode::Transparent;
    });
    assert_eq!(transparent, "auth.origins: is only valid with auth.mode: trust or verify");
}
