//! Regions of buckets: the regional endpoint that a bucket's requests go to, and the region in their signatures.
//!
//! S3 tells the region only in response to a request that reached the wrong one. The region is remembered for the
//! bucket, and that request is sent once more; a second such response is final. The host of a request is never taken
//! from a response: it is the host of the configured endpoint with another region in it, so that no signature reaches a
//! foreign host. (A common suffix would not do: names below `amazonaws.com` belong to customers, too.)

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::OriginConfig;
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::misdirected::{Misdirected, is_region};
use crate::auth::Signer;
use crate::s3::BucketName;

/// Maximum buckets remembered per origin. For a bucket beyond, each request is sent twice.
const MOST_BUCKETS: usize = 4096;
/// Maximum regional endpoints per origin, each with its connections.
const MOST_SITES: usize = 64;
/// Time for which a bucket is not relocated after its region could not be found.
const PAUSE: Duration = Duration::from_mins(1);

/// A regional endpoint of the origin, and the region in the signatures of its requests.
pub struct Site {
    /// Region of the site; `None`: the configured one.
    region: Option<Arc<str>>,
    endpoint: Arc<Endpoint>,
    pub(super) connections: Arc<Connections>,
}

impl Site {
    /// Returns the site of the configured endpoint.
    pub(super) fn home(endpoint: Endpoint, connections: Arc<Connections>) -> Arc<Self> {
        Arc::new(Self { region: None, endpoint: Arc::new(endpoint), connections })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the region of the site; `None`: the configured one.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Returns a signer with the same keys for the region of this site.
    pub fn signer(&self, configured: &Arc<Signer>) -> Arc<Signer> {
        match &self.region {
            None => configured.clone(),
            Some(region) => Arc::new(configured.in_region(region)),
        }
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("region", &self.region)
            .field("host", &self.endpoint.name())
            .finish_non_exhaustive()
    }
}

/// Sites of the buckets of one origin.
pub(super) struct Regions {
    home: Arc<Site>,
    known: Mutex<Known>,
    /// Buckets whose region is being requested.
    asking: Mutex<HashMap<BucketName, Arc<Asking>>>,
}

/// Requests for the region of one bucket.
#[derive(Default)]
pub(super) struct Asking {
    /// Held during a request.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Number of those that were not answered: whoever waited for one shares its failure.
    failures: AtomicU32,
}

impl Asking {
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Known {
    buckets: HashMap<BucketName, Arc<Site>>,
    /// Sites by endpoint and region.
    sites: HashMap<(String, String), Arc<Site>>,
    /// Buckets that were redirected twice, with the end of the time in which they are not relocated.
    lost: HashMap<BucketName, Instant>,
    /// Buckets whose region was requested, with the time before which it is not requested again.
    asked: HashMap<BucketName, Instant>,
}

/// Next step towards the site of a bucket in another region.
pub(super) enum Move {
    /// The site is known: send the request there.
    Known,
    /// The bucket is in this region, whose site is to be remembered.
    To(String),
    /// Request the region of the bucket first.
    Ask,
    /// The site cannot be found, or could not be found recently.
    No,
}

impl Regions {
    pub(super) fn new(home: Arc<Site>) -> Self {
        Self { home, known: Mutex::default(), asking: Mutex::default() }
    }

    pub(super) fn home(&self) -> &Arc<Site> {
        &self.home
    }

    /// Returns the connections of each endpoint.
    pub(super) fn connections(&self) -> Vec<Arc<Connections>> {
        let known = self.known.lock();
        let sites = std::iter::once(&self.home).chain(known.sites.values());
        let mut all: Vec<_> = sites.map(|site| site.connections.clone()).collect();
        // Sites of one host share them.
        all.sort_by_key(Arc::as_ptr);
        all.dedup_by_key(|connections| Arc::as_ptr(connections));
        all
    }

    /// Returns the site of a bucket.
    pub(super) fn site(&self, bucket: Option<&BucketName>) -> Arc<Site> {
        let known = self.known.lock();
        let known = bucket.and_then(|bucket| known.buckets.get(bucket));
        known.unwrap_or(&self.home).clone()
    }

    /// Returns the next step after a response which says that `used` was the wrong site. `configured`: endpoint and
    /// region.
    pub(super) fn plan(
        &self,
        bucket: &BucketName,
        used: &Arc<Site>,
        said: &Misdirected,
        configured: (&str, &str),
    ) -> Move {
        let known = self.known.lock();
        if !Arc::ptr_eq(known.buckets.get(bucket).unwrap_or(&self.home), used) {
            return Move::Known;
        }
        let is_recent = |until: Option<&Instant>| until.is_some_and(|at| *at > Instant::now());
        if is_recent(known.lost.get(bucket)) {
            return Move::No;
        }
        let of_host = || region_of_host(said.host.as_deref()?, configured);
        match said.region.clone().or_else(of_host) {
            Some(region) => Move::To(region),
            None if is_recent(known.asked.get(bucket)) => Move::No,
            None => Move::Ask,
        }
    }

    /// Remembers the region of a bucket. `None`: there is no other site. `open` makes the connections of a new
    /// endpoint.
    pub(super) fn learn(
        &self,
        bucket: &BucketName,
        (used, moves): (&Arc<Site>, bool),
        region: &str,
        (endpoint, configured): (&str, &str),
        open: impl FnOnce(&str) -> Option<(Endpoint, Arc<Connections>)>,
    ) -> Option<Arc<Site>> {
        let signed_for = used.region.as_deref().unwrap_or(configured);
        let url = moves.then(|| regional_endpoint(endpoint, configured, region)).flatten();
        let is_other_host = |url: &String| !is_at(used, url);
        if region == signed_for && !url.as_ref().is_some_and(is_other_host) {
            return None;
        }
        let host = url.clone().unwrap_or_else(|| used.endpoint.name().to_owned());
        let key = (host, region.to_owned());
        let (site, count) = {
            let known = self.known.lock();
            (known.sites.get(&key).cloned(), known.sites.len())
        };
        let site = match site {
            Some(site) => site,
            None if count >= MOST_SITES => return None,
            // Opened without the lock, which each request of the origin takes.
            None => {
                let (endpoint, connections) = match &url {
                    Some(url) if is_other_host(url) => {
                        let (endpoint, connections) = open(url)?;
                        (Arc::new(endpoint), connections)
                    }
                    _ => (used.endpoint.clone(), used.connections.clone()),
                };
                Arc::new(Site { region: Some(region.into()), endpoint, connections })
            }
        };
        let mut known = self.known.lock();
        let site = known.sites.entry(key).or_insert(site).clone();
        if known.buckets.len() >= MOST_BUCKETS && !known.buckets.contains_key(bucket) {
            known.buckets.clear();
        }
        known.buckets.insert(bucket.clone(), site.clone());
        Some(site)
    }

    /// Stops relocating a bucket that was redirected twice: for a while its requests go to the configured site, once.
    pub(super) fn give_up(&self, bucket: &BucketName) {
        let mut known = self.known.lock();
        known.buckets.remove(bucket);
        note(&mut known.lost, bucket);
    }

    /// Returns the requests for the region of a bucket.
    pub(super) fn asking(&self, bucket: &BucketName) -> Arc<Asking> {
        let mut asking = self.asking.lock();
        asking.retain(|_, asking| Arc::strong_count(asking) > 1);
        asking.entry(bucket.clone()).or_default().clone()
    }

    /// Records that a response to a request for the region of a bucket has come.
    pub(super) fn is_asked(&self, bucket: &BucketName) {
        note(&mut self.known.lock().asked, bucket);
    }
}

/// Remembers a bucket for a while, if there is room.
fn note(noted: &mut HashMap<BucketName, Instant>, bucket: &BucketName) {
    let now = Instant::now();
    if noted.len() >= MOST_BUCKETS {
        noted.retain(|_, until| *until > now);
    }
    if noted.len() < MOST_BUCKETS {
        noted.insert(bucket.clone(), now + PAUSE);
    }
}

fn is_at(site: &Site, url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.host() == Some(site.endpoint.name()))
}

/// Returns the settings of the same origin in another region; the endpoint is unchanged if it has no region in it.
pub fn in_region(config: &OriginConfig, region: &str) -> OriginConfig {
    let endpoint = regional_endpoint(&config.endpoint, &config.region, region);
    OriginConfig {
        endpoint: endpoint.unwrap_or_else(|| config.endpoint.clone()),
        region: region.to_owned(),
        ..config.clone()
    }
}

/// Returns the endpoint of another region of the same provider: `configured` with its region replaced by `to`; `None`:
/// its host contains no region.
fn regional_endpoint(configured: &str, region: &str, to: &str) -> Option<String> {
    let uri: Uri = configured.parse().ok()?;
    let host = uri.host()?;
    let (before, after) = around_region(host, region)?;
    let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
    let to = to.to_ascii_lowercase();
    let is_label = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_label(&to)
        .then(|| format!("{}://{before}{to}{after}{port}", uri.scheme_str().unwrap_or("https")))
}

/// Returns the region in a host name that otherwise equals the configured one, with or without a bucket before it.
fn region_of_host(host: &str, (endpoint, region): (&str, &str)) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let (before, after) = around_region(uri.host()?, region)?;
    // Older names have a hyphen in place of the dot: `s3-eu-west-1`.
    let old = before.strip_suffix('.').map(|before| format!("{before}-"));
    let middle = [Some(before), old].into_iter().flatten().find_map(|before| {
        let rest = host.strip_suffix(&after)?;
        let at = if rest.starts_with(&before) { 0 } else { rest.rfind(&format!(".{before}"))? + 1 };
        Some(&rest[at + before.len()..])
    })?;
    (is_region(middle) && middle.contains('-')).then(|| middle.to_owned())
}

/// Returns the parts of a regional host before and after its region: `s3.` and `.amazonaws.com`.
fn around_region(host: &str, region: &str) -> Option<(String, String)> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    let aws = labels.iter().position(|label| *label == "amazonaws");
    let first = labels[0];
    if let Some(aws) = aws {
        let after = format!(".{}", labels[aws..].join("."));
        // Others are one bucket's, or one network's.
        return match &labels[..aws] {
            ["s3" | "s3-fips", _] => Some((format!("{first}."), after)),
            ["s3" | "s3-fips", "dualstack", _] => Some((format!("{first}.dualstack."), after)),
            ["s3"] => Some(("s3.".to_owned(), after)),
            [old] if old.strip_prefix("s3-") == Some(region) || *old == "s3-external-1" => {
                Some(("s3.".to_owned(), after))
            }
            _ => None,
        };
    }
    let at = labels.iter().position(|label| *label == region)?;
    let is_service = at > 0 && labels[at - 1].starts_with("s3");
    (is_service && labels.len() - at > 2).then(|| {
        (format!("{}.", labels[..at].join(".")), format!(".{}", labels[at + 1..].join(".")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_of_another_region_is_the_configured_one_with_that_region() {
        for (configured, region, expected) in [
            (
                "https://s3.us-east-1.amazonaws.com",
                "us-east-1",
                "https://s3.eu-west-1.amazonaws.com",
            ),
            ("https://s3.amazonaws.com", "us-east-1", "https://s3.eu-west-1.amazonaws.com"),
            (
                "https://s3-us-west-2.amazonaws.com",
                "us-west-2",
                "https://s3.eu-west-1.amazonaws.com",
            ),
            (
                "https://s3.dualstack.us-east-1.amazonaws.com",
                "us-east-1",
                "https://s3.dualstack.eu-west-1.amazonaws.com",
            ),
            (
                "https://s3-fips.us-east-1.amazonaws.com:8443",
                "us-east-1",
                "https://s3-fips.eu-west-1.amazonaws.com:8443",
            ),
            ("http://s3.a.example.com:9000", "a", "http://s3.eu-west-1.example.com:9000"),
        ] {
            let found = regional_endpoint(configured, region, "eu-west-1");
            assert_eq!(found.as_deref(), Some(expected), "{configured}");
        }
        for (configured, region) in [
            // One network's, one bucket's, everybody's.
            ("https://vpce-1-a.s3.us-east-1.vpce.amazonaws.com", "us-east-1"),
            ("https://ap-1.s3-accesspoint.us-east-1.amazonaws.com", "us-east-1"),
            ("https://s3-accelerate.amazonaws.com", "us-east-1"),
            // A region that is the whole name, or all of it that is not public.
            ("http://garage:9000", "garage"),
            ("http://s3.garage.com", "garage"),
            ("https://shop.co.uk", "shop"),
            ("http://127.0.0.1:9000", "us-east-1"),
        ] {
            assert_eq!(regional_endpoint(configured, region, "eu-west-1"), None, "{configured}");
        }
        let configured = "https://s3.us-east-1.amazonaws.com";
        for foreign in ["evil.com/", "a.b", "x@y", "", "eu:1"] {
            assert!(!is_region(foreign), "{foreign}");
        }
        assert_eq!(regional_endpoint(configured, "us-east-1", "a_b"), None);
    }

    #[test]
    fn a_region_is_read_from_a_host_of_the_same_provider_only() {
        let configured = ("https://s3.us-east-1.amazonaws.com", "us-east-1");
        for host in [
            "s3.eu-west-1.amazonaws.com",
            "data.s3.eu-west-1.amazonaws.com",
            "my.data.s3.eu-west-1.amazonaws.com",
            "data.s3-eu-west-1.amazonaws.com",
        ] {
            assert_eq!(region_of_host(host, configured).as_deref(), Some("eu-west-1"), "{host}");
        }
        for host in [
            "s3.eu-west-1.amazonaws.com.evil.com",
            "s3.eu-west-1.example.com",
            "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
            "s3.amazonaws.com",
            "data.s3.evil.com/.eu-west-1.amazonaws.com",
        ] {
            assert_eq!(region_of_host(host, configured), None, "{host}");
        }
    }
}
