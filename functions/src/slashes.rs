//! Slashes at the end of a path, which clients of the old service may send: it redirected them.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::Next;
use axum::response::Response;

/// Takes the slashes at the end of the path away, before the request is routed.
pub async fn trim(mut request: Request, next: Next) -> Response {
    if let Some(trimmed) = trimmed(request.uri()) {
        *request.uri_mut() = trimmed;
    }
    next.run(request).await
}

/// The URI without slashes at the end of its path, unless it has none there, or nothing else.
fn trimmed(uri: &Uri) -> Option<Uri> {
    let path = uri.path().trim_end_matches('/');
    if path.is_empty() || path.len() == uri.path().len() {
        return None;
    }
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slashes_at_the_end_of_the_path_go() {
        for (given, wanted) in [
            ("/api/v2/calls/", "/api/v2/calls"),
            ("/api/v2/calls//", "/api/v2/calls"),
            ("/api/v2/calls/?a=/", "/api/v2/calls?a=/"),
            ("/calls/?", "/calls?"),
            ("/interaction/+1555%2F/", "/interaction/+1555%2F"),
            ("http://host/calls/", "http://host/calls"),
        ] {
            let trimmed = trimmed(&given.parse().unwrap()).unwrap();
            assert_eq!(trimmed.to_string(), wanted);
        }
        for same in [
            "/",
            "//",
            "/?a=b/",
            "/calls",
            "/calls?a=b/",
            "http://host/",
            "*",
        ] {
            assert_eq!(trimmed(&same.parse().unwrap()), None, "{same}");
        }
    }
}
