//! The name of this replica at a broker.
//!
//! Every replica must receive every event, so each has a queue, consumer or group of its own. It keeps the same one
//! across restarts, so that it receives the events in between.

/// Returns `hotset-` and the host name, in characters that every broker accepts.
pub(super) fn replica() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    format!("hotset-{}", host.chars().map(allowed).collect::<String>())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_replica_is_named_after_its_host_and_the_same_each_time() {
        let name = super::replica();
        assert!(name.starts_with("hotset-") && name.len() > "hotset-".len(), "{name}");
        assert!(!name.contains(['.', ' ', '*', '>']), "{name}");
        assert_eq!(name, super::replica());
    }
}
