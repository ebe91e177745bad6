//! Routes of the admin API: path and method to handler.

use std::net::IpAddr;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;

use super::answer::{Answer, Refusal, json, other_method};
use super::state::Api;
use super::{body, explain, guard, log_level, purge, reload, top, warm};
use crate::admin::connection_end::ConnectionEnd;
use crate::logging::audit::Decision;

/// Maximum characters of the resource in a line of the audit log.
const RESOURCE_MAX: usize = 1000;

impl Api {
    /// Handles a request below `/api/`.
    pub(in crate::admin) async fn answer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        end: &ConnectionEnd,
    ) -> Response<String> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let admitted = guard::admit(self, &method, request.headers()).await;
        let caller = admitted.as_ref().ok().map(|caller| caller.label());
        let answer = match admitted {
            Ok(_) => self.act(request, end).await,
            Err(refusal) => Err(refusal),
        };
        let refusal = answer.as_ref().err().cloned();
        let response = answer.unwrap_or_else(Refusal::answer);
        let of_response = if uri.query().is_none() { resource(&response) } else { None };
        let resource = uri.query().or(of_response.as_deref());
        let status = response.status();
        let identity = caller.or(refusal.as_ref().and_then(|refusal| refusal.identity));
        let action = (&method, uri.path());
        self.audit_request(action, (identity, from), resource, status, refusal.as_ref());
        response
    }

    /// Logs the decision on a request in the audit log, if such decisions are logged.
    pub(super) fn audit_request(
        &self,
        (method, path): (&Method, &str),
        (identity, from): (Option<&str>, IpAddr),
        resource: Option<&str>,
        status: StatusCode,
        refusal: Option<&Refusal>,
    ) {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let is_allowed = !matches!(status.as_u16(), 401 | 403);
        if self.audit.wants(is_allowed) || (self.audit.wants_changes() && !is_read) {
            self.audit.write(&Decision {
                api: "admin",
                is_allowed,
                identity,
                client: Some(&from),
                action: &format!("{method} {path}"),
                resource: resource.map(str::as_bytes),
                status: status.as_u16(),
                reason: refusal.map(|refusal| &*refusal.why),
                ..Decision::default()
            });
        }
    }

    async fn act(&self, request: Request<Incoming>, end: &ConnectionEnd) -> Answer {
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
            ("/api/v1/top", _, &Method::GET) => top::top(self, head.uri.query()),
            ("/api/v1/stats" | "/api/v1/config" | "/api/v1/explain" | "/api/v1/top", ..) => {
                Ok(other_method("GET"))
            }
            ("/api/v1/warm", _, &Method::POST) => warm::begin(self, body).await,
            ("/api/v1/warm", _, &Method::GET) => Ok(warm::list(self)),
            ("/api/v1/warm" | "/api/v1/log-level", ..) => Ok(other_method("GET, POST")),
            (_, Some(id), &Method::GET) => warm::progress(self, id),
            (_, Some(id), &Method::DELETE) => warm::cancel(self, id).await,
            (_, Some(_), _) => Ok(other_method("GET, DELETE")),
            _ => {
                let why = "there are /api/v1/purge, warm, reload, log-level, stats, top, requests, config and explain";
                Err(Refusal::new(StatusCode::NOT_FOUND, why))
            }
        }
    }
}

/// Returns the resource of an audited request: scopes of a purge, object or prefix of a warm job, the new log level.
fn resource(response: &Response<String>) -> Option<String> {
    let body: Value = serde_json::from_str(response.body()).ok()?;
    let told = ["scopes", "prefix", "keys", "id", "level"].map(|name| &body[name]);
    let told = told.into_iter().find(|told| !told.is_null())?;
    let text = told.as_str().map_or_else(|| told.to_string(), str::to_owned);
    Some(text.chars().take(RESOURCE_MAX).collect())
}
