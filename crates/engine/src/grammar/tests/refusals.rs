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

#[test]
fn loosely_as_much_of_a_schema_is_enforced_as_can_be() {
    let schema = json!({
        "type": "object", "required": ["a", "b"], "additionalProperties": false, "not": {"required": ["c"]},
        "properties": {
            "a": {"type": "array", "items": {"type": "integer"}, "uniqueItems": true, "maxItems": 3},
            "b": {"oneOf": [{"type": "string", "format": "color"}, {"type": "string", "maxLength": 3}]},
        },
    });
    let enforced = json!({
        "type": "object", "required": ["a", "b"], "additionalProperties": false,
        "properties": {"a": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}, "b": {"type": "string"}},
    });
    for (schema, enforced) in [
        (schema, enforced),
        (
            json!({"type": "integer", "minimum": 5, "maximum": 1}),
            json!({"type": "integer"}),
        ),
        (json!(7), json!(true)),
        (json!({"type": "thing"}), json!(true)),
        (json!({"$ref": "elsewhere"}), json!(true)),
    ] {
        let grammar = compile(&Constraint::LooseJson { schema }, Opening::Content).unwrap();
        for seed in 1..6 {
            let (tokens, done) = Writer::new(seed).write(&grammar, 100);
            if done {
                is_valid(&enforced, &text(&tokens)).unwrap();
            }
        }
    }
}

/// Any JSON, with the keywords of schemas in it.
fn anything(random: &mut Random, depth: usize) -> Value {
    const KEYWORDS: [&str; 24] = [
        "type",
        "properties",
        "items",
        "required",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "multipleOf",
        "minLength",
        "maxItems",
        "additionalProperties",
        "patternProperties",
        "prefixItems",
        "x-guidance",
        "x-root",
    ];
    const STRINGS: [&str; 12] = [
        "object",
        "string",
        "integer",
        "array",
        "#",
        "#/$defs/a",
        "#/x-root",
        "^a",
        "(",
        "ipv4",
        "",
        "\u{0}\u{7f}\"\\",
    ];
    match random.below(if depth == 0 { 4 } else { 7 }) {
        0 => json!(random.chance(50)),
        1 => json!([0.5, -1.0, 3.0, 1e300, 0.0][random.below(5)]),
        2 => json!(STRINGS[random.below(STRINGS.len())]),
        3 => Value::Null,
        4 => (0..random.below(4))
            .map(|_| anything(random, depth - 1))
            .collect(),
        _ => {
            let entry = |random: &mut Random| {
                let keyword = KEYWORDS[random.below(KEYWORDS.len())].to_owned();
                let value = match keyword.as_str() {
                    "type" => json!(STRINGS[random.below(4)]),
                    _ => anything(random, depth - 1),
                };
                (keyword, value)
            };
            (0..random.below(5)).map(|_| entry(random)).collect()
        }
    }
}

#[test]
fn whatever_it_is_given_it_compiles_or_says_why_not() {
    let (mut compiled, mut refused) = (0, 0);
    for seed in 0..600 {
        let schema = anything(&mut Random::new(seed), 5);
        let arguments = |strict| Constraint::Tools {
            tools: vec![ToolRule {
                name: "f".to_owned(),
                body: ToolBody::Arguments {
                    schema: Some(schema.clone()),
                    strict,
                },
            }],
            required: true,
            parallel: true,
        };
        let json = Constraint::Json {
            schema: Some(schema.clone()),
        };
        for (constraint, opening) in [(json, Opening::Content), (arguments(true), Opening::ToolCalls)] {
            match compile(&constraint, opening) {
                Ok(_) => compiled += 1,
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().contains("panic"), "{schema}: {error}");
                }
            }
        }
        let lenient = compile(&arguments(false), Opening::ToolCalls);
        assert!(lenient.is_ok(), "{schema}: {}", lenient.unwrap_err());
        let loose = Constraint::LooseJson { schema };
        assert!(compile(&loose, Opening::Content).is_ok(), "{loose:?}");
    }
    assert!(compiled > 100 && refused > 100, "{compiled} {refused}");
}

fn arguments(schema: Value) -> Result<Grammar, GrammarError> {
    let body = ToolBody::Arguments {
        schema: Some(schema),
        strict: true,
    };
    let tools = vec![ToolRule {
        name: "f".to_owned(),
        body,
    }];
    let constraint = Constraint::Tools {
        tools,
        required: true,
        parallel: true,
    };
    compile(&constraint, Opening::ToolCalls)
}

#[test]
fn references_that_stand_for_very_much_are_refused() {
    // Ten options, each of which has ten, and so on.
    let definitions: serde_json::Map<String, Value> = (0..8)
        .map(|level| {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            (format!("d{level}"), json!({"anyOf": vec![next; 10]}))
        })
        .chain([("d8".to_owned(), json!({"type": "string"}))])
        .collect();
    let deep = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions});
    let message = arguments(deep).unwrap_err().to_string();
    assert!(message.contains("once references are followed"), "{message}");
    // Many properties that refer to one large definition.
    let large: Vec<Value> = (0..20_000).map(|n| json!(format!("value {n}"))).collect();
    let properties: serde_json::Map<String, Value> = (0..2_000)
        .map(|n| (format!("p{n}"), json!({"$ref": "#/$defs/large"})))
        .collect();
    let wide = json!({"type": "object", "properties": properties, "$defs": {"large": {"enum": large}}});
    let message = arguments(wide).unwrap_err().to_string();
    assert!(message.contains("once references are followed"), "{message}");
}

#[test]
fn arguments_as_a_whole_are_an_object() {
    for (schema, expected) in [
        (json!({"type": "array"}), "tools/0 (f)/type: found \"array\""),
        (json!({"anyOf": [{}]}), "tools/0 (f)/anyOf: not possible"),
        (json!({"$ref": "#"}), "tools/0 (f): the reference leads nowhere"),
        (
            json!({"properties": {"a\"b": {}}}),
            "tools/0 (f)/properties/a\"b: the name",
        ),
        (
            json!({"properties": {"a": {"not": {}}}}),
            "tools/0 (f)/properties/a/not: ",
        ),
    ] {
        let message = arguments(schema).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}
