//! The tokens of the admin API: their sources, and their comparison.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::hmac;
use tokio::task::spawn_blocking;

use super::config::AdminConfig;
use crate::config::units::Secret;

/// The tokens in force. Clones share them.
#[derive(Debug, Clone)]
pub struct Token(Arc<ArcSwap<Places>>);

/// Rights granted by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    Read,
    All,
}

/// The source of each token.
#[derive(Debug, Clone)]
struct Places {
    all: Place,
    read: Place,
}

/// Source of one token.
#[derive(Debug, Clone)]
enum Place {
    /// No token.
    Unset,
    Text(Secret),
    /// A file, which may change.
    File(PathBuf),
}

impl Places {
    fn new(config: &AdminConfig) -> Self {
        Self {
            all: Place::new(config.token.as_ref(), config.token_file.as_ref()),
            read: Place::new(config.read_token.as_ref(), config.read_token_file.as_ref()),
        }
    }

    /// Returns the rights of a presented token. One that equals both tokens is read-only.
    fn rights(&self, said: &[u8]) -> io::Result<Option<Rights>> {
        match (self.all.is(said), self.read.is(said)) {
            (_, Ok(true)) => Ok(Some(Rights::Read)),
            (Ok(true), _) => Ok(Some(Rights::All)),
            (Err(error), _) => Err(in_file("admin.token_file", &error)),
            (_, Err(error)) => Err(in_file("admin.read_token_file", &error)),
            (Ok(false), Ok(false)) => Ok(None),
        }
    }

    fn is_in_file(&self) -> bool {
        [&self.all, &self.read].into_iter().any(|place| matches!(place, Place::File(_)))
    }
}

fn in_file(key: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{key}: {error}"))
}

impl Place {
    fn new(token: Option<&Secret>, file: Option<&PathBuf>) -> Self {
        match (token, file) {
            (Some(token), _) => Self::Text(token.clone()),
            (None, Some(file)) => Self::File(file.clone()),
            (None, None) => Self::Unset,
        }
    }

    fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }

    /// Compares with the token, in constant time; false if there is none.
    fn is(&self, said: &[u8]) -> io::Result<bool> {
        let Some(token) = self.read()? else { return Ok(false) };
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"hotset admin");
        let right = hmac::sign(&key, token.expose().as_bytes());
        Ok(hmac::verify(&key, said, right.as_ref()).is_ok())
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
        Self(Arc::new(ArcSwap::from_pointee(Places::new(config))))
    }

    /// Puts other tokens in force.
    pub fn replace(&self, config: &AdminConfig) {
        self.0.store(Arc::new(Places::new(config)));
    }

    /// Whether requests require a token.
    pub fn is_set(&self) -> bool {
        let places = self.0.load();
        !(places.all.is_unset() && places.read.is_unset())
    }

    /// Reads the token with all rights; blocks.
    ///
    /// # Errors
    /// Its file cannot be read, is empty or holds less than [`AdminConfig::TOKEN_MIN`] bytes.
    pub fn read(&self) -> io::Result<Option<Secret>> {
        self.0.load().all.read()
    }

    /// Returns the token for a client with this configuration: the one with the most rights; blocks.
    ///
    /// # Errors
    /// As [`Token::check`].
    pub fn of_client(&self) -> io::Result<Option<Secret>> {
        let places = self.0.load();
        match places.all.read().map_err(|error| in_file("admin.token_file", &error))? {
            Some(token) => Ok(Some(token)),
            None => places.read.read().map_err(|error| in_file("admin.read_token_file", &error)),
        }
    }

    /// Reads the tokens; blocks.
    ///
    /// # Errors
    /// The key of the file, and the error: as [`Token::read`].
    pub fn check(&self) -> Result<(), (&'static str, io::Error)> {
        let places = self.0.load();
        places.all.read().map_err(|error| ("admin.token_file", error))?;
        places.read.read().map_err(|error| ("admin.read_token_file", error))?;
        Ok(())
    }

    /// Returns the rights of a presented token; `None`: it is neither.
    ///
    /// # Errors
    /// A file cannot be read, and the other token does not match. The message begins with the file's key.
    pub(super) async fn rights(&self, said: &[u8]) -> io::Result<Option<Rights>> {
        let places = self.0.load_full();
        if !places.is_in_file() {
            return places.rights(said);
        }
        let said = said.to_vec();
        spawn_blocking(move || places.rights(&said)).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is(token: &Token, said: &str) -> io::Result<bool> {
        Ok(token.rights(said.as_bytes()).await? == Some(Rights::All))
    }

    #[tokio::test]
    async fn only_the_token_is_the_token() {
        let token =
            Token::new(&AdminConfig { token: Some("right".into()), ..AdminConfig::default() });
        assert!(is(&token, "right").await.unwrap());
        for wrong in ["", "righ", "rightt", "wrong"] {
            assert_eq!(token.rights(wrong.as_bytes()).await.unwrap(), None, "{wrong}");
        }
        let none = Token::new(&AdminConfig::default());
        assert!(!none.is_set() && none.rights(b"").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_second_token_may_read_and_a_token_that_is_both_may_no_more() {
        let [all, read] = ["all", "read"].map(Secret::from);
        let with = |token: Option<&Secret>, read_token: Option<&Secret>| {
            let (token, read_token) = (token.cloned(), read_token.cloned());
            Token::new(&AdminConfig { token, read_token, ..AdminConfig::default() })
        };
        let both = with(Some(&all), Some(&read));
        assert_eq!(both.rights(b"all").await.unwrap(), Some(Rights::All));
        assert_eq!(both.rights(b"read").await.unwrap(), Some(Rights::Read));
        assert_eq!(both.rights(b"").await.unwrap(), None);
        assert_eq!(both.of_client().unwrap().unwrap().expose(), "all");
        let only = with(None, Some(&read));
        assert!(only.is_set() && only.read().unwrap().is_none());
        assert_eq!(only.of_client().unwrap().unwrap().expose(), "read");
        let same = with(Some(&all), Some(&all));
        assert_eq!(same.rights(b"all").await.unwrap(), Some(Rights::Read));
    }

    #[tokio::test]
    async fn a_file_that_is_missing_does_not_close_the_api_for_the_other_token() {
        let token = Token::new(&AdminConfig {
            token: Some("all".into()),
            read_token_file: Some("/nowhere/token".into()),
            ..AdminConfig::default()
        });
        assert!(is(&token, "all").await.unwrap());
        let error = token.rights(b"other").await.unwrap_err().to_string();
        assert!(error.starts_with("admin.read_token_file: "), "{error}");
        assert_eq!(token.check().unwrap_err().0, "admin.read_token_file");
    }

    #[tokio::test]
    async fn a_file_is_read_each_time_and_an_empty_one_opens_nothing() {
        let path = std::env::temp_dir().join(format!("hotset-token-{}", std::process::id()));
        let token =
            Token::new(&AdminConfig { token_file: Some(path.clone()), ..AdminConfig::default() });
        assert!(is(&token, "a").await.is_err(), "it is not there");
        let [first, second] = ["first", "second"].map(|name| format!("made-up-token-{name}"));
        std::fs::write(&path, format!("{first}\n")).unwrap();
        assert!(is(&token, &first).await.unwrap());
        std::fs::write(&path, &second).unwrap();
        assert!(!is(&token, &first).await.unwrap());
        assert!(is(&token, &second).await.unwrap());
        std::fs::write(&path, "fifteen-bytes-x").unwrap();
        assert!(is(&token, "fifteen-bytes-x").await.is_err(), "too short to be a secret");
        std::fs::write(&path, " \n").unwrap();
        assert!(is(&token, "").await.is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
