//! Checks of `listen[].path_prefix`.

use crate::auth::AuthMode;
use crate::config::ConfigError;
use crate::proxy::ListenConfig;

/// Checks that the prefix is a path of plain segments, and that the mode allows one.
pub(super) fn check(
    index: usize,
    listen: &ListenConfig,
    mode: AuthMode,
) -> Result<(), ConfigError> {
    let Some(prefix) = &listen.path_prefix else { return Ok(()) };
    let wrong = |problem: String| {
        Err(ConfigError::at(format_args!("listen[{index}].path_prefix"), problem))
    };
    let is_plain = |segment: &str| {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.');
        !segment.is_empty()
            && segment.bytes().all(plain)
            && segment.bytes().any(|byte| byte != b'.')
    };
    let segments = prefix.strip_prefix('/').map(|rest| rest.split('/'));
    if !segments.is_some_and(|mut segments| segments.all(is_plain)) {
        return wrong(format!(
            "`{prefix}` is not a path such as /s3: letters, digits, - _ . ~, no slash at its end"
        ));
    }
    if mode == AuthMode::Transparent {
        return wrong(
            "only valid with auth.mode: verify or trust; S3 verifies paths as they are sent to it"
                .to_owned(),
        );
    }
    Ok(())
}
