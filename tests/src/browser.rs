//! Headless Chromium, spoken to over `WebDriver` (W3C).

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::ports::free_tcp;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// The key of an element's id in `WebDriver`'s JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    http: Client,
    session: String,
    process: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts chromedriver, and Chromium with it.
    ///
    /// # Panics
    /// If they are not installed (Debian: chromium, chromium-driver), or do not start.
    pub async fn start() -> Self {
        let port = free_tcp();
        let profile = tempfile::tempdir().expect("a temporary folder");
        let process = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "chromedriver",
                &format!("--port={port}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver (apt-get install chromium-driver)");
        let http = Client::builder()
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        let base = format!("http://127.0.0.1:{port}");
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--window-size=1280,1600".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let begun = Instant::now();
        let session = loop {
            let request = http.post(format!("{base}/session")).json(&wanted);
            if let Ok(response) = request.send().await {
                let body: Value = response.json().await.expect("WebDriver's JSON");
                let id = body["value"]["sessionId"].as_str();
                break format!("{base}/session/{}", id.expect("a session"));
            }
            assert!(begun.elapsed() < PATIENCE, "chromedriver does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Self {
            http,
            session,
            process,
            _profile: profile,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.session));
        let request = if method == Method::GET {
            request
        } else {
            request.json(body)
        };
        let response = request.send().await.expect("an answer");
        let good = response.status().is_success();
        let mut body: Value = response.json().await.expect("WebDriver's JSON");
        if good {
            Ok(body["value"].take())
        } else {
            Err(body["value"].to_string())
        }
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        let opened = self.ask(Method::POST, "/url", &json!({"url": url})).await;
        opened.expect("the page opens");
    }

    /// Waits for the first element that the CSS selector finds, and then until `done` with it succeeds.
    async fn with_element(&self, css: &str, path: &str, body: &Value) {
        let begun = Instant::now();
        loop {
            let find = json!({"using": "css selector", "value": css});
            let problem = match self.ask(Method::POST, "/element", &find).await {
                Ok(element) => {
                    let id = element[ELEMENT].as_str().expect("an element's id");
                    let path = format!("/element/{id}{path}");
                    match self.ask(Method::POST, &path, body).await {
                        Ok(_) => return,
                        Err(problem) => problem,
                    }
                }
                Err(problem) => problem,
            };
            assert!(begun.elapsed() < PATIENCE, "{css}: {problem}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks an element as soon as it can be.
    pub async fn click(&self, css: &str) {
        self.with_element(css, "/click", &json!({})).await;
    }

    /// Types into an element as soon as it can be.
    pub async fn type_into(&self, css: &str, text: &str) {
        self.with_element(css, "/value", &json!({"text": text}))
            .await;
    }

    /// Waits until a JavaScript expression is true.
    pub async fn wait_for(&self, expression: &str) {
        let script = json!({"script": format!("return Boolean({expression})"), "args": []});
        let begun = Instant::now();
        while self.ask(Method::POST, "/execute/sync", &script).await != Ok(json!(true)) {
            if begun.elapsed() >= PATIENCE {
                let errors = self.errors().await;
                panic!("never true: {expression}; the console says {errors:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The value of a JavaScript expression.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let script = json!({"script": format!("return {expression}"), "args": []});
        let value = self.ask(Method::POST, "/execute/sync", &script).await;
        value.expect("a value")
    }

    /// What the console has said since the last look that is a warning or worse.
    pub async fn errors(&self) -> Vec<String> {
        let log = self
            .ask(Method::POST, "/se/log", &json!({"type": "browser"}))
            .await
            .expect("the console's log");
        let entries = log.as_array().expect("entries").iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Saves a picture of the window where `E2E_SCREENSHOTS` says, if it does.
    pub async fn screenshot(&self, name: &str) {
        let Some(folder) = std::env::var_os("E2E_SCREENSHOTS") else {
            return;
        };
        let picture = self.ask(Method::GET, "/screenshot", &Value::Null).await;
        let picture = picture.expect("a picture");
        let bytes = STANDARD
            .decode(picture.as_str().expect("base64"))
            .expect("base64");
        let path = std::path::Path::new(&folder).join(format!("{name}.png"));
        fs::write(path, bytes).expect("the folder of E2E_SCREENSHOTS");
    }

    /// Ends the browser.
    pub async fn stop(self) {
        let _ = self
            .http
            .delete(&self.session)
            .send()
            .await
            .map(|response| response.status());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
