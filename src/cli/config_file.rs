//! The configuration named by the arguments, and the report of its errors.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::auth::Identities;
use crate::cache::foreign;
use crate::config::{Config, ConfigError, ConfigSource, Loaded, Sources};
use crate::events::Webhook;
use crate::tls::{Tls, authorities};

/// Exit code for invalid arguments or configuration.
pub(super) const WRONG: u8 = 2;

/// Path of the configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration's file; without it the defaults hold
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ConfigFile {
    /// Loads the configuration, with the environment applied, and validates it.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        self.load_with_sources().map(|(config, _)| config)
    }

    pub(super) fn load_with_sources(&self) -> Result<(Config, Sources), ConfigError> {
        let Loaded { config, sources } = self.source().load()?;
        Ok((config, sources))
    }

    /// Returns the source of the configuration.
    pub(super) fn source(&self) -> ConfigSource {
        ConfigSource::new(self.config.clone())
    }

    /// As [`ConfigFile::load`], and also reads the certificates and identities that it names.
    pub(super) fn load_with_files(&self) -> Result<Config, ConfigError> {
        let (config, sources) = self.load_with_sources()?;
        let in_file = |wrong: ConfigError| sources.locate(wrong);
        let named = config.origins.iter().map(|(name, origin)| (format!("origins.{name}"), origin));
        for (key, origin) in named.chain([("origin".to_owned(), &config.origin)]) {
            if let Some(file) = &origin.ca_file
                && let Err(problem) = authorities(file)
            {
                return Err(in_file(ConfigError::at(format!("{key}.ca_file"), problem)));
            }
        }
        for (index, disk) in config.cache.disk.iter().enumerate() {
            if let Some(name) = foreign(&disk.path) {
                let path = disk.path.display();
                let problem = format!(
                    "{path} holds `{name}`, which is not hotset's: name a folder of its own"
                );
                return Err(in_file(ConfigError::at(format!("cache.disk[{index}].path"), problem)));
            }
        }
        if let Some(path) = &config.auth.identities
            && let Err(error) = Identities::load(path)
        {
            return Err(in_file(ConfigError::at("auth.identities", error)));
        }
        for (index, listen) in config.listen.iter().enumerate() {
            if let Some(tls) = &listen.tls
                && let Err(error) = Tls::check(tls)
            {
                let key = format!("listen[{index}].tls.{}", error.key);
                return Err(in_file(ConfigError::at(key, error.problem)));
            }
        }
        if let Some(webhook) = &config.events.webhook
            && let Err(error) = Webhook::check(webhook)
        {
            let key = format!("events.webhook.{}", error.key);
            return Err(in_file(ConfigError::at(key, error.problem)));
        }
        Ok(config)
    }
}

/// Prints a configuration error as one line.
pub(super) fn wrong(error: &ConfigError) -> ExitCode {
    eprintln!("hotset: {error}");
    ExitCode::from(WRONG)
}

/// Prints an error in the arguments.
pub(super) fn wrong_arguments(problem: &str) -> ExitCode {
    eprintln!("hotset: {problem}");
    ExitCode::from(WRONG)
}
