//! Errors of pingora that end a request.

use pingora::{Error, ErrorSource, ErrorType};

/// Makes an error for a client whose body or headers do not match what they announce.
pub(in crate::proxy) fn bad_request(why: &dyn std::fmt::Display) -> Box<Error> {
    let mut error = Error::explain(ErrorType::HTTPStatus(400), why.to_string());
    error.esource = ErrorSource::Downstream;
    error
}
