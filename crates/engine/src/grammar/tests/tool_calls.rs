//! Tool calls: parsed without a defect, of tools on offer, valid under their schemas.

use std::collections::BTreeSet;

use serde_json::json;

use super::random_schemas::object;
use super::*;

fn strict(name: &str, schema: &Value) -> ToolRule {
    ToolRule {
        name: name.to_owned(),
        body: ToolBody::Arguments {
            schema: Some(schema.clone()),
            strict: true,
        },
    }
}

fn definition(name: &str, schema: &Value) -> ToolDefinition {
    ToolDefinition::new(name, "", schema.clone())
}

fn calls(tools: Vec<ToolRule>, required: bool, parallel: bool) -> Constraint {
    Constraint::Tools {
        tools,
        required,
        parallel,
    }
}

/// Writes calls and holds them to their schemas. Returns how many came to their end, and the orders of arguments seen.
fn check(
    constraint: &Constraint,
    opening: Opening,
    schemas: &[(&str, Value)],
    seeds: std::ops::Range<u64>,
) -> (usize, BTreeSet<Vec<String>>) {
    let definitions: Vec<_> = schemas
        .iter()
        .map(|(name, schema)| definition(name, schema))
        .collect();
    let grammar = compile(constraint, opening).unwrap_or_else(|error| panic!("{schemas:?}: {error}"));
    let (mut ended, mut orders) = (0, BTreeSet::new());
    for seed in seeds {
        let mut writer = Writer::new(seed);
        writer.likely = vec![(TOKENIZER.think_end_id(), 4.0)];
        let (tokens, done) = writer.write(&grammar, 500);
        if !done {
            continue;
        }
        ended += 1;
        let answer = parsed(&tokens, opening, &definitions);
        let written = TOKENIZER.decode(&tokens);
        assert_eq!(answer.defects, [], "seed {seed}: {written}");
        assert_eq!(answer.content, "", "seed {seed}: {written}");
        assert!(!answer.tool_calls.is_empty());
        for call in &answer.tool_calls {
            let schema = schemas.iter().find(|(name, _)| *name == call.name);
            let (_, schema) = schema.unwrap_or_else(|| panic!("{} is not on offer", call.name));
            is_valid(schema, &call.arguments)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{written}"));
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            let names = arguments.as_object().into_iter().flat_map(|object| object.keys());
            orders.insert(names.cloned().collect());
        }
    }
    (ended, orders)
}

#[test]
fn every_kind_of_value_can_be_an_argument() {
    let mut ended = 0;
    for schema in super::constraints::schemas() {
        if schema == json!(true) || schema.to_string().contains("\"#\"") {
            // The first is a schema and no property of its own; the second means the property, not the arguments.
            continue;
        }
        let mut arguments = json!({"type": "object", "required": ["v"], "additionalProperties": false});
        let mut schema = schema;
        for definitions in ["$defs", "$def"] {
            if let Some(found) = schema
                .as_object_mut()
                .and_then(|schema| schema.remove(definitions))
            {
                arguments[definitions] = found;
            }
        }
        arguments["properties"] = json!({"v": schema});
        let rules = vec![strict("f", &arguments)];
        let (done, _) = check(
            &calls(rules, true, true),
            Opening::ToolCalls,
            &[("f", arguments)],
            1..6,
        );
        ended += done;
    }
    assert!(ended > 80, "{ended}");
}

#[test]
fn whatever_the_schemas_calls_are_valid() {
    let (mut ended, mut orders) = (0, BTreeSet::new());
    for seed in 0..30 {
        let mut random = Random::new(seed);
        let schemas = [
            ("get", object(&mut random, 2)),
            ("get-more", object(&mut random, 2)),
        ];
        let rules: Vec<_> = schemas
            .iter()
            .map(|(name, schema)| strict(name, schema))
            .collect();
        for opening in [Opening::ToolCalls, Opening::Content, Opening::Reasoning] {
            let constraint = calls(rules.clone(), true, seed.is_multiple_of(2));
            let (done, seen) = check(&constraint, opening, &schemas, seed..seed + 1);
            ended += done;
            orders.extend(seen);
        }
    }
    assert!(ended > 45, "{ended}");
    let is_sorted = |order: &&Vec<String>| order.is_sorted();
    assert!(
        orders.iter().filter(is_sorted).count() < orders.len(),
        "any order will do"
    );
}

#[test]
fn properties_may_refer_to_definitions_from_anywhere() {
    let schema = json!({
        "type": "object", "required": ["home", "tree", "either"], "additionalProperties": false,
        "properties": {
            "home": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]},
            "tree": {"$ref": "#/$defs/tree"},
            "either": {"anyOf": [{"$ref": "#/$defs/name"}, {"type": "array", "items": {"$ref": "#/$defs/name"}, "maxItems": 2},
                                 {"type": ["string", "array"], "items": {"$ref": "#/$defs/place"}, "maxItems": 1},
                                 {"$ref": "#/$defs/place"}]},
        },
        "$defs": {
            "name": {"type": "string", "pattern": "^[a-z]{1,5}$"},
            "place": {"type": "object", "required": ["street", "next"], "additionalProperties": false,
                      "properties": {"street": {"$ref": "#/$defs/name"},
                                     "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]}}},
            "tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
        },
    });
    let (done, _) = check(
        &calls(vec![strict("f", &schema)], true, true),
        Opening::ToolCalls,
        &[("f", schema)],
        0..20,
    );
    assert!(done > 4, "{done}");
}

#[test]
fn one_call_means_one() {
    let schemas = [(
        "f",
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
    )];
    let rules = vec![strict("f", &schemas[0].1)];
    for (parallel, several) in [(false, false), (true, true)] {
        let grammar = compile(&calls(rules.clone(), true, parallel), Opening::ToolCalls).unwrap();
        let counts: BTreeSet<usize> = (0..20)
            .map(|seed| Writer::new(seed).write(&grammar, 400))
            .filter(|(_, done)| *done)
            .map(|(tokens, _)| parsed(&tokens, Opening::ToolCalls, &[]).tool_calls.len())
            .collect();
        assert_eq!(counts.iter().any(|&count| count > 1), several, "{counts:?}");
        assert!(counts.contains(&1));
    }
}

#[test]
fn without_a_schema_any_object_will_do() {
    let rules = vec![ToolRule {
        name: "f".to_owned(),
        body: ToolBody::Arguments {
            schema: None,
            strict: true,
        },
    }];
    let grammar = compile(&calls(rules, true, false), Opening::ToolCalls).unwrap();
    let mut names = BTreeSet::new();
    for seed in 0..40 {
        let (tokens, done) = Writer::new(seed).write(&grammar, 300);
        if done {
            let answer = parsed(&tokens, Opening::ToolCalls, &[]);
            let duplicate = |defect: &fathom_prompt::Defect| {
                matches!(defect, fathom_prompt::Defect::DuplicateParameter { .. })
            };
            assert!(answer.defects.iter().all(duplicate), "{:?}", answer.defects);
            is_valid(&json!({"type": "object"}), &answer.tool_calls[0].arguments).unwrap();
            names.insert(answer.tool_calls[0].arguments.clone());
        }
    }
    assert!(names.len() > 3, "{names:?}");
}

#[test]
fn a_lenient_tool_gets_what_can_be_enforced_of_its_schema() {
    let schema = json!({
        "type": "object", "required": ["path"], "minProperties": 1, "not": {"required": ["x"]},
        "properties": {
            "path": {"type": "string", "format": "path", "minLength": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
            "impossible": {"type": "integer", "minimum": 3, "maximum": 1},
        },
    });
    let lenient = ToolRule {
        name: "f".to_owned(),
        body: ToolBody::Arguments {
            schema: Some(schema.clone()),
            strict: false,
        },
    };
    let constraint = calls(vec![lenient], true, true);
    let grammar = compile(&constraint, Opening::ToolCalls).unwrap();
    assert!(compile(&calls(vec![strict("f", &schema)], true, true), Opening::ToolCalls).is_err());
    let mut ended = 0;
    for seed in 0..30 {
        let (tokens, done) = Writer::new(seed).write(&grammar, 300);
        if done {
            ended += 1;
            let answer = parsed(&tokens, Opening::ToolCalls, &[definition("f", &schema)]);
            for call in answer.tool_calls {
                is_valid(&json!({"type": "object"}), &call.arguments).unwrap();
            }
        }
    }
    assert!(ended > 10, "{ended}");
}

#[test]
fn an_answer_is_free_until_it_opens_a_block() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                        "additionalProperties": false});
    let rules = vec![strict("f", &schema)];
    for opening in [Opening::Content, Opening::Reasoning] {
        let grammar = compile(&calls(rules.clone(), false, true), opening).unwrap();
        let (mut free, mut called) = (0, 0);
        for seed in 0..40 {
            let mut writer = Writer::new(seed);
            writer.likely = vec![
                (TOKENIZER.dsml_id(), 20.0),
                (TOKENIZER.think_end_id(), 8.0),
                (
                    TOKENIZER.encode_plain("<").unwrap()[0],
                    if seed.is_multiple_of(2) { 5.0 } else { -30.0 },
                ),
            ];
            let (tokens, done) = writer.write(&grammar, 400);
            let answer = parsed(&tokens, opening, &[definition("f", &schema)]);
            free += usize::from(!answer.content.is_empty() || !answer.reasoning.is_empty());
            let strays = answer.defects.iter().filter(|defect| {
                let text = defect.to_string();
                text.contains("DSML") && !text.contains("closed it") || text.contains("tag")
            });
            if done {
                assert_eq!(
                    strays.count(),
                    0,
                    "{:?} {}",
                    answer.defects,
                    TOKENIZER.decode(&tokens)
                );
                for call in &answer.tool_calls {
                    called += 1;
                    assert_eq!(call.name, "f");
                    is_valid(&schema, &call.arguments).unwrap();
                }
            }
        }
        assert!(free > 10 && called > 5, "{free} {called}");
    }
}

/// Shaped like Codex's grammar for patches.
const PATCH: &str = r#"
start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?
hunk: add_hunk | delete_hunk | update_hunk
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
update_hunk: "*** Update File: " filename LF change_move? change?
filename: /(.+)/
add_line: "+" /(.*)/ LF -> line
change_move: "*** Move to: " filename LF
change: (change_context | change_line)+ eof_line?
change_context: ("@@" | "@@ " /(.+)/) LF
change_line: ("+" | "-" | " ") /(.*)/ LF
eof_line: "*** End of File" LF
%import common.LF
"#;

#[test]
fn a_custom_tool_gets_a_text_of_its_grammar() {
    let tool = |lark: Option<&str>| ToolRule {
        name: "apply_patch".to_owned(),
        body: ToolBody::Text {
            parameter: "input".to_owned(),
            lark: lark.map(str::to_owned),
        },
    };
    let schema = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
                        "additionalProperties": false});
    let input = |constraint: &Constraint, seed| {
        let grammar = compile(constraint, Opening::ToolCalls).unwrap();
        let mut writer = Writer::new(seed);
        writer.haste = 3.0;
        let breaks = TOKENIZER.encode_plain("\n").unwrap();
        writer.likely = breaks.iter().map(|&id| (id, 9.0)).collect();
        let (tokens, done) = writer.write(&grammar, 400);
        let answer = parsed(&tokens, Opening::ToolCalls, &[definition("apply_patch", &schema)]);
        done.then(|| {
            assert_eq!(answer.defects, []);
            let arguments: Value = serde_json::from_str(&answer.tool_calls[0].arguments).unwrap();
            arguments["input"].as_str().unwrap().to_owned()
        })
    };
    let mut patches = 0;
    for seed in 1..15 {
        if let Some(patch) = input(&calls(vec![tool(Some(PATCH))], true, false), seed) {
            patches += 1;
            assert!(patch.starts_with("*** Begin Patch\n*** "), "{patch:?}");
            assert!(patch.trim_end().ends_with("\n*** End Patch"), "{patch:?}");
        }
        input(&calls(vec![tool(None)], true, false), seed);
    }
    assert!(patches > 3, "{patches}");
}
