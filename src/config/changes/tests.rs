use super::*;
use crate::config::reference;

fn loaded(text: &str) -> Loaded {
    let tree = yaml::parse(text).unwrap();
    let config = yaml::from_node(&tree).unwrap();
    Loaded { config, sources: Sources::of(tree) }
}

fn step(old: &str, new: &str) -> Step {
    loaded(old).change_to(loaded(new)).unwrap()
}

/// Formats the changes of a step as lines.
fn lines(step: &Step) -> Vec<String> {
    step.changes.iter().map(Change::to_string).collect()
}

#[test]
fn every_key_has_one_effect_and_every_entry_names_a_key() {
    let keys = reference::paths();
    let is_leaf = |key: &&String| !keys.iter().any(|other| other != *key && is_within(other, key));
    for key in keys.iter().filter(is_leaf) {
        let named = EFFECTS.iter().filter(|(name, _)| is_within(key, name)).count();
        assert!(named > 0, "{key} has no entry in EFFECTS");
    }
    for (index, (name, effect)) in EFFECTS.iter().enumerate() {
        assert!(keys.iter().any(|key| key == name), "{name} is no key");
        let others = EFFECTS.iter().enumerate().filter(|(other, _)| *other != index);
        let above = others.filter(|(_, (above, _))| is_within(name, above));
        let above = above.max_by_key(|(_, (above, _))| above.len());
        assert!(above.is_none_or(|(_, (_, above))| above != effect), "{name} says nothing new");
    }
}

#[test]
fn the_same_values_in_another_form_are_no_change() {
    let old = "{ limits: { requests: 7 }, rules: [{ match: '**', freshness: { ttl: 60s } }] }";
    let new = "{ rules: [{ freshness: { ttl: 1m } }], limits: { requests: 7 }, threads: null }";
    assert_eq!(lines(&step(old, new)), [""; 0]);
}

#[test]
fn live_keys_are_applied_and_the_others_stay_as_they_are() {
    let old = "{ limits: { requests: 7 }, cache: { memory: 2GiB } }";
    let new = "{ limits: { requests: 9 }, cache: { memory: 4GiB }, log: { level: debug } }";
    let step = step(old, new);
    assert_eq!(
        lines(&step),
        [
            "cache.memory: 2GiB -> 4GiB (needs a restart)",
            "limits.requests: 7 -> 9 (live)",
            "log.level: info -> debug (live)",
        ]
    );
    let Config { limits, cache, log, .. } = step.next.config;
    assert_eq!((limits.requests, log.level.as_str()), (9, "debug"));
    assert_eq!(cache, loaded(old).config.cache);
}

#[test]
fn a_key_that_needs_a_restart_is_a_change_until_it_is_back() {
    let old = "{ threads: 2 }";
    let waiting = step(old, "{ threads: 4, limits: { headers: 9 } }").next;
    let again = waiting.change_to(loaded("{ threads: 4, limits: { headers: 9 } }")).unwrap();
    assert_eq!(lines(&again), ["threads: 2 -> 4 (needs a restart)"]);
    let back = again.next.change_to(loaded("{ threads: 2, limits: { headers: 9 } }")).unwrap();
    assert_eq!(lines(&back), [""; 0]);
}

#[test]
fn a_section_that_is_left_out_has_its_defaults() {
    let step = step("{ admin: { token: made-up-token-of-one, address: '127.0.0.1:1' } }", "{}");
    assert_eq!(step.next.config.admin.token, None);
    assert_eq!(step.next.config.admin.address.as_deref(), Some("127.0.0.1:1"));
}

#[test]
fn a_secret_that_changes_is_told_and_not_shown() {
    let step = step(
        "{ admin: { token: made-up-token-of-one } }",
        "{ admin: { token: made-up-token-of-two } }",
    );
    assert_eq!(lines(&step), ["admin.token: *** -> *** (live)"]);
    assert_eq!(step.next.config.admin.token.unwrap().expose(), "made-up-token-of-two");
}

#[test]
fn what_is_valid_only_after_a_restart_is_refused_with_the_keys_that_wait() {
    let new = "{ cluster: { peers: 'hotset:9001' }, admin: { address: '0.0.0.0:9001', \
               token: made-up-token-of-one } }";
    let old = "{ admin: { address: '127.0.0.1:9001' } }";
    assert!(loaded(old).change_to(loaded(new)).is_ok());
    // Without its token no other replica could tell this one anything.
    let wrong = loaded(new).change_to(loaded(old)).unwrap_err();
    assert_eq!(wrong.key(), Some("cluster.peers"), "{wrong}");
    let text = wrong.to_string();
    assert!(text.contains("only together with admin.address, cluster.peers, which need"), "{text}");
}
