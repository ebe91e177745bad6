//! Access points of S3: they stand in for a bucket and have their own endpoint.

use super::endpoint_variant::Variant;
use super::{Addressing, OriginConfig};

/// An access point, identified by its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPoint {
    region: String,
    /// `NAME-ACCOUNT`.
    label: String,
    /// `amazonaws.com`, or that of China.
    suffix: &'static str,
}

/// Reason for which an ARN does not name a supported access point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnAccessPoint {
    /// A multi-Region access point, which requires `SigV4A`.
    MultiRegion,
    Outposts,
    ObjectLambda,
    Other,
}

impl AccessPoint {
    /// Reads `arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME`; a colon may stand for the slash.
    ///
    /// # Errors
    /// [`NotAnAccessPoint`].
    pub fn parse(arn: &str) -> Result<Self, NotAnAccessPoint> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = parts[..] else {
            return Err(NotAnAccessPoint::Other);
        };
        match service {
            "s3" => {}
            "s3-outposts" => return Err(NotAnAccessPoint::Outposts),
            "s3-object-lambda" => return Err(NotAnAccessPoint::ObjectLambda),
            _ => return Err(NotAnAccessPoint::Other),
        }
        let name =
            resource.strip_prefix("accesspoint").and_then(|rest| rest.strip_prefix(['/', ':']));
        let name = name.ok_or(NotAnAccessPoint::Other)?;
        if region.is_empty() {
            return Err(NotAnAccessPoint::MultiRegion);
        }
        let suffix = match partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return Err(NotAnAccessPoint::Other),
        };
        let is_label = |text: &str| {
            let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !text.is_empty() && text.len() <= 50 && text.bytes().all(is_legal)
        };
        if ![name, account, region].into_iter().all(is_label) {
            return Err(NotAnAccessPoint::Other);
        }
        Ok(Self { region: region.to_owned(), label: format!("{name}-{account}"), suffix })
    }

    /// Returns the settings of an origin whose bucket is this access point: those of `origin`, except endpoint, region
    /// and addressing. The endpoint is FIPS or dual-stack if that of `origin` is.
    #[must_use]
    pub fn settings(&self, origin: &OriginConfig) -> OriginConfig {
        let uri: Option<http::Uri> = origin.endpoint.parse().ok();
        let scheme = uri.as_ref().and_then(http::Uri::scheme_str).unwrap_or("https");
        let port = uri.as_ref().and_then(http::Uri::port_u16);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let variant = Variant::of(&origin.endpoint);
        let (fips, dual_stack) = (variant.fips(), variant.dual_stack());
        let Self { region, label, suffix } = self;
        let host = format!("{label}.s3-accesspoint{fips}{dual_stack}.{region}.{suffix}");
        OriginConfig {
            endpoint: format!("{scheme}://{host}{port}"),
            region: self.region.clone(),
            addressing: Addressing::Bucket,
            ..origin.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_point_has_an_endpoint_of_its_own() {
        for (arn, host) in [
            (
                "arn:aws:s3:eu-west-1:111122223333:accesspoint/reports",
                "https://reports-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
            ),
            (
                "arn:aws-cn:s3:cn-north-1:111122223333:accesspoint:reports",
                "https://reports-111122223333.s3-accesspoint.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            let settings = AccessPoint::parse(arn).unwrap().settings(&OriginConfig::default());
            assert_eq!((&*settings.endpoint, settings.addressing), (host, Addressing::Bucket));
        }
        for (endpoint, host) in [
            ("https://s3-fips.us-east-1.amazonaws.com", "s3-accesspoint-fips.eu-west-1"),
            ("https://s3.dualstack.us-east-1.amazonaws.com", "s3-accesspoint.dualstack.eu-west-1"),
            (
                "https://s3-fips.dualstack.us-east-1.amazonaws.com",
                "s3-accesspoint-fips.dualstack.eu-west-1",
            ),
        ] {
            let origin = OriginConfig { endpoint: endpoint.to_owned(), ..OriginConfig::default() };
            let arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint/reports";
            let settings = AccessPoint::parse(arn).unwrap().settings(&origin);
            let expected = format!("https://reports-111122223333.{host}.amazonaws.com");
            assert_eq!(settings.endpoint, expected);
        }
        for (arn, why) in [
            ("arn:aws:s3::111122223333:accesspoint/a.mrap", NotAnAccessPoint::MultiRegion),
            ("arn:aws:s3-outposts:r:1:outpost/o/accesspoint/a", NotAnAccessPoint::Outposts),
            ("arn:aws:s3:r:1:accesspoint/evil.com/", NotAnAccessPoint::Other),
            ("arn:aws:s3:r.evil.com:1:accesspoint/a", NotAnAccessPoint::Other),
            ("arn:aws:s3:::bucket", NotAnAccessPoint::Other),
            ("bucket", NotAnAccessPoint::Other),
        ] {
            assert_eq!(AccessPoint::parse(arn), Err(why), "{arn}");
        }
    }
}
