//! The documentation's pages in a real browser.

use std::sync::Arc;

use e2e::browser::Browser;
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use serde_json::json;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("pages::a_request_is_tried_out_from_swagger_ui", swagger);
    suite.add(
        "pages::a_call_is_tried_out_as_the_page_fills_it_in",
        filled_in,
    );
    suite.add(
        "pages::they_work_below_the_mapping_of_a_custom_domain",
        below_a_mapping,
    );
    suite.add("pages::redoc_shows_the_document", redoc);
}

async fn swagger(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    try_out(&world, &api, "").await;
}

async fn below_a_mapping(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api_below(Line::Trunk, "/voice").await;
    try_out(&world, &api, "/voice").await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/voice/redoc", api.base())).await;
    let shown = "document.querySelector('h1') && document.body.innerText.includes('Place a call')";
    browser.wait_for(shown).await;
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:#?}");
    browser.stop().await;
}

/// Reads a call's status with Swagger UI.
async fn try_out(world: &World, api: &Client, prefix: &str) {
    let placing = world.api(Line::Trunk).await;
    let id = placing.place(&number("200"), json!({})).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}{prefix}/docs", api.base())).await;

    browser.click("button.authorize").await;
    browser
        .type_into(".auth-container input[type=text]", api.token())
        .await;
    browser
        .click(".auth-btn-wrapper button.authorize[type=submit]")
        .await;
    browser.click(".auth-btn-wrapper button.btn-done").await;

    let operation = "#operations-calls-read_call";
    browser
        .click(&format!("{operation} .opblock-summary-control"))
        .await;
    browser
        .click(&format!("{operation} button.try-out__btn"))
        .await;
    browser
        .type_into(&format!("{operation} .parameters input[type=text]"), &id)
        .await;
    browser.click(&format!("{operation} button.execute")).await;
    let live = format!("document.querySelector('{operation} .live-responses-table')");
    browser
        .wait_for(&format!("{live} && {live}.innerText.includes('{id}')"))
        .await;
    let shown = browser.evaluate(&format!("{live}.innerText")).await;
    let shown = shown.as_str().unwrap();
    assert!(
        shown.contains("200") && shown.contains("\"pending\""),
        "{shown}"
    );
    if prefix.is_empty() {
        browser.screenshot("swagger").await;
    }
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:#?}");
    browser.stop().await;
}

async fn filled_in(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/docs", api.base())).await;
    browser.click("button.authorize").await;
    browser
        .type_into(".auth-container input[type=text]", api.token())
        .await;
    browser
        .click(".auth-btn-wrapper button.authorize[type=submit]")
        .await;
    browser.click(".auth-btn-wrapper button.btn-done").await;
    for operation in ["create_call", "create_interaction"] {
        let operation = format!("#operations-calls-{operation}");
        browser
            .click(&format!("{operation} .opblock-summary-control"))
            .await;
        browser
            .click(&format!("{operation} button.try-out__btn"))
            .await;
        browser.click(&format!("{operation} button.execute")).await;
        let live = format!("document.querySelector('{operation} .live-responses-table')");
        browser
            .wait_for(&format!("{live} && {live}.innerText.includes('success')"))
            .await;
    }
    // It is filled in so that nobody's phone rings.
    assert_eq!(world.queued().await, 0);
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:#?}");
    browser.stop().await;
}

async fn redoc(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/redoc", api.base())).await;
    browser
        .wait_for(
            "document.querySelector('h1') && document.body.innerText.includes('Place a call')",
        )
        .await;
    // The search works in a worker, which the policy has to allow.
    browser.type_into("input[type=text]", "hang").await;
    browser
        .wait_for("document.querySelector('[data-role=\"search:results\"]')")
        .await;
    browser.screenshot("redoc").await;
    let errors = browser.errors().await;
    assert!(errors.is_empty(), "{errors:#?}");
    browser.stop().await;
}
