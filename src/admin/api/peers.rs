//! Routes below `/cluster/`, for other replicas.

use std::net::IpAddr;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::answer::{Answer, Refusal};
use super::guard;
use super::purge::ERASING;
use super::state::Api;
use crate::admin::connection_end::ConnectionEnd;
use crate::cluster::{Cluster, REQUEST_MAX};

impl Api {
    /// Handles a request below `/cluster/`. `Ok`: the sender is a replica, whose connection is kept.
    pub(in crate::admin) async fn answer_peer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        end: &ConnectionEnd,
    ) -> Result<Response<String>, Response<String>> {
        self.hear_peer(request, from, end).await.map_err(Refusal::answer)
    }

    async fn hear_peer(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        end: &ConnectionEnd,
    ) -> Answer {
        guard::admit(self, request.method(), request.headers()).await?;
        if request.method() != Method::POST {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only POST"));
        }
        let Some(cluster) = &self.cluster else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "cluster.peers is not set here"));
        };
        end.renew();
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if Cluster::takes_long(path) {
            end.extend(ERASING);
        }
        let body = Limited::new(body, REQUEST_MAX).collect().await;
        let body = body.map_err(|error| Refusal::bad(error.to_string()))?.to_bytes();
        match cluster.answer(path, body, from, ERASING).await {
            Ok(text) => {
                let mut response = Response::new(text);
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                Ok(response)
            }
            Err((status, why)) => Err(Refusal::new(status, why)),
        }
    }
}
