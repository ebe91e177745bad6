//! Connectors, each with its parsed certificate authorities, shared by all endpoints that trust the same ones.
//!
//! Parsing the system's authorities takes 10 ms and some 100 KB; there may be a thousand endpoints.

use std::fs::metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;
use pingora::connectors::{ConnectorOptions, TransportConnector};

/// An empty file of certificates, for connectors without TLS: pingora would otherwise read and parse those of the
/// system.
pub(crate) const NO_AUTHORITIES: &str = "/dev/null";

/// The connectors in use.
static IN_USE: Mutex<Vec<(Trust, Weak<TransportConnector>)>> = Mutex::new(Vec::new());

/// The authorities of a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    System,
    /// A file, with its size and the time of its last change: a reload reads one that was replaced.
    File(PathBuf, u64, Option<SystemTime>),
    /// None, without TLS.
    Nobody,
}

impl Trust {
    fn of(is_tls: bool, ca_file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = ca_file.filter(|_| is_tls) else {
            return Ok(if is_tls { Self::System } else { Self::Nobody });
        };
        let found =
            metadata(file).map_err(|error| format!("ca_file {}: {error}", file.display()))?;
        Ok(Self::File(file.to_owned(), found.len(), found.modified().ok()))
    }

    fn file(&self) -> Option<String> {
        match self {
            Self::System => None,
            Self::File(file, ..) => Some(file.display().to_string()),
            Self::Nobody => Some(NO_AUTHORITIES.to_owned()),
        }
    }
}

/// Returns the connector for these authorities; blocks.
///
/// # Errors
/// One line: the file is gone.
pub(super) fn shared(
    is_tls: bool,
    ca_file: Option<&Path>,
) -> Result<Arc<TransportConnector>, String> {
    let trust = Trust::of(is_tls, ca_file)?;
    let mut in_use = IN_USE.lock();
    in_use.retain(|(_, connector)| connector.strong_count() > 0);
    let found = in_use.iter().find(|(of, _)| *of == trust).and_then(|(_, found)| found.upgrade());
    if let Some(connector) = found {
        return Ok(connector);
    }
    // Its own pool of connections stays empty.
    let mut options = ConnectorOptions::new(1);
    options.ca_file = trust.file();
    let connector = Arc::new(TransportConnector::new(Some(options)));
    in_use.push((trust, Arc::downgrade(&connector)));
    Ok(connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_is_shared_by_all_that_trust_the_same_authorities() {
        let file = std::env::temp_dir().join(format!("hotset-{}-ca.pem", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let of = |is_tls, file| shared(is_tls, file).unwrap();
        let (plain, system, own) = (of(false, None), of(true, None), of(true, Some(&*file)));
        assert!(Arc::ptr_eq(&plain, &of(false, Some(&*file))), "without TLS it is not read");
        assert!(Arc::ptr_eq(&system, &of(true, None)) && !Arc::ptr_eq(&system, &own));
        assert!(Arc::ptr_eq(&own, &of(true, Some(&*file))));
        std::fs::write(&file, "# another\n").unwrap();
        assert!(!Arc::ptr_eq(&own, &of(true, Some(&*file))), "it has changed");
        std::fs::remove_file(&file).unwrap();
        let problem = shared(true, Some(&file)).err().unwrap();
        assert!(problem.contains("ca.pem"), "{problem}");
    }
}
