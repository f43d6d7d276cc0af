//! What cannot be enforced is refused, with its place; and nothing takes for ever.

use serde_json::json;

use super::*;

fn refused(schema: Value) -> String {
    let constraint = Constraint::Json { schema: Some(schema) };
    compile(&constraint, Opening::Content)
        .expect_err("it cannot be enforced")
        .to_string()
}

#[test]
fn what_cannot_be_enforced_is_refused_by_its_place() {
    let within =
        |inner: Value| json!({"type": "object", "properties": {"a/b": {"type": "array", "items": inner}}});
    for (inner, place, problem) in [
        (json!({"not": {}}), "/not", "cannot be enforced"),
        (
            json!({"type": "array", "uniqueItems": true}),
            "/uniqueItems",
            "cannot be enforced",
        ),
        (
            json!({"type": "string", "format": "color"}),
            "/format",
            "expected one of date-time",
        ),
        (
            json!({"$ref": "http://example.com/x"}),
            "/$ref",
            "a reference into this schema",
        ),
        (
            json!({"type": "string", "maxLength": 3_000_000}),
            "/maxLength",
            "at most 20000",
        ),
        (json!(7), "", "expected a schema"),
        (json!({"type": "strin"}), "", "Invalid type"),
        (json!({"type": "string", "pattern": "("}), "", "regex"),
        (json!({"$ref": "#/$defs/missing"}), "", "missing"),
    ] {
        let message = refused(within(inner.clone()));
        let expected = format!("schema/properties/a~1b/items{place}: ");
        assert!(message.starts_with(&expected), "{inner}: {message}");
        assert!(message.contains(problem), "{inner}: {message}");
    }
}

#[test]
fn too_much_is_refused() {
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(refused(deep).contains("levels of schemas"));
    let many: Vec<Value> = (0..30_000).map(|_| json!({"type": "null"})).collect();
    assert!(refused(json!({"anyOf": many})).contains("schemas"));
    let long = Constraint::Regex("a".repeat(2 << 20));
    let error = compile(&long, Opening::Content).unwrap_err();
    assert!(
        matches!(error, GrammarError::TooLarge { what: "bytes", .. }),
        "{error}"
    );
}

#[test]
fn what_explodes_is_refused_or_ends_with_an_error() {
    let nested = (0..12).fold("a".to_owned(), |regex, _| format!("({regex}{{0,40}}b?){{0,40}}"));
    for constraint in [
        Constraint::Regex(nested),
        Constraint::Regex(r"(.*a.{200}b.*){20}".to_owned()),
        Constraint::Lark("start: start start | \"a\" | start \"b\"\n".to_owned()),
        Constraint::Lark("start: a\na: b\nb: a".to_owned()),
        Constraint::Lark(String::new()),
        Constraint::Lark("start: missing".to_owned()),
        Constraint::Regex(String::new()),
        Constraint::Regex("(?!a)b".to_owned()),
    ] {
        let Ok(grammar) = compile(&constraint, Opening::Content) else {
            continue;
        };
        let mut guide = grammar.guide();
        let mut writer = Writer::new(1);
        for position in 0..100 {
            let logits = writer.logits();
            let Ok(allowed) = guide.allowed() else { break };
            let token = writer.sampler.sample_from(&logits, position, allowed).unwrap();
            if guide.accept(token).is_err() || token == TOKENIZER.eos_id() {
                break;
            }
        }
    }
}

#[test]
fn control_tokens_are_not_for_grammars() {
    let lark = Constraint::Lark("start: \"a\"\n  | <[1]>".to_owned());
    let error = compile(&lark, Opening::Content).unwrap_err().to_string();
    assert!(
        error.starts_with("grammar, line 2 of the grammar: control tokens"),
        "{error}"
    );
    // Nor does any text spell one.
    let anything = compile(&Constraint::Regex("(?s:.*)".to_owned()), Opening::Content).unwrap();
    let mut guide = anything.guide();
    let allowed = guide.allowed().unwrap();
    let added: Vec<u32> = (0..VOCAB_SIZE as u32)
        .filter(|&id| allowed.has(id) && (TOKENIZER.is_added(id) || id as usize >= TOKENIZER.vocab_size()))
        .collect();
    assert_eq!(added, [TOKENIZER.eos_id()]);
}

#[test]
fn a_prompt_that_opens_calls_is_for_calls_only() {
    let error = compile(&Constraint::Json { schema: None }, Opening::ToolCalls).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt opens a tool-call block, which JSON cannot continue"
    );
}

#[test]
fn what_nothing_can_satisfy_is_refused() {
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 1}}});
    let message = refused(schema);
    assert!(
        message.starts_with("schema/properties/a: ") && message.contains("minimum"),
        "{message}"
    );
    assert!(refused(json!(false)).starts_with("schema: "));
}
