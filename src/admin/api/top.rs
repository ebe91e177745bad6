//! `GET /api/v1/top`: the hottest names of a kind.
//!
//! Query: `of`, `by` and `limit`, each with a default.

use hyper::StatusCode;

use super::answer::{Answer, Refusal, json};
use super::state::Api;
use crate::inspect::{By, Kind};
use crate::s3::Query;

/// Default number of names in a response.
const LIMIT: usize = 20;
/// Maximum number of names in a response.
const LIMIT_MAX: usize = 256;

pub(super) fn top(api: &Api, query: Option<&str>) -> Answer {
    let query = Query::parse(query.unwrap_or_default())
        .map_err(|error| Refusal::bad(error.message.into_owned()))?;
    if let Some((name, _)) = query.iter().find(|(name, _)| !matches!(*name, "of" | "by" | "limit"))
    {
        return Err(Refusal::bad(format!("{name}: there are only of, by and limit")));
    }
    let of = choice("of", query.get("of"), &Kind::ALL, Kind::label)?;
    let by = choice("by", query.get("by"), &By::ALL, By::label)?;
    let limit = match query.get("limit").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit @ 1..=LIMIT_MAX)) => limit,
        Some(_) => {
            return Err(Refusal::bad(format!("limit: it is a number from 1 to {LIMIT_MAX}")));
        }
    };
    Ok(json(StatusCode::OK, &api.inspect.hottest.top(of, by, limit)))
}

/// Returns the requested choice, or the first.
fn choice<T: Copy>(
    name: &str,
    asked: Option<&str>,
    all: &[T],
    label: fn(T) -> &'static str,
) -> Result<T, Refusal> {
    let Some(asked) = asked else { return Ok(all[0]) };
    all.iter().copied().find(|value| label(*value) == asked).ok_or_else(|| {
        let all: Vec<_> = all.iter().copied().map(label).collect();
        Refusal::bad(format!("{name}: `{asked}` is none of {}", all.join(", ")))
    })
}
