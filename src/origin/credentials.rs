//! Sources of the origin credentials: the chain of the AWS SDKs, or a profile or role of the
//! configuration.
//!
//! Invariant: configured credentials that cannot be used are an error that names their source; they never turn into
//! unsigned requests. Only where nothing is configured, or `origin.credentials.anonymous` is set, is the result `None`.
//! Everything, token files included, is read again each time. Errors never show a secret.

mod pace;
pub(super) mod renew;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_config::profile::{self, ProfileFileCredentialsProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::Credentials as SdkCredentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::error::CredentialsError as SdkError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_types::os_shim_internal::{Env, Fs};
use aws_types::sdk_config::SharedHttpClient;
use tokio::time::timeout;

use super::config::{CredentialsConfig, OriginConfig};
use crate::auth::{Credentials, InvalidCredentials};
use crate::config::units::Secret;
use crate::origin::with_causes;

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
const PROFILE: &str = "AWS_PROFILE";
const CONFIG_FILE: &str = "AWS_CONFIG_FILE";
/// Environment variables that indicate configured credentials.
const VARIABLES: [&str; 7] = [
    ACCESS_KEY,
    PROFILE,
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];
/// Keys of a profile that make it a source of credentials.
const PROFILE_SOURCES: [&str; 6] = [
    "aws_access_key_id",
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "sso_account_id",
];
const DEFAULT_PROFILE: &str = "default";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of one whole lookup of credentials.
const LIMIT: Duration = Duration::from_secs(20);
/// Timeout of a lookup for `hotset check` where nothing is configured: only the instance metadata service is left, which
/// answers at once or not at all.
const SHORT_LIMIT: Duration = Duration::from_secs(3);

/// Error of a credentials lookup; each message is one line and names what is missing.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Only one half of the key pair is set in the environment.
    #[error("{missing} is not set, but {set} is")]
    HalfSet {
        /// The variable to set.
        missing: &'static str,
        /// The variable that is set.
        set: &'static str,
    },
    /// A source is configured but yields no credentials.
    #[error(
        "no credentials for the origin, although {set_up} is set up: {problem}; mend it, or set \
         origin.credentials.anonymous: true to send requests unsigned"
    )]
    Unusable {
        /// The variable, file or key that configures it.
        set_up: String,
        /// Description of the problem, in one line.
        problem: String,
    },
    /// A source did not answer in time.
    #[error(
        "no credentials for the origin, although {set_up} is set up: no answer within {} s; mend it, or set \
         origin.credentials.anonymous: true to send requests unsigned",
        LIMIT.as_secs()
    )]
    TimedOut {
        /// The variable, file or key that configures it.
        set_up: String,
    },
    /// A value cannot be sent in a header.
    #[error("credentials for the origin from {place}: {source}")]
    Invalid {
        /// Source of the value.
        place: String,
        /// The defect of the value.
        source: InvalidCredentials,
    },
}

/// Credentials, with their expiry and source.
#[derive(Debug)]
pub struct Found {
    pub credentials: Credentials,
    /// Time of expiry; `None`: never.
    pub expires: Option<SystemTime>,
    /// Source of the credentials, for log lines.
    pub place: &'static str,
}

impl Found {
    /// Returns the source and the expiry, without anything secret.
    pub fn describe(&self) -> String {
        match self.expires {
            Some(ends) => format!("{}, valid until {}", self.place, httpdate::fmt_http_date(ends)),
            None => format!("{}, without an end", self.place),
        }
    }
}

/// Configured source of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    config: CredentialsConfig,
    region: String,
}

impl Source {
    pub fn new(config: &OriginConfig) -> Self {
        Self { config: config.credentials.clone(), region: config.region.clone() }
    }

    /// Whether requests are to be unsigned.
    pub fn is_anonymous(&self) -> bool {
        self.config.anonymous
    }

    /// Looks up credentials now. `None`: nothing is configured, or requests are to be unsigned.
    ///
    /// # Errors
    /// [`CredentialsError`]: a configured source does not yield any.
    pub async fn load(&self) -> Result<Option<Found>, CredentialsError> {
        self.load_within(LIMIT).await
    }

    /// As [`Source::load`], but where nothing is configured the instance metadata service has to answer soon.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub async fn load_to_check(&self) -> Result<Option<Found>, CredentialsError> {
        match self.set_up().await {
            Some(_) => self.load().await,
            None => match self.load_within(SHORT_LIMIT).await {
                Err(CredentialsError::TimedOut { .. }) => Ok(None),
                found => found,
            },
        }
    }

    async fn load_within(&self, limit: Duration) -> Result<Option<Found>, CredentialsError> {
        if self.config.anonymous {
            return Ok(None);
        }
        if !self.names_profile() {
            check_pair()?;
        }
        let found = match timeout(limit, self.provide()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let set_up = match (self.set_up().await, &error) {
                    (None, SdkError::CredentialsNotLoaded(_)) => return Ok(None),
                    (set_up, _) => set_up.unwrap_or_else(|| "an instance's role".to_owned()),
                };
                let problem = self.explain(&error);
                return Err(CredentialsError::Unusable { set_up, problem });
            }
            Err(_) => {
                let set_up = self.set_up().await;
                let set_up = set_up.unwrap_or_else(|| "the chain of sources".to_owned());
                return Err(CredentialsError::TimedOut { set_up });
            }
        };
        let place = place(&found, self.config.role_arn.is_some());
        let token = found.session_token().map(|token| Secret::new(token.to_owned()));
        let secret = Secret::new(found.secret_access_key().to_owned());
        let credentials = Credentials::new(found.access_key_id().to_owned(), secret, token)
            .map_err(|source| CredentialsError::Invalid { place: place.to_owned(), source })?;
        Ok(Some(Found { credentials, expires: found.expiry(), place }))
    }

    /// Returns the problem in one line, with the profile and the files where those are configured.
    fn explain(&self, error: &SdkError) -> String {
        let problem = with_causes(error);
        if !self.names_profile() {
            return problem;
        }
        let files = self.files().into_iter().map(|file| file.display().to_string());
        let files = files.collect::<Vec<_>>().join(" and ");
        let problem = match error {
            SdkError::CredentialsNotLoaded(_) => {
                format!("it is not defined there, or has no credentials ({problem})")
            }
            _ => problem,
        };
        format!("profile `{}` in {files}: {problem}", self.profile())
    }

    async fn provide(&self) -> Result<SdkCredentials, SdkError> {
        let sdk = self.loader().load().await;
        let not_loaded = || SdkError::not_loaded("there is no chain");
        match &self.config.role_arn {
            None => sdk.credentials_provider().ok_or_else(not_loaded)?.provide_credentials().await,
            Some(role) => {
                let mut provider = AssumeRoleProvider::builder(role).configure(&sdk);
                if let Some(id) = &self.config.external_id {
                    provider = provider.external_id(id);
                }
                let name = self.config.session_name.as_deref().unwrap_or("hotset");
                provider.session_name(name).build().await.provide_credentials().await
            }
        }
    }

    fn loader(&self) -> ConfigLoader {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(LIMIT / 2)
            .build();
        let region = Region::new(self.region.clone());
        let mut loader = sdk_loader(timeouts.clone()).region(region.clone());
        if !self.names_profile() {
            return loader;
        }
        loader = loader.profile_name(self.profile()).profile_files(self.profile_files());
        let config = ProviderConfig::without_region()
            .with_region(Some(region))
            .with_http_client(http_client())
            .with_timeout_config(timeouts);
        // The default chain would prefer keys of the environment, and go on to other sources.
        let provider = ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_files(self.profile_files())
            .profile_name(self.profile());
        loader.credentials_provider(provider.build())
    }

    /// Returns the name of the profile in use, where a profile or a file is configured.
    fn profile(&self) -> String {
        let configured = || self.config.profile.clone();
        match self.config.profile == DEFAULT_PROFILE {
            true => variable(PROFILE).unwrap_or_else(configured),
            false => configured(),
        }
    }

    /// Whether the configuration names a profile or a file, so that no other source is used.
    fn names_profile(&self) -> bool {
        self.config.file.is_some() || self.config.profile != DEFAULT_PROFILE
    }

    /// Returns the files in which the profile is looked for. The default profile of a configured file is that file's
    /// alone, whatever `~/.aws/config` says about a profile of this name.
    fn profile_files(&self) -> EnvConfigFiles {
        match &self.config.file {
            None => EnvConfigFiles::default(),
            Some(file) => EnvConfigFiles::builder()
                .with_file(EnvConfigFileKind::Credentials, file)
                .include_default_config_file(self.profile() != DEFAULT_PROFILE)
                .build(),
        }
    }

    /// Returns the setting that configures credentials, if there is one. Without it, an instance may still have a role.
    async fn set_up(&self) -> Option<String> {
        let CredentialsConfig { file, profile, role_arn, .. } = &self.config;
        if file.is_some() {
            return Some("origin.credentials.file".to_owned());
        }
        if role_arn.is_some() {
            return Some("origin.credentials.role_arn".to_owned());
        }
        if profile != DEFAULT_PROFILE {
            return Some("origin.credentials.profile".to_owned());
        }
        if let Some(variable) = VARIABLES.into_iter().find(|name| variable(name).is_some()) {
            return Some(variable.to_owned());
        }
        // An empty one, such as /dev/null, says that there are none.
        let Some(file) = credentials_file(&self.config) else {
            return config_file_with_source().await;
        };
        let is_empty = std::fs::metadata(&file).map(|file| file.len() == 0);
        match (is_empty, variable(CREDENTIALS_FILE)) {
            (Ok(true), _) | (Err(_), None) => config_file_with_source().await,
            (_, Some(_)) => Some(CREDENTIALS_FILE.to_owned()),
            (Ok(false), None) => Some(file.display().to_string()),
        }
    }

    /// Returns the files that may hold credentials: a change of one triggers a new lookup.
    pub fn files(&self) -> Vec<PathBuf> {
        let is_alone = self.config.file.is_some() && self.profile() == DEFAULT_PROFILE;
        let config = config_file().filter(|_| !is_alone);
        credentials_file(&self.config).into_iter().chain(config).collect()
    }
}

/// Returns the config file, or the variable that names it, if its profile in use is a source of credentials.
async fn config_file_with_source() -> Option<String> {
    let (file, files) = (config_file()?, EnvConfigFiles::default());
    let profiles =
        profile::load(&Fs::real(), &Env::real(), &files, Some(Cow::Borrowed(DEFAULT_PROFILE)))
            .await;
    let is_source = match profiles {
        Ok(profiles) => PROFILE_SOURCES.iter().any(|key| profiles.get(key).is_some()),
        // The SDK says what is wrong with it.
        Err(_) => true,
    };
    let named = variable(CONFIG_FILE).map(|_| CONFIG_FILE.to_owned());
    is_source.then(|| named.unwrap_or_else(|| file.display().to_string()))
}

fn config_file() -> Option<PathBuf> {
    variable(CONFIG_FILE).map(PathBuf::from).or_else(|| in_home("config"))
}

fn credentials_file(config: &CredentialsConfig) -> Option<PathBuf> {
    let named = config.file.clone().or_else(|| variable(CREDENTIALS_FILE).map(PathBuf::from));
    named.or_else(|| in_home("credentials"))
}

fn in_home(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(variable("HOME")?).join(".aws").join(name))
}

/// Supplies clients of other services, such as SQS, with the origin's credentials.
impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

/// Returns a loader of the AWS SDK's configuration that uses hotset's TLS implementation.
pub fn sdk_loader(timeouts: TimeoutConfig) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::latest());
    loader.timeout_config(timeouts).http_client(http_client())
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn check_pair() -> Result<(), CredentialsError> {
    match (variable(ACCESS_KEY), variable(SECRET_KEY)) {
        (Some(_), None) => Err(CredentialsError::HalfSet { missing: SECRET_KEY, set: ACCESS_KEY }),
        (None, Some(_)) => Err(CredentialsError::HalfSet { missing: ACCESS_KEY, set: SECRET_KEY }),
        _ => Ok(()),
    }
}

/// Returns the source of credentials, as the SDK reports it.
fn place(found: &SdkCredentials, assumed: bool) -> &'static str {
    if assumed {
        return "origin.credentials.role_arn (STS AssumeRole)";
    }
    let features = found.get_property::<Vec<Feature>>().map_or(&[][..], Vec::as_slice);
    let place = features.iter().find_map(|feature| {
        Some(match feature {
            Feature::CredentialsEnvVars => "the environment",
            Feature::CredentialsProfileSourceProfile
            | Feature::CredentialsProfileNamedProvider
            | Feature::CredentialsStsAssumeRole => "a profile's role (STS AssumeRole)",
            Feature::CredentialsEnvVarsStsWebIdToken
            | Feature::CredentialsProfileStsWebIdToken
            | Feature::CredentialsStsAssumeRoleWebId => "a web identity token (STS)",
            Feature::CredentialsProfileSso | Feature::CredentialsSso => "IAM Identity Center (SSO)",
            Feature::CredentialsProfileProcess | Feature::CredentialsProcess => {
                "a profile's credential_process"
            }
            Feature::CredentialsHttp => "a container's agent (ECS or EKS Pod Identity)",
            Feature::CredentialsImds => "the instance metadata service (IMDSv2)",
            _ => return None,
        })
    });
    match place {
        Some(place) => place,
        // Keys in a file have no end.
        None if features.contains(&Feature::CredentialsProfile) => match found.expiry() {
            Some(_) => "a profile's role (STS AssumeRole)",
            None => "a profile",
        },
        None => "the AWS SDK's chain",
    }
}
