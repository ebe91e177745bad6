//! Variants of the endpoints of AWS: FIPS 140, dual-stack (IPv4 and IPv6), both or neither.

/// Variant of an endpoint, which other endpoints of the same origin have, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    is_fips: bool,
    is_dual_stack: bool,
}

impl Variant {
    /// Returns the variant of an endpoint such as `https://s3-fips.dualstack.us-east-1.amazonaws.com`.
    pub(super) fn of(endpoint: &str) -> Self {
        let uri: Option<http::Uri> = endpoint.parse().ok();
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default().to_ascii_lowercase();
        let has = |name: &str| host.split('.').any(|label| label == name);
        Self { is_fips: has("s3-fips"), is_dual_stack: has("dualstack") }
    }

    /// Returns what follows the name of the service in a host.
    pub(super) fn fips(self) -> &'static str {
        if self.is_fips { "-fips" } else { "" }
    }

    /// Returns what precedes the region in a host.
    pub(super) fn dual_stack(self) -> &'static str {
        if self.is_dual_stack { ".dualstack" } else { "" }
    }
}
