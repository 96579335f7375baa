//! The control room in a real browser, as somebody in front of it sees and uses it.

use std::path::Path;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use stack::servers::Browser;

use crate::support::fragile::blocking;
use crate::support::{DEADLINE, Orders, eventually};

pub struct Page {
    pub client: Client,
    http: reqwest::Client,
    browser: Browser,
}

/// What the page is looked at with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Desk,
    /// 390 pixels wide.
    Phone,
}

impl Page {
    pub async fn open(orders: &Orders, directory: &Path, device: Device) -> Self {
        let browser = blocking(|| Browser::start(directory));
        let mut arguments =
            vec!["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1950"];
        // The screenshots are to look the same everywhere.
        arguments.extend(["--hide-scrollbars", "--force-device-scale-factor=1", "--lang=en"]);
        let mut options = json!({ "args": arguments });
        if device == Device::Phone {
            options["mobileEmulation"] =
                json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 1.0 } });
        }
        let capabilities = [
            ("goog:chromeOptions".to_owned(), options),
            ("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" })),
        ];
        let (capabilities, mut builder) =
            (capabilities.into_iter().collect(), ClientBuilder::new(HttpConnector::new()));
        let client = builder.capabilities(capabilities).connect(&browser.url()).await.unwrap();
        client.goto(&orders.url("/dashboard")).await.unwrap();
        Self { client, http: stack::http_client().build().unwrap(), browser }
    }

    pub async fn all(&self, css: &str) -> Vec<Element> {
        self.client.find_all(Locator::Css(css)).await.unwrap()
    }

    /// The text of the first element that matches, as it is seen; `None` when there is none, or it has just gone.
    pub async fn text(&self, css: &str) -> Option<String> {
        self.client.find(Locator::Css(css)).await.ok()?.text().await.ok()
    }

    /// Waits until the text is so, and returns it.
    pub async fn shows(&self, css: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut last = None;
        let shown = async {
            loop {
                last = self.text(css).await;
                if let Some(text) = last.as_deref().filter(|text| is_so(text)) {
                    return text.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, shown).await {
            Ok(text) => text,
            Err(_) => panic!("{css} still shows {last:?}"),
        }
    }

    pub async fn reads(&self, css: &str, text: &str) {
        self.shows(css, |shown| shown == text).await;
    }

    /// A number as people write it.
    pub async fn number(&self, css: &str) -> Option<f64> {
        self.text(css).await?.replace(',', "").split(' ').next()?.parse().ok()
    }

    pub async fn number_exceeds(&self, css: &str, least: f64) -> f64 {
        eventually(&format!("{css} exceeds {least}"), async || {
            self.number(css).await.filter(|number| *number > least)
        })
        .await
    }

    pub async fn click(&self, css: &str) {
        self.client.wait().for_element(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    pub async fn evaluate(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What the browser itself had to complain of: failing scripts, refused content.
    pub async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.browser.url());
        let answer = self.http.post(url).json(&json!({ "type": "browser" })).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let log: Value = serde_json::from_str(&text).unwrap();
        let entries = log["value"].as_array().unwrap().iter();
        entries
            .filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG")
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub async fn screenshot(&self, file: &Path) {
        std::fs::write(file, self.client.screenshot().await.unwrap()).unwrap();
    }
}
