//! The response to `CreateSession` of S3 Express One Zone: session keys for one directory bucket.

use super::xml;

/// Session keys, all of them non-empty.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKeys {
    pub access_key: String,
    pub secret_key: String,
    pub token: String,
    /// Time of expiry, in ISO 8601.
    pub expiration: String,
}

/// The document has no session keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a CreateSession response")]
pub struct NotASession;

impl SessionKeys {
    /// Parses the body of a response.
    ///
    /// # Errors
    /// [`NotASession`] when it is not well-formed, or lacks one of the keys.
    pub fn parse(body: &[u8]) -> Result<Self, NotASession> {
        const WITHIN: &str = "/CreateSessionResult/Credentials/";
        let mut found = [const { String::new() }; 4];
        let visited = xml::walk(body, |path, text| {
            let at = match path.strip_prefix(WITHIN) {
                Some("AccessKeyId") => 0,
                Some("SecretAccessKey") => 1,
                Some("SessionToken") => 2,
                Some("Expiration") => 3,
                _ => return Ok(()),
            };
            text.trim().clone_into(&mut found[at]);
            Ok(())
        });
        let is_complete = visited.is_ok() && found.iter().all(|text| !text.is_empty());
        let [access_key, secret_key, token, expiration] = found;
        let keys = Self { access_key, secret_key, token, expiration };
        is_complete.then_some(keys).ok_or(NotASession)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_when_all_of_them_are_there() {
        let document = |fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|f| format!("<{f}>of {f}</{f}>")).collect();
            let fields = fields.concat();
            format!(
                "<?xml version=\"1.0\"?><CreateSessionResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <Credentials>{fields}</Credentials></CreateSessionResult>"
            )
        };
        let all = ["SessionToken", "SecretAccessKey", "AccessKeyId", "Expiration"];
        let keys = SessionKeys::parse(document(&all).as_bytes()).unwrap();
        assert_eq!(
            (&*keys.access_key, &*keys.secret_key),
            ("of AccessKeyId", "of SecretAccessKey")
        );
        assert_eq!((&*keys.token, &*keys.expiration), ("of SessionToken", "of Expiration"));
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert!(SessionKeys::parse(document(&some).as_bytes()).is_err(), "{missing}");
        }
        assert!(SessionKeys::parse(b"<Error><Code>AccessDenied</Code></Error>").is_err());
        assert!(SessionKeys::parse(b"").is_err());
    }
}
