//! Control messages for an event stream, sent to its session.

use serde_json::{Value, json};

use crate::helpers::{ApiClient, EventStream, spawn_app, spawn_app_with_tokens, token, token_for};

async fn session_of(stream: &mut EventStream) -> String {
    stream.next_of("connected").await.data()["session"].as_str().unwrap().to_owned()
}

async fn tell(visitor: &ApiClient, session: &str, message: Value) -> (u16, Value) {
    let answer = visitor.post(&format!("/api/sessions/{session}"), message.to_string()).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_stream_is_changed_without_a_reconnect() {
    let app = spawn_app();
    app.push_value("a", json!({"n": 1})).await;
    app.push_value("b", json!({"n": 1})).await;
    let mut stream = app.events("?channels=a").await;
    let session = session_of(&mut stream).await;
    assert_eq!(stream.next_of("metric").await.data()["channel"], "a");

    let (status, answer) =
        tell(&app, &session, json!({"type": "subscribe", "requestId": 7, "channels": ["b", "c d"]})).await;
    assert_eq!((status, &answer["type"], &answer["requestId"]), (200, &json!("subscribed"), &json!(7)));
    assert_eq!((&answer["channels"][0]["status"], &answer["activeSubscriptions"]), (&json!("active"), &json!(2)));
    assert_eq!(answer["channels"][1]["code"], "INVALID_MESSAGE");
    assert_eq!(stream.next_of("metric").await.data()["channel"], "b", "its value is sent at once");

    assert_eq!(tell(&app, &session, json!({"type": "pause", "channel": "a"})).await.1["type"], "paused");
    app.push_value("a", json!({"n": 2})).await;
    app.push_value("b", json!({"n": 2})).await;
    assert_eq!(stream.next_of("metric").await.data()["channel"], "b", "a is unsubscribed");
    assert_eq!(tell(&app, &session, json!({"type": "resume", "channel": "a"})).await.1["type"], "resumed");
    assert_eq!(stream.next_of("metric").await.data()["data"]["n"], 2);

    assert_eq!(tell(&app, &session, json!({"type": "unsubscribe", "channel": "b"})).await.1["activeSubscriptions"], 1);
    let (status, problem) = tell(&app, &session, json!({"type": "unsubscribe", "channel": "b"})).await;
    assert_eq!((status, &problem["code"]), (404, &json!("RESOURCE_NOT_FOUND")));
}

#[tokio::test]
async fn meaningless_messages_are_refused() {
    let app = spawn_app();
    let mut stream = app.events("").await;
    let session = session_of(&mut stream).await;
    assert_eq!(tell(&app, &session, json!({"type": "ping"})).await.0, 400);
    assert_eq!(tell(&app, &session, json!({"type": "dance"})).await.0, 400);
    assert_eq!(tell(&app, "made-up", json!({"type": "pause", "channel": "a"})).await.0, 404);
    assert_eq!(app.get(&format!("/api/sessions/{session}")).await.status(), 405);
    drop(stream);
    crate::helpers::until("the session to end", || async {
        (tell(&app, &session, json!({"type": "pause", "channel": "metrics"})).await.0 == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_user_of_a_session_may_control_it() {
    let app = spawn_app_with_tokens(|_| {});
    let ada = app.with(token("ada", "acme", &["read:metrics"]));
    let mut stream = ada.events("").await;
    let session = session_of(&mut stream).await;
    let message = json!({"type": "subscribe", "channel": "a"});
    for (user, tenant) in [("bob", "acme"), ("ada", "other")] {
        let stranger = app.with(token(user, tenant, &["admin"]));
        assert_eq!(tell(&stranger, &session, message.clone()).await.0, 404, "{user} of {tenant}");
    }
    assert_eq!(tell(&app, &session, message.clone()).await.0, 401);
    assert_eq!(tell(&ada, &session, message).await.0, 200);
    let (_, answer) = tell(&ada, &session, json!({"type": "subscribe", "channel": "orders"})).await;
    assert_eq!(answer["channels"][0]["code"], "FORBIDDEN");
}

#[tokio::test]
async fn a_stream_continues_with_a_refreshed_token() {
    let app = spawn_app_with_tokens(|_| {});
    let short = token_for("ada", "acme", &["read:metrics", "write:metrics"], std::time::Duration::from_secs(5));
    let ada = app.with(short);
    let mut stream = ada.events("?channels=a").await;
    let mut not_refreshed = ada.events("?channels=a").await;
    let session = session_of(&mut stream).await;
    let (status, problem) =
        tell(&ada, &session, json!({"type": "refresh_token", "token": token("bob", "acme", &["admin"])})).await;
    assert_eq!((status, &problem["code"]), (403, &json!("FORBIDDEN")));
    let newer = token("ada", "acme", &["read:metrics", "write:metrics"]);
    let (status, answer) = tell(&ada, &session, json!({"type": "refresh_token", "token": newer})).await;
    assert_eq!((status, &answer["type"]), (200, &json!("token_refreshed")));
    assert_eq!(not_refreshed.next_of("error").await.data()["status"], 401, "the first token has expired");
    app.with(newer).push_value("a", json!({"n": 1})).await;
    loop {
        let event = stream.next().await.unwrap();
        assert_ne!(event.name, "error");
        if event.name == "metric" {
            break;
        }
    }
}
