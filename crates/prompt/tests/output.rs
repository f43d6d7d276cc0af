//! Output parsing: well-formed output, output cut short, and malformed output with what is made of it (spec §13).

mod support;

use fathom_prompt::{Answer, Opening, OutputParser, Piece, ToolDefinition};
use serde_json::json;
use support::{marked, tokenizer};

fn parse(opening: Opening, output: &str) -> Answer {
    let tools = [ToolDefinition::new(
        "f",
        "",
        json!({"properties": {"x": {}, "s": {}}}),
    )];
    marked::answer(&tokenizer(), opening, &tools, output)
}

fn defects(answer: &Answer) -> Vec<String> {
    answer.defects.iter().map(ToString::to_string).collect()
}

fn calls(answer: &Answer) -> Vec<(&str, &str)> {
    answer
        .tool_calls
        .iter()
        .map(|call| (call.name.as_str(), call.arguments.as_str()))
        .collect()
}

/// A block of tool calls around `calls`.
fn block(calls: &str) -> String {
    format!("<｜DSML｜tool_calls>\n{calls}</｜DSML｜tool_calls>")
}

fn invoke(parameters: &str) -> String {
    format!("<｜DSML｜invoke name=\"f\">\n{parameters}</｜DSML｜invoke>\n")
}

fn parameter(name: &str, is_string: bool, value: &str) -> String {
    format!("<｜DSML｜parameter name=\"{name}\" string=\"{is_string}\">{value}</｜DSML｜parameter>\n")
}

/// The arguments and defects of one call written like this.
#[track_caller]
fn check_call(call: &str, arguments: &str, expected_defects: &[&str]) {
    let answer = parse(Opening::Content, &block(call));
    assert_eq!(calls(&answer), [("f", arguments)]);
    assert_eq!(defects(&answer), expected_defects);
    assert_eq!(answer.content, "");
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(arguments)
        .expect("arguments are an object");
}

#[test]
fn reasoning_then_content() {
    let answer = parse(
        Opening::Reasoning,
        "\nwhy 2 < 3\n</think>\n\nbecause\n<｜end▁of▁sentence｜>",
    );
    assert_eq!(answer.reasoning, "\nwhy 2 < 3\n", "nothing is trimmed");
    assert_eq!(answer.content, "\n\nbecause\n");
    assert_eq!(answer.defects, []);
}

#[test]
fn chat_mode_has_content_only() {
    let answer = parse(Opening::Content, "Hello < world </ x\n\n<｜end▁of▁sentence｜>");
    assert_eq!(
        (answer.reasoning.as_str(), answer.content.as_str()),
        ("", "Hello < world </ x\n\n")
    );
    assert_eq!(answer.defects, []);
}

#[test]
fn content_that_ends_in_half_a_marker_is_released() {
    for output in ["a <", "a </", "a\n\n<", "\n\n", "<"] {
        let answer = parse(Opening::Content, output);
        assert_eq!(answer.content, output);
        assert_eq!(answer.defects, []);
    }
}

#[test]
fn text_arrives_with_the_token_after_it_at_the_latest() {
    let tokenizer = tokenizer();
    let mut parser = OutputParser::new(tokenizer.clone(), Opening::Content, &[]);
    let mut push = |text: &str| {
        let pieces = tokenizer
            .encode_plain(text)
            .unwrap()
            .into_iter()
            .flat_map(|id| parser.push(id));
        pieces.collect::<Answer>().content
    };
    assert_eq!(push("2 <"), "2 ");
    assert_eq!(push("3\n"), "<3");
    assert_eq!(push("x"), "\nx");
}

#[test]
fn tool_calls_are_read_as_the_encoder_writes_them() {
    let output = format!(
        "r</think>text\n\n{}<｜end▁of▁sentence｜>",
        block(&format!(
            "{}{}",
            invoke(&(parameter("x", false, "[1, 2]") + &parameter("s", true, "a\"b\\\n<c> é \n"))),
            "<｜DSML｜invoke name=\"g\">\n\n</｜DSML｜invoke>\n"
        ))
    );
    let answer = parse(Opening::Reasoning, &output);
    assert_eq!(answer.reasoning, "r");
    assert_eq!(answer.content, "text", "the blank line belongs to the block");
    assert_eq!(
        calls(&answer),
        [("f", r#"{"x": [1, 2], "s": "a\"b\\\n<c> é \n"}"#), ("g", "{}")]
    );
    assert_eq!(answer.defects, []);
}

#[test]
fn only_two_line_breaks_belong_to_the_block() {
    let answer = parse(Opening::Content, &format!("text\n\n\n\n{}", block("")));
    assert_eq!(answer.content, "text\n\n");
}

#[test]
fn string_arguments_stream_and_json_arguments_come_whole() {
    let tokenizer = tokenizer();
    let output = block(&invoke(
        &(parameter("s", true, "a long text in many tokens") + &parameter("x", false, "[1, 22, 333]")),
    ));
    let ids = marked::ids(&tokenizer, &output, || true);
    let fragments: Vec<String> = marked::pieces(&tokenizer, Opening::Content, &[], &ids)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::ToolCallArguments { json, .. } => Some(json),
            _ => None,
        })
        .collect();
    assert!(fragments.len() > 20, "{fragments:?}");
    assert!(
        fragments.contains(&", \"x\": [1, 22, 333]".to_owned()),
        "{fragments:?}"
    );
    assert_eq!(
        fragments.concat(),
        r#"{"s": "a long text in many tokens", "x": [1, 22, 333]}"#
    );
}

#[test]
fn the_pieces_of_a_call_are_framed() {
    let tokenizer = tokenizer();
    let ids = marked::ids(&tokenizer, &block(&invoke("")), || false);
    assert_eq!(
        marked::pieces(&tokenizer, Opening::Content, &[], &ids),
        [
            Piece::ToolCallBegin {
                index: 0,
                name: "f".to_owned()
            },
            Piece::ToolCallArguments {
                index: 0,
                json: "{}".to_owned()
            },
            Piece::ToolCallEnd { index: 0 },
        ]
    );
}

#[test]
fn a_required_tool_call_starts_inside_the_block() {
    let output = invoke(&parameter("x", false, "1")) + "</｜DSML｜tool_calls><｜end▁of▁sentence｜>";
    let answer = parse(Opening::ToolCalls, &output);
    assert_eq!(calls(&answer), [("f", r#"{"x": 1}"#)]);
    assert_eq!(answer.defects, []);
}

#[test]
fn control_tokens_spelled_by_plain_tokens_are_text() {
    let tokenizer = tokenizer();
    let text = "a</think>b\n\n<｜DSML｜tool_calls>\n<｜end▁of▁sentence｜>";
    let ids = tokenizer.encode_plain(text).unwrap();
    let answer: Answer = marked::pieces(&tokenizer, Opening::Content, &[], &ids)
        .into_iter()
        .collect();
    assert_eq!(answer.content, text);
    assert_eq!(answer.defects, []);
}

#[test]
fn values_are_verbatim() {
    check_call(
        &invoke(&parameter(
            "s",
            true,
            "<think>x</think> <｜DSML｜b> </｜DSML｜b> ｜DSML｜ \n</p>\n",
        )),
        r#"{"s": "<think>x</think> <｜DSML｜b> </｜DSML｜b> ｜DSML｜ \n</p>\n"}"#,
        &[],
    );
}

#[test]
fn reasoning_without_an_end_is_reported() {
    let answer = parse(Opening::Reasoning, "all of it<｜end▁of▁sentence｜>");
    assert_eq!(
        (answer.reasoning.as_str(), answer.content.as_str()),
        ("all of it", "")
    );
    assert_eq!(
        defects(&answer),
        [
            "expected </think> after the reasoning, found the end of the output; everything before it counts as reasoning"
        ]
    );

    let answer = parse(Opening::Reasoning, &format!("I call f\n\n{}", block(&invoke(""))));
    assert_eq!(answer.reasoning, "I call f");
    assert_eq!(calls(&answer), [("f", "{}")]);
    assert_eq!(
        defects(&answer),
        [
            "expected </think> after the reasoning, found a tool call; everything before it counts as reasoning"
        ]
    );
}

#[test]
fn control_tokens_out_of_place_are_left_out() {
    let answer = parse(
        Opening::Reasoning,
        "<think>r</think>a</think>b<｜User｜>c｜DSML｜d",
    );
    assert_eq!(
        (answer.reasoning.as_str(), answer.content.as_str()),
        ("r", "abcd")
    );
    assert_eq!(
        defects(&answer),
        [
            "found control token <think> in the reasoning; left it out",
            "found control token </think> in the answer; left it out",
            "found control token <｜User｜> in the answer; left it out",
            "found control token ｜DSML｜ in the answer; left it out",
        ]
    );
}

#[test]
fn other_added_tokens_are_text() {
    assert_eq!(parse(Opening::Content, "x").content, "x");
    let tokenizer = tokenizer();
    let id = tokenizer.special_id("<｜title｜>").unwrap();
    let answer: Answer = marked::pieces(&tokenizer, Opening::Content, &[], &[id])
        .into_iter()
        .collect();
    assert_eq!(answer.content, "<｜title｜>");
}

#[test]
fn tags_out_of_place_never_reach_the_reader() {
    for stray in [
        "</｜DSML｜parameter>",
        "</｜DSML｜invoke>",
        "</｜DSML｜tool_calls>",
        "<｜DSML｜parameter name=\"x\" string=\"true\">",
        "<｜DSML｜function>",
        "<｜DSML｜invoke>",
    ] {
        let answer = parse(Opening::Content, &format!("a\n\n{stray}b"));
        assert_eq!(answer.content, "a\n\nb", "{stray}");
        assert_eq!(
            defects(&answer),
            [format!("found tag {stray:?} in the answer; left it out")]
        );
    }
}

#[test]
fn a_call_without_the_block_around_it_counts() {
    let answer = parse(
        Opening::Content,
        &format!("a\n\n{}", invoke(&parameter("x", false, "1"))),
    );
    assert_eq!(answer.content, "a");
    assert_eq!(calls(&answer), [("f", r#"{"x": 1}"#)]);
    assert_eq!(
        defects(&answer),
        [
            "expected <｜DSML｜tool_calls>, found \"<｜DSML｜invoke name=\\\"f\\\">\"; took the missing tag as read",
            "output ended inside the tool-call block; closed it",
        ]
    );
}

#[test]
fn missing_closing_tags_are_supplied() {
    let open =
        |name: &str, value: &str| format!("<｜DSML｜parameter name=\"{name}\" string=\"true\">{value}");
    let taken = |expected: &str, found: &str| {
        format!("expected {expected}, found {found:?}; took the missing tag as read")
    };
    let second = "<｜DSML｜parameter name=\"x\" string=\"false\">";
    check_call(
        &invoke(&(open("s", "a\n") + &parameter("x", false, "1"))),
        r#"{"s": "a", "x": 1}"#,
        &[&taken("</｜DSML｜parameter>", second)],
    );
    check_call(
        &invoke(&open("s", "a")),
        r#"{"s": "a"}"#,
        &[&taken("</｜DSML｜parameter>", "</｜DSML｜invoke>")],
    );
    check_call(
        &format!("<｜DSML｜invoke name=\"f\">\n{}", parameter("s", true, "a")),
        r#"{"s": "a"}"#,
        &[&taken("</｜DSML｜invoke>", "</｜DSML｜tool_calls>")],
    );
    let twice = format!(
        "<｜DSML｜invoke name=\"f\">\n{}{}",
        parameter("s", true, "a"),
        invoke("")
    );
    let answer = parse(Opening::Content, &block(&twice));
    assert_eq!(calls(&answer), [("f", r#"{"s": "a"}"#), ("f", "{}")]);
    assert_eq!(answer.defects.len(), 1);
}

#[test]
fn output_cut_short_still_has_whole_arguments() {
    let whole = format!(
        "a\n\n{}",
        block(&invoke(
            &(parameter("x", false, "[1, 2]") + &parameter("s", true, "text"))
        ))
    );
    let cut = |at: &str| parse(Opening::Content, &whole[..whole.find(at).unwrap()]);
    for (at, arguments) in [
        ("parameter name=\"x\"", "{}"),
        (", 2]", r#"{"x": "[1"}"#),
        ("parameter name=\"s\"", r#"{"x": [1, 2]}"#),
        ("xt</", r#"{"x": [1, 2], "s": "te"}"#),
        ("</｜DSML｜invoke", r#"{"x": [1, 2], "s": "text"}"#),
    ] {
        let answer = cut(at);
        assert_eq!(answer.content, "a");
        assert_eq!(calls(&answer), [("f", arguments)], "cut before {at}");
        assert!(
            defects(&answer)
                .iter()
                .any(|defect| defect.starts_with("output ended inside the ")),
            "{at}"
        );
    }
    assert_eq!(calls(&cut("voke name")), [], "half a name is no call");
    assert_eq!(
        parse(Opening::Content, whole.strip_suffix('>').unwrap()).defects,
        [],
        "the last bracket may be missing"
    );
}

#[test]
fn values_that_are_not_json_become_strings() {
    check_call(
        &invoke(&parameter("x", false, "True")),
        r#"{"x": "True"}"#,
        &["expected JSON as the value of parameter \"x\", found \"True\"; passed it on as a string"],
    );
    check_call(
        "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\">7</｜DSML｜parameter>\n</｜DSML｜invoke>\n",
        r#"{"x": 7}"#,
        &[],
    );
}

#[test]
fn the_first_of_two_equal_parameters_counts() {
    check_call(
        &invoke(&(parameter("x", false, "1") + &parameter("x", false, "2"))),
        r#"{"x": 1}"#,
        &["found parameter \"x\" twice in one call; kept the first"],
    );
}

#[test]
fn names_are_escaped() {
    check_call(&invoke(&parameter("a\\b", true, "")), r#"{"a\\b": ""}"#, &[]);
}

#[test]
fn a_lone_wrapper_is_unwrapped_unless_the_tool_has_such_a_parameter() {
    let defect = |place: &str| {
        format!("expected one parameter per argument, found all arguments in {place:?}; unwrapped them")
    };
    for (name, is_string) in [("arguments", true), ("arguments", false), ("input", true)] {
        check_call(
            &invoke(&parameter(name, is_string, "{\"x\": 1}")),
            r#"{"x": 1}"#,
            &[&defect(&format!("parameter {name}"))],
        );
    }
    check_call(
        &invoke(&parameter("arguments", true, "not json")),
        r#"{"arguments": "not json"}"#,
        &[],
    );
    check_call(
        &invoke(&(parameter("input", true, "{}") + &parameter("x", false, "1"))),
        r#"{"input": "{}", "x": 1}"#,
        &[],
    );
    check_call(&invoke("{\"x\": 1}\n"), r#"{"x": 1}"#, &[&defect("{\"x\": 1}")]);

    let tools = [ToolDefinition::new(
        "f",
        "",
        json!({"properties": {"input": {"type": "string"}}}),
    )];
    let output = block(&invoke(&parameter("input", true, "{}")));
    let answer = marked::answer(&tokenizer(), Opening::Content, &tools, &output);
    assert_eq!(calls(&answer), [("f", r#"{"input": "{}"}"#)]);
    assert_eq!(answer.defects, []);
}

#[test]
fn text_between_tags_is_reported() {
    let answer = parse(
        Opening::Content,
        &(block(&format!("first: {}", invoke("x = 1\n"))) + " done"),
    );
    assert_eq!(calls(&answer), [("f", "{}")]);
    assert_eq!(answer.content, "");
    assert_eq!(
        defects(&answer),
        [
            "found text \"first:\" in the tool-call block; left it out",
            "found text \"x = 1\" in the tool call; left it out",
            "found text \"done\" in the text after the tool calls; left it out",
        ]
    );
}

#[test]
fn a_tag_broken_by_another_is_left_out() {
    let answer = parse(
        Opening::Content,
        "<｜DSML｜tool_<｜DSML｜tool_calls>\n</｜DSML｜tool_calls>",
    );
    assert_eq!(answer.content, "");
    assert_eq!(
        defects(&answer),
        ["found tag \"<｜DSML｜tool_<\" in the answer; left it out"]
    );
}

#[test]
fn what_the_renderer_writes_is_read_back() {
    use fathom_prompt::{Conversation, Message, Renderer};
    let tokenizer = tokenizer();
    let renderer = Renderer::new(fathom_checkpoint::EffortTable::Preview, tokenizer.clone());
    let output = format!(
        "why</think>text\n\n{}",
        block(&invoke(
            &(parameter("x", false, "[1, 2]") + &parameter("s", true, "é\n"))
        ))
    );
    let answer = parse(Opening::Reasoning, &output);
    let conversation = Conversation {
        messages: vec![Message::user("q"), {
            let Message::Assistant {
                content,
                reasoning_content,
                tool_calls,
                prefix,
                task,
                ..
            } = answer.into_message(Vec::new())
            else {
                unreachable!()
            };
            Message::Assistant {
                content,
                reasoning_content,
                tool_calls,
                prefix,
                task,
                sampled: None,
            }
        }],
        ..Conversation::default()
    };
    let prompt = renderer.render(&conversation).unwrap();
    // The model may leave a line break after the last parameter or not; the encoder writes one.
    assert!(
        prompt
            .text
            .ends_with(&format!("<｜Assistant｜><think>{output}<｜end▁of▁sentence｜>")),
        "{}",
        prompt.text
    );
}
