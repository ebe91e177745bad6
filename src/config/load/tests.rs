use super::*;
use crate::auth::AuthMode;
use crate::cache::config::Freshness;
use crate::config::units::{ByteSize, HumanDuration};
use crate::logging::config::AccessLog;

fn env(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, owned(variables))
}

fn owned(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    variables
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

fn file(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let name = std::thread::current().name().unwrap().replace(':', "-");
    let dir = std::env::temp_dir().join(format!("hotset-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("hotset.yaml");
    std::fs::write(&path, text).unwrap();
    let result = Config::load(Some(&path), owned(variables));
    std::fs::remove_dir_all(&dir).unwrap();
    result.map_err(|error| error.to_string().replace(&format!("{}/", dir.display()), ""))
}

#[test]
fn an_empty_file_and_one_of_comments_mean_the_defaults() {
    assert_eq!(file("", &[]).unwrap(), Config::default());
    assert_eq!(file("# nothing\n", &[]).unwrap(), Config::default());
    assert_eq!(file("{}", &[]).unwrap(), Config::default());
}

#[test]
fn a_group_whose_keys_are_all_commented_out_means_its_defaults() {
    assert_eq!(file("cache:\n  # memory: 2GiB\n", &[]).unwrap(), Config::default());
}

#[test]
fn a_file_sets_what_it_names_and_leaves_the_rest() {
    let config = file(
        "cache: { memory: 2GiB }\nrules:\n  - match: 'b/**'\n    freshness: immutable\n  - match: '**'\n    freshness: { ttl: 5s }\n",
        &[],
    )
    .unwrap();
    assert_eq!(config.cache.memory, Some(ByteSize::gib(2)));
    assert_eq!(config.cache.block, ByteSize::mib(1));
    assert_eq!(config.rules[0].freshness, Freshness::Immutable);
    assert_eq!(config.rules[1].freshness, Freshness::Ttl(HumanDuration::secs(5)));
}

#[test]
fn a_wrong_value_in_a_file_is_named_with_its_key_and_line() {
    assert_eq!(
        file("cache:\n  memory: lots\n", &[]).unwrap_err(),
        "hotset.yaml:2:11: cache.memory: `lots` is not a size: write a whole number of bytes, or one with KiB, MiB, GiB or TiB"
    );
    assert_eq!(
        file("limits:\n  keep_alive: 60\n", &[]).unwrap_err(),
        "hotset.yaml:2:15: limits.keep_alive: `60` is not a duration: write whole numbers with ms, s, m, h or d, such as 30s"
    );
    assert_eq!(
        file("rules:\n- freshness: never\n", &[]).unwrap_err(),
        "hotset.yaml:2:14: rules[0].freshness: invalid value: string \"never\", expected immutable, revalidate, bypass, { ttl: 60s } or { events: { ttl: 10s } }"
    );
}

#[test]
fn an_unknown_key_is_named_in_full() {
    assert_eq!(
        file("cache:\n  blok: 1MiB\n", &[]).unwrap_err(),
        "hotset.yaml:2:3: cache.blok: unknown key, expected one of `memory`, `block`, `in_flight`, `fetch`, `read_ahead`, `predict_reads`, `disk`, `admission`"
    );
    assert!(
        file("lisen: []\n", &[]).unwrap_err().starts_with("hotset.yaml:1:1: lisen: unknown key")
    );
    assert!(
        env(&[("HOTSET_CACHE__BLOK", "1MiB")])
            .unwrap_err()
            .to_string()
            .starts_with("HOTSET_CACHE__BLOK: cache.blok: unknown key")
    );
}

#[test]
fn a_key_written_twice_is_refused() {
    assert!(file("threads: 1\nthreads: 2\n", &[]).unwrap_err().contains("threads"));
}

#[test]
fn a_file_that_is_missing_or_no_yaml_is_named() {
    let missing = Config::load(Some(Path::new("/nowhere/hotset.yaml")), std::iter::empty());
    assert!(missing.unwrap_err().to_string().starts_with("/nowhere/hotset.yaml: cannot be read: "));
    for text in ["- a\n- b\n", "just words", "a: [", "a: 1\n---\nb: 2\n"] {
        let error = file(text, &[]).unwrap_err();
        assert!(error.starts_with("hotset.yaml:"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}

#[test]
fn r20_a_mode_that_does_not_exist_is_never_taken_for_trust() {
    let error = file("auth:\n  mode: transparency\n", &[]).unwrap_err();
    assert!(error.starts_with("hotset.yaml:2:9: auth.mode: "), "{error}");
    assert!(error.contains("trust, verify or transparent"), "{error}");
    assert_eq!(file("auth: { mode: verify }", &[]).unwrap().auth.mode, AuthMode::Verify);
    let transparent = file("auth: { mode: transparent }", &[]).unwrap();
    assert_eq!(transparent.auth.mode, AuthMode::Transparent);
}

#[test]
fn off_may_arrive_as_false_from_a_writer_of_older_yaml() {
    assert_eq!(file("log: { access: false }", &[]).unwrap().log.access, AccessLog::Off);
    assert_eq!(file("log: { access: off }", &[]).unwrap().log.access, AccessLog::Off);
    assert_eq!(file("log: { access: json }", &[]).unwrap().log.access, AccessLog::Json);
    assert!(file("log: { access: true }", &[]).is_err());
    assert_eq!(file("log: { level: false }", &[]).unwrap().log.level, "off");
    assert!(file("log: { level: true }", &[]).is_err());
}

#[test]
fn a_variable_overrides_the_file() {
    let config =
        file("cache: { memory: 2GiB, block: 2MiB }", &[("HOTSET_CACHE__MEMORY", "3GiB")]).unwrap();
    assert_eq!(config.cache.memory, Some(ByteSize::gib(3)));
    assert_eq!(config.cache.block, ByteSize::mib(2));
}

#[test]
fn variables_reach_into_lists_and_replace_them() {
    let config = env(&[
        ("HOTSET_LISTEN__0__ADDRESS", "0.0.0.0:80"),
        ("HOTSET_LISTEN__1__ADDRESS", "unix:/run/h.sock"),
        ("HOTSET_LISTEN__1__DOMAINS", "[s3.local, s3.test]"),
        ("HOTSET_AUTH__BUCKETS__0", "a"),
        ("HOTSET_AUTH__BUCKETS__1", "b"),
        ("HOTSET_RULES__0__FRESHNESS__TTL", "5s"),
        ("HOTSET_THREADS", "3"),
    ])
    .unwrap();
    assert_eq!(config.listen[0].address, "0.0.0.0:80");
    assert_eq!(config.listen[1].domains, ["s3.local", "s3.test"]);
    assert_eq!(config.auth.buckets.unwrap(), ["a", "b"]);
    assert_eq!(config.rules[0].freshness, Freshness::Ttl(HumanDuration::secs(5)));
    assert_eq!(config.threads, Some(3));

    let config = env(&[("HOTSET_RULES", "[{match: 'b/**', freshness: bypass}, {}]")]).unwrap();
    assert_eq!(config.rules.len(), 2);
    assert_eq!(config.rules[0].freshness, Freshness::Bypass);
}

#[test]
fn lists_are_filled_in_the_order_of_their_numbers() {
    let names: Vec<String> = (0..12).map(|i| format!("HOTSET_AUTH__BUCKETS__{i}")).collect();
    let variables: Vec<(&str, &str)> = names.iter().rev().map(|n| (n.as_str(), "b")).collect();
    assert_eq!(env(&variables).unwrap().auth.buckets.unwrap().len(), 12);
    let error = env(&[("HOTSET_LISTEN__2__ADDRESS", "0.0.0.0:80")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "HOTSET_LISTEN__2__ADDRESS: listen[2].address: the list has 1 items, and none may be left out"
    );
}

#[test]
fn values_that_only_look_like_something_else_are_taken_as_text() {
    let config = env(&[
        ("HOTSET_RULES__0__MATCH", "**"),
        ("HOTSET_ORIGIN__CREDENTIALS__PROFILE", "123"),
        ("HOTSET_LISTEN__0__ADDRESS", "[::1]:9000"),
    ])
    .unwrap();
    assert_eq!(config.rules[0].pattern, "**");
    assert_eq!(config.origin.credentials.profile, "123");
    assert_eq!(config.listen[0].address, "[::1]:9000");
}

#[test]
fn an_empty_variable_or_null_means_absence() {
    assert_eq!(env(&[("HOTSET_ADMIN__ADDRESS", "")]).unwrap().admin.address, None);
    assert_eq!(env(&[("HOTSET_THREADS", "null")]).unwrap().threads, None);
    let error = env(&[("HOTSET_CACHE__BLOCK", "")]).unwrap_err();
    assert!(error.to_string().starts_with("HOTSET_CACHE__BLOCK: cache.block: "), "{error}");
}

#[test]
fn an_error_names_the_variable_and_the_key() {
    let error =
        env(&[("HOTSET_CACHE__MEMORY", "2GiB"), ("HOTSET_CACHE__BLOCK", "big")]).unwrap_err();
    assert!(
        error.to_string().starts_with("HOTSET_CACHE__BLOCK: cache.block: `big` is not a size"),
        "{error}"
    );
    assert_eq!(error.key(), Some("cache.block"));
}

#[test]
fn variables_of_kubernetes_images_and_others_are_left_alone() {
    let config = env(&[
        ("HOTSET_VERSION", "0.2.0"),
        ("HOTSET_REVISION", "28a0941"),
        ("HOTSET_HOME", "/opt/hotset"),
        ("HOTSET_USER", "hotset"),
        ("HOTSET_UID", "65532"),
        ("HOTSET_GID", "65532"),
        ("HOTSET_PORT", "tcp://10.0.0.1:9000"),
        ("HOTSET_PORT_9000_TCP", "tcp://10.0.0.1:9000"),
        ("HOTSET_PORT_9000_TCP_ADDR", "10.0.0.1"),
        ("HOTSET_SERVICE_HOST", "10.0.0.1"),
        ("HOTSET_SERVICE_PORT", "9000"),
        ("HOTSET_SERVICE_PORT_S3", "9000"),
        ("HOTSET_ADMIN_PORT_9001_TCP_PROTO", "tcp"),
        ("HOTSET_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("HOTSETX", "1"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(config.unwrap(), Config::default());
    assert!(env(&[("HOTSET_CACHE__REPORT", "1")]).is_err());
}

#[test]
fn an_error_of_a_check_names_the_file_and_place_or_the_variable_of_its_key() {
    let sources = |variables: &[(&str, &str)]| {
        let tree = yaml::parse("cache:\n  block: 3MiB\nlisten: [{ address: x }]\n").unwrap();
        let overrides = owned(variables).filter_map(Override::from_variable).collect();
        Sources {
            file: Some((PathBuf::from("f.yaml"), tree)),
            overrides,
            tree: empty(),
            digest: None,
        }
    };
    let located = |variables: &[(&str, &str)], key: &str| {
        sources(variables).locate(ConfigError::at(key, "wrong")).to_string()
    };
    assert_eq!(located(&[], "cache.block"), "f.yaml:2:10: cache.block: wrong");
    assert_eq!(located(&[], "listen[0].tls.cert"), "f.yaml:3:10: listen[0].tls.cert: wrong");
    assert_eq!(located(&[], "threads"), "f.yaml: threads: wrong");
    let variables = [("HOTSET_CACHE__BLOCK", "3MiB"), ("HOTSET_LISTEN", "[]")];
    assert_eq!(located(&variables, "cache.block"), "HOTSET_CACHE__BLOCK: cache.block: wrong");
    assert_eq!(located(&variables, "cache.blocks"), "f.yaml:2:3: cache.blocks: wrong");
    assert_eq!(located(&variables, "listen[3].address"), "HOTSET_LISTEN: listen[3].address: wrong");
}
