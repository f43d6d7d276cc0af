//! Texts: JSON, regular expressions, Lark.

use serde_json::json;

use super::*;

/// Schemas that use each keyword of the strict dialect, and more.
pub(super) fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
               "required": ["a", "b"], "additionalProperties": false}),
        json!({"type": "array", "items": {"type": "boolean"}}),
        json!({"type": "string", "pattern": "^[a-c]+x?$"}),
        json!({"type": "string", "pattern": "b/\\d"}),
        json!({"type": "string", "format": "email"}),
        json!({"type": "string", "format": "hostname"}),
        json!({"type": "string", "format": "ipv4"}),
        json!({"type": "string", "format": "ipv6"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "minLength": 2, "maxLength": 5}),
        json!({"enum": ["a", "b\"\\\n", 3, null, {"x": [1]}]}),
        json!({"const": "only / this"}),
        json!({"type": "integer", "minimum": -3, "maximum": 12}),
        json!({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 8}),
        json!({"type": "number", "minimum": 0.5, "exclusiveMaximum": 2}),
        json!({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1000}),
        json!({"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 3}]}),
        json!({"type": ["string", "null"]}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": {
            "type": "object", "additionalProperties": false, "required": ["name", "children"],
            "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        }}}),
        json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
               "required": ["next"], "additionalProperties": false}),
        json!({"$ref": "#/$def/n", "$def": {"n": {"type": "integer"}}}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}),
        json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                         {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}]}),
        json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false, "minItems": 2}),
        json!({"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": false}),
        json!({"description": "anything"}),
        json!(true),
    ]
}

#[test]
fn json_is_always_valid() {
    let mut ended = 0;
    for schema in schemas() {
        let grammar = compile(
            &Constraint::Json {
                schema: Some(schema.clone()),
            },
            Opening::Content,
        )
        .unwrap_or_else(|error| panic!("{schema}: {error}"));
        for seed in 1..9 {
            let (tokens, done) = Writer::new(seed).write(&grammar, 300);
            if done {
                ended += 1;
                is_valid(&schema, &text(&tokens)).unwrap();
            }
        }
    }
    assert!(ended > 150, "{ended} of {} came to an end", schemas().len() * 8);
}

#[test]
fn json_mode_is_an_object_or_a_list() {
    let grammar = compile(&Constraint::Json { schema: None }, Opening::Content).unwrap();
    let schema = json!({"type": ["object", "array"]});
    let mut kinds = [0, 0];
    for seed in 0..40 {
        let (tokens, done) = Writer::new(seed).write(&grammar, 200);
        let text = text(&tokens);
        if done {
            is_valid(&schema, &text).unwrap();
        }
        kinds[usize::from(text.starts_with('{'))] += 1;
    }
    assert!(kinds[0] > 0 && kinds[1] > 0, "{kinds:?}");
}

#[test]
fn blanks_do_not_go_on_for_ever() {
    let schema = json!({"type": "array", "items": {"type": "integer"}});
    let grammar = compile(&Constraint::Json { schema: Some(schema) }, Opening::Content).unwrap();
    let blanks: Vec<u32> = (0..TOKENIZER.vocab_size() as u32)
        .filter(|&id| {
            let bytes = TOKENIZER.token_bytes(id).unwrap();
            !bytes.is_empty() && bytes.iter().all(|byte| b" \n\r\t".contains(byte))
        })
        .collect();
    assert!(blanks.len() > 3);
    let mut writer = Writer::new(1);
    writer.likely = blanks.iter().map(|&id| (id, 50.0)).collect();
    let (tokens, _) = writer.write(&grammar, 300);
    let text = text(&tokens);
    let runs = text.split(|char: char| !char.is_ascii_whitespace());
    let longest = runs.map(str::len).max().unwrap();
    assert!(longest <= 66, "{longest}: {text:?}");
}

#[test]
fn regular_expressions_hold_from_end_to_end() {
    for regex in [r"(yes|no)", r"[a-f0-9]{4}/\d+", "[^\n]{0,20}\n?", "ä+ö?"] {
        let grammar = compile(&Constraint::Regex(regex.to_owned()), Opening::Content).unwrap();
        let whole = jsonschema_pattern(regex);
        for seed in 1..12 {
            let (tokens, done) = Writer::new(seed).write(&grammar, 100);
            if done {
                let text = Value::from(text(&tokens)).to_string();
                is_valid(&whole, &text).unwrap();
            }
        }
    }
}

fn jsonschema_pattern(regex: &str) -> Value {
    json!({"type": "string", "pattern": format!("^(?:{regex})$")})
}

#[test]
fn lark_grammars_hold() {
    let lark = "start: \"[\" (item (\",\" item)*)? \"]\"\nitem: NAME \"=\" NUMBER\n\
                NAME: /[a-z]{1,3}/\n%import common.INT -> NUMBER\n";
    let grammar = compile(&Constraint::Lark(lark.to_owned()), Opening::Content).unwrap();
    let whole = jsonschema_pattern(r"\[([a-z]{1,3}=[0-9]+(,[a-z]{1,3}=[0-9]+)*)?\]");
    let mut ended = 0;
    for seed in 0..30 {
        let (tokens, done) = Writer::new(seed).write(&grammar, 100);
        if done {
            ended += 1;
            is_valid(&whole, &Value::from(text(&tokens)).to_string()).unwrap();
        }
    }
    assert!(ended > 10, "{ended}");
}

#[test]
fn reasoning_is_free_and_the_grammar_begins_behind_it() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let constraint = Constraint::Json {
        schema: Some(schema.clone()),
    };
    let grammar = compile(&constraint, Opening::Reasoning).unwrap();
    let mut thought = 0;
    for seed in 0..40 {
        let mut writer = Writer::new(seed);
        writer.likely = vec![(TOKENIZER.think_end_id(), 5.0)];
        let (tokens, done) = writer.write(&grammar, 400);
        let answer = parsed(&tokens, Opening::Reasoning, &[]);
        assert!(answer.tool_calls.is_empty());
        thought += usize::from(answer.reasoning.contains(' '));
        if done {
            is_valid(&schema, &answer.content).unwrap();
        }
    }
    assert!(thought > 5, "{thought}");
}

#[test]
fn what_is_complete_can_only_end() {
    let grammar = compile(&Constraint::Regex("ab".to_owned()), Opening::Content).unwrap();
    let mut guide = grammar.guide();
    for token in TOKENIZER.encode_plain("ab").unwrap() {
        assert!(!guide.allowed().unwrap().has(TOKENIZER.eos_id()));
        assert!(guide.allowed().unwrap().has(token));
        guide.accept(token).unwrap();
    }
    let allowed = guide.allowed().unwrap();
    let possible: Vec<u32> = (0..VOCAB_SIZE as u32).filter(|&id| allowed.has(id)).collect();
    assert_eq!(possible, [TOKENIZER.eos_id()]);
}

#[test]
fn an_answer_goes_on_behind_its_given_beginning() {
    let schema = json!({"type": "object", "properties": {"ab": {"type": "integer"}}, "required": ["ab"],
                        "additionalProperties": false});
    let constraint = Constraint::Json {
        schema: Some(schema.clone()),
    };
    let grammar = compile(&constraint, Opening::Content).unwrap();
    let rest = grammar.after("{\"ab\": 1").unwrap();
    for seed in 1..6 {
        let (tokens, done) = Writer::new(seed).write(&rest, 60);
        if done {
            is_valid(&schema, &format!("{{\"ab\": 1{}", text(&tokens))).unwrap();
        }
    }
    assert!(matches!(grammar.after("{\"b"), Err(GrammarError::Prefix { .. })));
}

#[test]
fn the_same_seed_writes_the_same_text() {
    let grammar = compile(&Constraint::Json { schema: None }, Opening::Content).unwrap();
    for seed in 1..4 {
        let first = Writer::new(seed).write(&grammar, 80);
        let second = Writer::new(seed).write(&grammar, 80);
        assert_eq!(first, second);
    }
}
