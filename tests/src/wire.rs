//! HTTP requests as they are on the wire, and their answers. A client library would encode a path,
//! join headers or refuse a query before a server sees them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// A request.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// The method.
    pub method: String,
    /// The path, and the query behind a `?` if there is one, encoded as they are sent.
    pub target: String,
    /// Headers in their order; a name may be there more than once.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct WireAnswer {
    /// The status.
    pub status: u16,
    /// Headers by their names in lower case; the values of a repeated one are joined.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl WireRequest {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The request with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Sends it to the server at `base` (`http://host:port`, and perhaps a path that comes first).
    pub async fn send(&self, base: &str) -> WireAnswer {
        let rest = base.strip_prefix("http://").expect("a plain URL");
        let (host, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let mut lines = vec![
            format!("{} {prefix}{} HTTP/1.1", self.method, self.target),
            format!("host: {host}"),
            "connection: close".to_owned(),
        ];
        let headers = self.headers.iter();
        lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
        if !self.body.is_empty() || self.method == "POST" {
            lines.push(format!("content-length: {}", self.body.len()));
        }
        let head = lines.join("\r\n") + "\r\n\r\n";
        let exchange = async {
            let mut stream = TcpStream::connect(host).await.expect("a server");
            // A server may answer, and close, before it has read all of a body that is too large.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&self.body).await;
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
            received
        };
        let received = timeout(PATIENCE, exchange).await;
        let received = received.unwrap_or_else(|_| panic!("no answer to {self:?}"));
        WireAnswer::read(&received).unwrap_or_else(|| panic!("no answer to {self:?}"))
    }
}

impl WireAnswer {
    fn read(received: &[u8]) -> Option<Self> {
        let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&received[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let before = headers.entry(name.to_ascii_lowercase()).or_default();
            if !before.is_empty() {
                before.push_str(", ");
            }
            before.push_str(value.trim());
        }
        let rest = &received[end + 4..];
        let chunked = headers.get("transfer-encoding").map(String::as_str) == Some("chunked");
        let body = if chunked {
            unchunk(rest)?
        } else {
            rest.to_vec()
        };
        Some(Self {
            status,
            headers,
            body,
        })
    }

    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
