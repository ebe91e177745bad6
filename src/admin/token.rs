//! The token of the admin API: its source, and its comparison.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::hmac;
use tokio::task::spawn_blocking;

use super::config::AdminConfig;
use crate::config::units::Secret;

/// The token in force. Clones follow a change of it.
#[derive(Debug, Clone)]
pub struct Token(Arc<ArcSwap<Place>>);

/// Where the token is.
#[derive(Debug, Clone)]
enum Place {
    /// There is none.
    Unset,
    Text(Secret),
    /// In a file, which may change.
    File(PathBuf),
}

impl Place {
    fn new(config: &AdminConfig) -> Self {
        match (&config.token, &config.token_file) {
            (Some(token), _) => Self::Text(token.clone()),
            (None, Some(file)) => Self::File(file.clone()),
            (None, None) => Self::Unset,
        }
    }

    fn read(&self) -> io::Result<Option<Secret>> {
        match self {
            Self::Unset => Ok(None),
            Self::Text(token) => Ok(Some(token.clone())),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)?;
                let token = text.trim_ascii();
                if token.len() < AdminConfig::TOKEN_MIN {
                    let why = match token.len() {
                        0 => "it is empty".to_owned(),
                        _ => format!("it is shorter than {} bytes", AdminConfig::TOKEN_MIN),
                    };
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                Ok(Some(token.into()))
            }
        }
    }
}

impl Token {
    pub fn new(config: &AdminConfig) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Place::new(config))))
    }

    /// Puts another token into force.
    pub fn replace(&self, config: &AdminConfig) {
        self.0.store(Arc::new(Place::new(config)));
    }

    pub fn is_set(&self) -> bool {
        !matches!(**self.0.load(), Place::Unset)
    }

    /// The token as it is now; blocking.
    ///
    /// # Errors
    /// Its file cannot be read, is empty or holds less than [`AdminConfig::TOKEN_MIN`] bytes.
    pub fn read(&self) -> io::Result<Option<Secret>> {
        self.0.load().read()
    }

    /// Whether this is the token; never when there is none. How long that takes does not tell how much of it is right.
    ///
    /// # Errors
    /// As [`Token::read`].
    pub(super) async fn is(&self, said: &[u8]) -> io::Result<bool> {
        let place = self.0.load_full();
        let token = match *place {
            Place::File(_) => {
                spawn_blocking(move || place.read()).await.map_err(io::Error::other)??
            }
            Place::Text(_) | Place::Unset => place.read()?,
        };
        let Some(token) = token else { return Ok(false) };
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hotset admin");
        let right = hmac::sign(&key, token.expose().as_bytes());
        Ok(hmac::verify(&key, said, right.as_ref()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_token_is_the_token() {
        let token =
            Token::new(&AdminConfig { token: Some("right".into()), ..AdminConfig::default() });
        assert!(token.is(b"right").await.unwrap());
        for wrong in ["", "righ", "rightt", "wrong"] {
            assert!(!token.is(wrong.as_bytes()).await.unwrap(), "{wrong}");
        }
        assert!(!Token::new(&AdminConfig::default()).is(b"").await.unwrap());
    }

    #[tokio::test]
    async fn a_file_is_read_each_time_and_an_empty_one_opens_nothing() {
        let path = std::env::temp_dir().join(format!("hotset-token-{}", std::process::id()));
        let token =
            Token::new(&AdminConfig { token_file: Some(path.clone()), ..AdminConfig::default() });
        assert!(token.is(b"a").await.is_err(), "it is not there");
        let [first, second] = ["first", "second"].map(|name| format!("made-up-token-{name}"));
        std::fs::write(&path, format!("{first}\n")).unwrap();
        assert!(token.is(first.as_bytes()).await.unwrap());
        std::fs::write(&path, &second).unwrap();
        assert!(!token.is(first.as_bytes()).await.unwrap());
        assert!(token.is(second.as_bytes()).await.unwrap());
        std::fs::write(&path, "fifteen-bytes-x").unwrap();
        assert!(token.is(b"fifteen-bytes-x").await.is_err(), "too short to be a secret");
        std::fs::write(&path, " \n").unwrap();
        assert!(token.is(b"").await.is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
