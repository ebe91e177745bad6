//! The token of the admin API: its source, and its comparison.

use std::io;
use std::path::PathBuf;

use ring::hmac;
use tokio::task::spawn_blocking;

use super::AdminConfig;
use crate::config::units::Secret;

/// Where the token is.
#[derive(Debug, Clone)]
pub enum Token {
    /// There is none.
    Unset,
    Text(Secret),
    /// In a file, which may change.
    File(PathBuf),
}

impl Token {
    pub fn new(config: &AdminConfig) -> Self {
        match (&config.token, &config.token_file) {
            (Some(token), _) => Self::Text(token.clone()),
            (None, Some(file)) => Self::File(file.clone()),
            (None, None) => Self::Unset,
        }
    }

    pub fn is_set(&self) -> bool {
        !matches!(self, Self::Unset)
    }

    /// The token as it is now; blocking.
    ///
    /// # Errors
    /// Its file cannot be read, is empty or holds less than [`AdminConfig::TOKEN_MIN`] bytes.
    pub fn read(&self) -> io::Result<Option<Secret>> {
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

    /// Whether this is the token; never when there is none. How long that takes does not tell how much of it is right.
    ///
    /// # Errors
    /// As [`Token::read`].
    pub(super) async fn is(&self, said: &[u8]) -> io::Result<bool> {
        let token = match self {
            Self::File(_) => {
                let token = self.clone();
                spawn_blocking(move || token.read()).await.map_err(io::Error::other)??
            }
            Self::Text(_) | Self::Unset => self.read()?,
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
        let token = Token::Text("right".into());
        assert!(token.is(b"right").await.unwrap());
        for wrong in ["", "righ", "rightt", "wrong"] {
            assert!(!token.is(wrong.as_bytes()).await.unwrap(), "{wrong}");
        }
        assert!(!Token::Unset.is(b"").await.unwrap());
    }

    #[tokio::test]
    async fn a_file_is_read_each_time_and_an_empty_one_opens_nothing() {
        let path = std::env::temp_dir().join(format!("hotset-token-{}", std::process::id()));
        let token = Token::File(path.clone());
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
