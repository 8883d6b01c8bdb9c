//! `/docs` (Swagger UI) and `/redoc`: pages whose scripts come from this binary, from nowhere else.
//!
//! What a page names is relative to the page, because a custom domain's mapping or a proxy may put
//! something before the path.

use std::io::Read;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;

use crate::problem::Problem;

/// Nothing from other origins, no script in the page itself. Both pages set styles from their scripts.
const SWAGGER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// Redoc searches in a worker that it makes itself.
const REDOC_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; worker-src blob:; form-action 'none'; base-uri 'none'; \
     frame-ancestors 'none'";

const SWAGGER_PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Outbound calls – API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;

const SWAGGER_START: &str = r"window.ui = SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
";

const REDOC_PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Outbound calls – API reference</title>
<link rel="icon" type="image/png" href="docs/favicon.png">
<link rel="stylesheet" href="redoc/page.css">
</head>
<body>
<div id="redoc"></div>
<script src="redoc/redoc.standalone.js"></script>
<script src="redoc/start.js"></script>
</body>
</html>
"#;

const REDOC_STYLE: &str = "body { margin: 0; }\n";

const REDOC_START: &str = "Redoc.init('openapi.json', { expandResponses: '200,202', nativeScrollbars: true }, \
     document.getElementById('redoc'));\n";

/// A file of a page.
struct Asset {
    content_type: &'static str,
    body: Body,
}

#[derive(Clone, Copy)]
enum Body {
    Plain(&'static [u8]),
    Gzip(&'static [u8]),
}

fn asset(page: &str, name: &str) -> Option<Asset> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    let (content_type, body) = match (page, name) {
        ("docs", "start.js") => (SCRIPT, Body::Plain(SWAGGER_START.as_bytes())),
        ("docs", "swagger-ui-bundle.js") => (
            SCRIPT,
            Body::Gzip(include_bytes!("../assets/swagger-ui-bundle.js.gz")),
        ),
        ("docs", "swagger-ui.css") => (
            STYLE,
            Body::Gzip(include_bytes!("../assets/swagger-ui.css.gz")),
        ),
        ("docs", "favicon.png") => (
            "image/png",
            Body::Plain(include_bytes!("../assets/favicon.png")),
        ),
        ("redoc", "start.js") => (SCRIPT, Body::Plain(REDOC_START.as_bytes())),
        ("redoc", "page.css") => (STYLE, Body::Plain(REDOC_STYLE.as_bytes())),
        ("redoc", "redoc.standalone.js") => (
            SCRIPT,
            Body::Gzip(include_bytes!("../assets/redoc.standalone.js.gz")),
        ),
        _ => return None,
    };
    Some(Asset { content_type, body })
}

/// Handles `GET /docs`.
pub async fn read_docs() -> Response {
    page(SWAGGER_PAGE, SWAGGER_POLICY)
}

/// Handles `GET /redoc`.
pub async fn read_redoc() -> Response {
    page(REDOC_PAGE, REDOC_POLICY)
}

/// Handles `GET /docs/{file}`.
///
/// # Errors
/// 404 if there is no such file.
pub async fn read_docs_file(
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    file("docs", &name, &headers)
}

/// Handles `GET /redoc/{file}`.
///
/// # Errors
/// 404 if there is no such file.
pub async fn read_redoc_file(
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    file("redoc", &name, &headers)
}

fn page(html: &'static str, policy: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, html).into_response()
}

fn file(page: &str, name: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let Asset { content_type, body } = asset(page, name).ok_or_else(Problem::route_not_found)?;
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=86400"),
        (header::VARY, "accept-encoding"),
    ];
    let takes_gzip = asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("gzip"));
    Ok(match body {
        Body::Plain(bytes) => (headers, bytes).into_response(),
        Body::Gzip(bytes) if takes_gzip => {
            let mut response = (headers, bytes).into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        Body::Gzip(bytes) => {
            let mut plain = Vec::new();
            // Our own bytes: a test reads each of them.
            GzDecoder::new(bytes)
                .read_to_end(&mut plain)
                .map_err(|_| Problem::internal())?;
            (headers, plain).into_response()
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn every_file_that_a_page_names_is_there_packed_or_not() {
        let mut gzip = HeaderMap::new();
        gzip.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("br, gzip"),
        );
        for html in [SWAGGER_PAGE, REDOC_PAGE] {
            let named: Vec<_> = html
                .split('"')
                .filter(|part| part.starts_with("docs/") || part.starts_with("redoc/"))
                .collect();
            assert!(named.len() >= 4, "{named:?}");
            assert!(!html.contains("=\"/"), "a path that a mapping breaks");
            for path in named {
                let (page, name) = path.split_once('/').unwrap();
                for asked in [&gzip, &HeaderMap::new()] {
                    let response = file(page, name, asked).unwrap();
                    assert_eq!(response.status(), StatusCode::OK, "{path}");
                }
            }
        }
        assert!(file("docs", "../etc/passwd", &gzip).is_err());
    }
}
