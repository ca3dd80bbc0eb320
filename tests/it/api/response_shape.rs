//! Whether a client that worked yesterday works today.

use awqdeploy::domain::api::response_shape::{Changes, ResponseShapes};
use serde_json::{Value, json};

fn shapes(answers: &[Value]) -> ResponseShapes {
    let mut shapes = ResponseShapes::default();
    for answer in answers {
        shapes.see("chat", answer);
    }
    shapes
}

fn changes(before: Value, now: Value) -> Changes {
    shapes(&[now]).changes_from(&shapes(&[before]))
}

#[test]
fn what_it_says_is_no_matter() {
    let before = json!({ "choices": [{ "text": "a", "tokens": 1 }], "x": null });
    let now = json!({ "choices": [{ "text": "bcd", "tokens": 2.5 }, { "text": "", "tokens": 3 }], "x": "y" });
    assert_eq!(changes(before, now), Changes::default());
    // The fields of these are tokens.
    let before = json!({ "top_logprobs": [{ "a": -1.0 }], "prompt_logprobs": { "7": 1 } });
    assert_eq!(
        changes(before, json!({ "top_logprobs": [{ "b": -2.0 }], "prompt_logprobs": null })),
        Changes::default()
    );
}

#[test]
fn what_is_gone_or_retyped_breaks_clients() {
    let before = json!({ "error": { "code": 404, "param": null }, "id": "a", "list": [{ "n": 1 }] });
    let found = changes(before.clone(), json!({ "error": { "code": "404" }, "list": [{ "n": 1 }] }));
    assert_eq!(
        found.breaking,
        ["`error.code` of `chat` is string where it was number", "`id` is gone from `chat`"]
    );
    // An empty list has no fields to miss; a list that lost a field has.
    assert_eq!(
        changes(before.clone(), json!({ "error": { "code": 1 }, "id": "b", "list": [] })).breaking,
        [""; 0]
    );
    let lost = changes(before, json!({ "error": { "code": 1 }, "id": "b", "list": [{ "m": 1 }] }));
    assert_eq!(lost.breaking, ["`list[].n` is gone from `chat`"]);
    assert_eq!(lost.added, ["`list[].m` in `chat`"]);
}

#[test]
fn what_is_new_is_told() {
    let found = changes(json!({ "a": 1 }), json!({ "a": 1, "b": { "c": 2 } }));
    assert_eq!(found.breaking, [""; 0]);
    assert_eq!(found.added, ["`b` in `chat`", "`b.c` in `chat`"]);
}

#[test]
fn several_answers_make_one_shape() {
    let before = shapes(&[json!({ "a": 1 }), json!({ "a": null, "b": "x" })]);
    let now = shapes(&[json!({ "b": "y" }), json!({ "a": 2 })]);
    assert_eq!(now.changes_from(&before), Changes::default());
    // A kind that was not asked for this time tells nothing.
    assert_eq!(ResponseShapes::default().changes_from(&before), Changes::default());
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<ResponseShapes>(&text).unwrap(), before);
}
