//! The admin API: JSON requests and responses.
//!
//! ```text
//!  POST   /api/v1/purge        forget keys, a prefix, a bucket or everything, and erase it where that is asked
//!  POST   /api/v1/warm         begin to warm keys or a prefix; the same again joins the job that runs
//!  GET    /api/v1/warm         the jobs that run and the last that ended
//!  GET    /api/v1/warm/{id}    how far one is
//!  DELETE /api/v1/warm/{id}    end it
//!  GET    /api/v1/stats        counters, gauges, recent errors
//!  GET    /api/v1/config       the effective configuration, without secrets
//!  POST   /api/v1/reload       read the configuration again, and put it into force
//!  GET    /api/v1/log-level    the minimum level of log messages; POST sets it
//!  GET    /api/v1/explain      the state of an object, or what would become of a request
//! ```
//! A request is understood wholly before any of it is done; what is wrong with it is said in one line of `error`.

mod body;
mod explain;
mod guard;
mod log_level;
mod peers;
mod purge;
mod reload;
mod warm;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::server::ConnectionEnd;
use super::stats::Stats;
use super::token::Token;
use crate::auth::AuthMode;
use crate::cache::{Cache, Rules};
use crate::cluster::Cluster;
use crate::logging::audit::{AuditLogger, Decision};
use crate::warm::Warmer;

pub use purge::ERASING;

/// Characters of what was acted on in a line of the audit log.
const RESOURCE_MAX: usize = 1000;

/// The API, and what it acts on.
pub struct Api {
    pub cache: Arc<Cache>,
    pub warmer: Arc<Warmer>,
    pub rules: Arc<Rules>,
    pub mode: AuthMode,
    pub token: Token,
    /// Whether only this machine can connect.
    pub on_loopback: bool,
    /// `None`: there are no other replicas.
    pub cluster: Option<Arc<Cluster>>,
    pub audit: AuditLogger,
    pub stats: Stats,
    pub reload: Reload,
}

/// Reloads the configuration, or with `true` says what that would change: the answer's body, or what is wrong in one line.
pub type Reload = Box<dyn Fn(bool) -> Reloaded + Send + Sync>;

/// The outcome of a reload that is under way.
pub type Reloaded = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;

/// A request that is not done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

type Answer = Result<Response<String>, Refusal>;

impl Refusal {
    fn answer(self) -> Response<String> {
        let Self { status, why } = self;
        let mut response = json(status, &ErrorBody { error: &why });
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

impl Api {
    /// Answers a request whose path begins with `/api/`.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        end: &ConnectionEnd,
    ) -> Response<String> {
        let action = format!("{} {}", request.method(), request.uri().path());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let asked = request.uri().query().map(str::to_owned);
        let answer = self.act(request, end).await;
        let refusal = answer.as_ref().err().cloned();
        let response = answer.unwrap_or_else(Refusal::answer);
        let is_allowed = !matches!(response.status().as_u16(), 401 | 403);
        if self.audit.wants(is_allowed) || (self.audit.wants_changes() && !is_read) {
            self.audit.write(&Decision {
                api: "admin",
                is_allowed,
                identity: is_allowed.then_some(match self.token.is_set() {
                    true => "admin.token",
                    false => "local user",
                }),
                client: Some(&from),
                action: &action,
                resource: asked.as_deref().or(resource(&response).as_deref()).map(str::as_bytes),
                status: response.status().as_u16(),
                reason: refusal.as_ref().map(|refusal| &*refusal.why),
                ..Decision::default()
            });
        }
        response
    }

    async fn act(&self, request: Request<Incoming>, end: &ConnectionEnd) -> Answer {
        guard::admit(self, request.method(), request.headers()).await?;
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let job = path.strip_prefix("/api/v1/warm/");
        match (path, job, &head.method) {
            ("/api/v1/purge", _, &Method::POST) => purge::purge(self, body, end).await,
            ("/api/v1/reload", _, &Method::POST) => reload::reload(self, body).await,
            ("/api/v1/purge" | "/api/v1/reload", ..) => Ok(other_method("POST")),
            ("/api/v1/stats", _, &Method::GET) => Ok(json(StatusCode::OK, &self.stats.snapshot())),
            ("/api/v1/config", _, &Method::GET) => Ok(json(StatusCode::OK, &self.stats.config())),
            ("/api/v1/log-level", _, &Method::GET) => {
                Ok(json(StatusCode::OK, &log_level::current()))
            }
            ("/api/v1/log-level", _, &Method::POST) => {
                let level = log_level::set(&body::read(body).await?).map_err(Refusal::bad)?;
                Ok(json(StatusCode::OK, &level))
            }
            ("/api/v1/explain", _, &Method::GET) => explain::explain(self, head.uri.query()).await,
            ("/api/v1/stats" | "/api/v1/config" | "/api/v1/explain", ..) => Ok(other_method("GET")),
            ("/api/v1/warm", _, &Method::POST) => warm::begin(self, body).await,
            ("/api/v1/warm", _, &Method::GET) => Ok(warm::list(self)),
            ("/api/v1/warm" | "/api/v1/log-level", ..) => Ok(other_method("GET, POST")),
            (_, Some(id), &Method::GET) => warm::progress(self, id),
            (_, Some(id), &Method::DELETE) => warm::cancel(self, id).await,
            (_, Some(_), _) => Ok(other_method("GET, DELETE")),
            _ => {
                let why =
                    "there are /api/v1/purge, warm, reload, log-level, stats, config and explain";
                Err(Refusal::new(StatusCode::NOT_FOUND, why))
            }
        }
    }
}

/// What an answer says that was acted on: scopes of a purge, the object or prefix of a warm job, the level that was set.
fn resource(response: &Response<String>) -> Option<String> {
    let body: Value = serde_json::from_str(response.body()).ok()?;
    let told = ["scopes", "prefix", "keys", "id", "level"].map(|name| &body[name]);
    let told = told.into_iter().find(|told| !told.is_null())?;
    let text = told.as_str().map_or_else(|| told.to_string(), str::to_owned);
    Some(text.chars().take(RESOURCE_MAX).collect())
}

fn other_method(allowed: &'static str) -> Response<String> {
    let error = format!("only {allowed}");
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &ErrorBody { error: &error });
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<String> {
    let mut body = serde_json::to_string(value).expect("it has no maps with other keys than text");
    body.push('\n');
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
