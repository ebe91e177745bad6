//! The question that every request is asked first: who sent it, and may it be done (R20)?

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::identities::{Identities, IdentitiesError, Identity};
use super::trust::Trust;
use super::verify::{BodyCheck, Verified, Verifier};
use super::{AuthConfig, AuthMode};
use crate::s3::needs::{Action, Needs, Resource};
use crate::s3::{Operation, Parsed, RequestHead, S3Error};

/// How often the identities file is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Who decides, and by what.
pub enum Access {
    /// The listener and two switches.
    Trust(Trust),
    /// Signatures, and the identities of a file.
    Verify {
        /// Read again when their file changes.
        identities: Arc<Identities>,
        /// What signatures are compared by.
        verifier: Verifier,
    },
}

/// A request that may be done.
#[derive(Debug)]
pub struct Admitted {
    /// Who sent it; in `trust` mode nobody asks.
    pub identity: Option<Arc<Identity>>,
    /// What is to be verified of its body as it passes.
    pub body: BodyCheck,
}

impl Access {
    /// `region` is the origin's, that of clients unless `auth.region` says otherwise. Reads the identities file.
    ///
    /// # Errors
    /// The identities file cannot be read or is wrong.
    pub fn new(config: &AuthConfig, region: &str) -> Result<Self, IdentitiesError> {
        match config.mode {
            AuthMode::Trust => Ok(Self::Trust(Trust::new(config))),
            AuthMode::Verify => {
                let file = config.identities.as_deref().unwrap_or_else(|| Path::new(""));
                let identities = Arc::new(Identities::load(file)?);
                if let Err(error) = identities.watch(LOOK) {
                    log::error!("the identities file is not watched: {error}");
                }
                let region = config.region.as_deref().unwrap_or(region).to_owned();
                let verifier = Verifier::new(region, config.hosts.clone());
                Ok(Self::Verify { identities, verifier })
            }
        }
    }

    /// Lets a request through; `peer` is the address that it came from, `None` for a unix socket.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and `AccessDenied` for what its sender may not do.
    pub fn admit(
        &self,
        head: &RequestHead<'_>,
        parsed: &Parsed,
        peer: Option<IpAddr>,
    ) -> Result<Admitted, S3Error> {
        let (identities, verifier) = match self {
            Self::Trust(trust) => {
                trust.authorize(head, parsed)?;
                return Ok(Admitted { identity: None, body: BodyCheck::Unsigned });
            }
            Self::Verify { identities, verifier } => (identities, verifier),
        };
        let now = SystemTime::now();
        let Verified { identity, body } =
            verifier.verify(&identities.current(), head, parsed, now)?;
        identity.authorize(&needs(parsed), peer, now)?;
        Ok(Admitted { identity: Some(identity), body })
    }
}

/// What a request needs: a plain read its key, all else everything.
fn needs(parsed: &Parsed) -> Needs {
    match (&parsed.operation, parsed.object()) {
        (Operation::Read(_), Some((bucket, key))) => {
            Needs::one(Action::Read, Resource::object(bucket, key))
        }
        _ => Needs::one(Action::Admin, Resource::Everything),
    }
}
