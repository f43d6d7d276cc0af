//! Schemas made up from a seed.

use serde_json::{Map, json};

use super::*;

/// A schema of the strict dialect.
pub(super) fn schema(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth == 0 { 7 } else { 10 };
    match random.below(kinds) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": "null"}),
        2 => {
            let low = random.below(50) as i64 - 20;
            json!({"type": "integer", "minimum": low, "maximum": low + random.below(1000) as i64})
        }
        3 => json!({"type": "number", "exclusiveMinimum": -1.5, "maximum": random.between(1, 40)}),
        4 => {
            json!({"type": "string", "pattern": (["^[a-z]{2,4}$", "x", "^a|b$", "[0-9]+$"][random.below(4)])})
        }
        5 => {
            let values = [
                json!("red"),
                json!("green \"x\""),
                json!("blue\n"),
                json!(4),
                json!(null),
            ];
            json!({"enum": values[..random.between(1, 5)]})
        }
        6 => json!({"type": "string"}),
        7 => json!({"type": "array", "items": schema(random, depth - 1), "maxItems": random.between(1, 4)}),
        8 => json!({"anyOf": [schema(random, depth - 1), schema(random, depth - 1)]}),
        _ => object(random, depth - 1),
    }
}

/// A schema of an object.
pub(super) fn object(random: &mut Random, depth: usize) -> Value {
    let names = ["a", "b", "long name", "né", "x.y", "ab", "$ref", "a/b"];
    let mut properties = Map::new();
    let mut required = Vec::new();
    for _ in 0..random.below(5) {
        let name = names[random.below(names.len())];
        if properties
            .insert(name.to_owned(), schema(random, depth))
            .is_none()
            && random.chance(60)
        {
            required.push(name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[test]
fn whatever_the_schema_the_text_is_valid() {
    let mut ended = 0;
    for seed in 0..120 {
        let schema = schema(&mut Random::new(seed), 3);
        let constraint = Constraint::Json {
            schema: Some(schema.clone()),
        };
        let grammar = compile(&constraint, Opening::Content)
            .unwrap_or_else(|error| panic!("seed {seed}, {schema}: {error}"));
        let (tokens, done) = Writer::new(seed).write(&grammar, 300);
        if done {
            ended += 1;
            is_valid(&schema, &text(&tokens)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    }
    assert!(ended > 80, "{ended} came to an end");
}
