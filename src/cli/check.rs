//! `hotset check`: validates the configuration, environment variables and referenced files included.
//!
//! Without `--online` the only network requests are those of the credentials chain. Errors that only a running server can
//! detect are not reported.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::config_file::{ConfigFile, wrong, wrong_arguments};
use super::online;
use crate::app;
use crate::s3::BucketName;
use crate::yaml;

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Also test the origin and the queues: name resolution, connection, TLS, credentials, clock, region. Writes nothing
    #[arg(long)]
    online: bool,
    /// With --online: list one key of this bucket instead of listing buckets
    #[arg(long, value_name = "BUCKET", requires = "online")]
    bucket: Option<String>,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let file = &arguments.file;
    let bucket = match arguments.bucket.as_deref().map(BucketName::new).transpose() {
        Ok(bucket) => bucket,
        Err(why) => return wrong_arguments(&format!("--bucket: {why}")),
    };
    match file.load_with_files() {
        Ok(config) => {
            if let Some(path) = &file.config
                && sets_nothing(path)
            {
                eprintln!("warning: {} sets no key: the defaults hold", path.display());
            }
            for warning in app::warnings(&config) {
                eprintln!("warning: {warning}");
            }
            eprintln!("{}", app::describe_credentials(&config));
            // The exit code is the answer; a closed stdout does not change it.
            let _ = writeln!(std::io::stdout(), "the configuration is right");
            match arguments.online {
                true => online::run(&config, bucket.as_ref()),
                false => ExitCode::SUCCESS,
            }
        }
        Err(error) => wrong(&error),
    }
}

/// Whether a file is empty, or all comments.
fn sets_nothing(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    yaml::parse(&text).is_ok_and(|tree| tree.is_null())
}
