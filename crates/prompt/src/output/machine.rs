//! The state machine over decoded text and control tokens.

use super::Piece;
use super::arguments::Arguments;
use super::defect::{Defect, shortened};
use super::tag::{Tag, TagReader};
use crate::{Opening, ToolDefinition};

/// A control token, told by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// `｜DSML｜`, which makes a tag of the `<` or `</` before it.
    Dsml,
    /// `<think>`.
    ThinkStart,
    /// `</think>`.
    ThinkEnd,
    /// Begin of sentence, user or assistant: the model goes on with a turn that is not its own.
    Turn,
    /// End of sentence.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reasoning,
    Content,
    /// In a tool-call block, between calls.
    Block,
    /// In a call, between parameters.
    Call,
    /// In a parameter's value.
    Value,
    /// Behind a tool-call block.
    After,
    /// Behind the end of sentence.
    Ended,
}

impl State {
    fn place(self) -> &'static str {
        match self {
            Self::Reasoning => "reasoning",
            Self::Content => "answer",
            Self::Block => "tool-call block",
            Self::Call => "tool call",
            Self::Value => "value of a parameter",
            Self::After => "text after the tool calls",
            Self::Ended => "text after the end of the message",
        }
    }

    /// Whether text here is handed out, rather than being space between tags.
    fn is_text(self) -> bool {
        matches!(self, Self::Reasoning | Self::Content | Self::Value)
    }

    /// Line breaks that belong to a tag opening here: two before a tool-call block (spec §13), one between parameters.
    fn newlines_before_tag(self) -> usize {
        match self {
            Self::Reasoning | Self::Content => 2,
            _ => 1,
        }
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    /// The end of the text so far, as long as it may belong to a tag.
    held: String,
    /// Line breaks taken off before the tag being read.
    trimmed: usize,
    /// Text found between tags.
    loose: String,
    tag: Option<TagReader>,
    call: Option<Call>,
    calls: usize,
    tools: Vec<ToolDefinition>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Call {
    index: usize,
    /// Position of its definition among the tools.
    tool: Option<usize>,
    arguments: Arguments,
}

impl Machine {
    pub(super) fn new(opening: Opening, tools: Vec<ToolDefinition>) -> Self {
        Self {
            state: match opening {
                Opening::Reasoning => State::Reasoning,
                Opening::Content => State::Content,
                Opening::ToolCalls => State::Block,
            },
            held: String::new(),
            trimmed: 0,
            loose: String::new(),
            tag: None,
            call: None,
            calls: 0,
            tools,
            pieces: Vec::new(),
        }
    }

    /// Pieces since the last call.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    pub(super) fn text(&mut self, mut text: &str) {
        while let Some(mut reader) = self.tag.take() {
            if let Some(rest) = reader.read(text) {
                text = rest;
                self.on_tag(&reader);
            } else {
                self.tag = Some(reader);
                return;
            }
        }
        if self.state.is_text() {
            self.held.push_str(text);
            self.release_settled();
        } else {
            self.loose.push_str(text);
        }
    }

    /// A control token, `spelled` like this.
    pub(super) fn mark(&mut self, mark: Mark, spelled: &str) {
        match mark {
            Mark::Dsml => self.on_dsml(spelled),
            Mark::End => self.finish(),
            Mark::ThinkStart | Mark::ThinkEnd | Mark::Turn => {
                if let Some(reader) = self.tag.take() {
                    self.leave_out(&reader);
                }
                match (self.state, mark) {
                    (State::Reasoning, Mark::ThinkEnd) => {
                        self.release_all();
                        self.state = State::Content;
                    }
                    // Values are verbatim, whatever they contain.
                    (State::Value, _) => self.text(spelled),
                    _ => self.stray_control(spelled),
                }
            }
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(reader) = self.tag.take() {
            // A closing tag cut short is clear enough; half a name is not.
            if reader.closes() {
                self.on_tag(&reader);
            } else {
                self.leave_out(&reader);
            }
        }
        self.release_all();
        let place = self.state.place();
        match self.state {
            State::Reasoning => self.defect(Defect::UnclosedReasoning {
                found: "the end of the output",
            }),
            State::Block => {
                self.defect(Defect::CutShort { place });
                self.report_loose();
            }
            State::Call | State::Value => {
                self.defect(Defect::CutShort { place });
                self.end_call();
            }
            State::After | State::Ended => self.report_loose(),
            State::Content => {}
        }
        self.state = State::Ended;
    }

    fn on_dsml(&mut self, spelled: &str) {
        // A marker inside a tag breaks that tag, and may begin another with its last letters.
        if let Some(reader) = self.tag.take() {
            let closes = opener(reader.text());
            self.leave_out(&reader);
            match closes {
                Some((closes, _)) => self.tag = Some(TagReader::new(closes)),
                None => self.stray_control(spelled),
            }
            return;
        }
        let before = if self.state.is_text() {
            &mut self.held
        } else {
            &mut self.loose
        };
        let Some((closes, opener_len)) = opener(before) else {
            if self.state == State::Value {
                self.text(spelled);
            } else {
                self.stray_control(spelled);
            }
            return;
        };
        before.truncate(before.len() - opener_len);
        self.trimmed = 0;
        if self.state.is_text() {
            if !closes {
                self.trimmed = trailing_newlines(&self.held, self.state.newlines_before_tag());
                self.held.truncate(self.held.len() - self.trimmed);
            }
            self.release_all();
        }
        self.tag = Some(TagReader::new(closes));
    }

    fn on_tag(&mut self, reader: &TagReader) {
        let missing = |expected| Defect::MissingTag {
            expected,
            found: shortened(&reader.spelled()),
        };
        match (self.state, reader.tag()) {
            (State::Reasoning | State::Content | State::After, Tag::OpenToolCalls) => {
                self.leave_text();
                self.state = State::Block;
            }
            (State::Reasoning | State::Content | State::After, Tag::OpenInvoke { name }) => {
                self.leave_text();
                self.defect(missing("<｜DSML｜tool_calls>"));
                self.begin_call(name);
            }
            (State::Block, Tag::OpenInvoke { name }) => self.begin_call(name),
            (State::Call | State::Value, Tag::OpenInvoke { name }) => {
                self.defect(missing("</｜DSML｜invoke>"));
                self.end_call();
                self.begin_call(name);
            }
            (State::Call, Tag::OpenParameter { name, is_string }) => self.open_parameter(name, is_string),
            (State::Value, Tag::OpenParameter { name, is_string }) => {
                self.defect(missing("</｜DSML｜parameter>"));
                self.close_parameter();
                self.open_parameter(name, is_string);
            }
            (State::Value, Tag::CloseParameter) => self.close_parameter(),
            (State::Call, Tag::CloseInvoke) => self.end_call(),
            (State::Value, Tag::CloseInvoke) => {
                self.defect(missing("</｜DSML｜parameter>"));
                self.end_call();
            }
            (State::Block, Tag::CloseToolCalls) => {
                self.report_loose();
                self.state = State::After;
            }
            (State::Call | State::Value, Tag::CloseToolCalls) => {
                self.defect(missing("</｜DSML｜invoke>"));
                self.end_call();
                self.state = State::After;
            }
            (State::Value, Tag::Unknown | Tag::OpenToolCalls) => {
                let verbatim = "\n".repeat(self.trimmed) + &reader.spelled();
                self.text(&verbatim);
            }
            _ => self.leave_out(reader),
        }
    }

    fn begin_call(&mut self, name: String) {
        self.report_loose();
        let index = self.calls;
        self.calls += 1;
        let tool = self.tools.iter().position(|tool| tool.name() == name);
        self.call = Some(Call {
            index,
            tool,
            arguments: Arguments::default(),
        });
        self.state = State::Call;
        self.pieces.push(Piece::ToolCallBegin { index, name });
    }

    fn open_parameter(&mut self, name: String, is_string: Option<bool>) {
        let tools = &self.tools;
        let Some(call) = &mut self.call else { return };
        let known = |key: &str| call.tool.is_some_and(|tool| tools[tool].has_parameter(key));
        let mut defects = Vec::new();
        let json = call.arguments.open(name, is_string, known, &mut defects);
        self.state = State::Value;
        self.push_arguments(json, defects);
    }

    fn close_parameter(&mut self) {
        let Some(call) = &mut self.call else { return };
        let mut defects = Vec::new();
        let json = call.arguments.close(&mut defects);
        self.state = State::Call;
        self.push_arguments(json, defects);
    }

    fn end_call(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        let Some(call) = &mut self.call else { return };
        let mut defects = Vec::new();
        let json = std::mem::take(&mut call.arguments).finish(&loose, &mut defects);
        self.push_arguments(json, defects);
        if let Some(Call { index, .. }) = self.call.take() {
            self.pieces.push(Piece::ToolCallEnd { index });
        }
        self.state = State::Block;
    }

    fn push_arguments(&mut self, json: String, defects: Vec<Defect>) {
        defects.into_iter().for_each(|defect| self.defect(defect));
        if let Some(Call { index, .. }) = self.call
            && !json.is_empty()
        {
            self.pieces.push(Piece::ToolCallArguments { index, json });
        }
    }

    /// Hand out the held text except what may still belong to a tag.
    fn release_settled(&mut self) {
        let opener_len = opener(&self.held).map_or(0, |(_, len)| len);
        let text = &self.held[..self.held.len() - opener_len];
        let settled = text.len() - trailing_newlines(text, self.state.newlines_before_tag());
        self.release(settled);
    }

    fn release_all(&mut self) {
        self.release(self.held.len());
    }

    fn release(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        let text: String = self.held.drain(..len).collect();
        match self.state {
            State::Reasoning => self.pieces.push(Piece::Reasoning(text)),
            State::Content => self.pieces.push(Piece::Content(text)),
            _ => {
                let json = self
                    .call
                    .as_mut()
                    .map(|call| call.arguments.text(&text))
                    .unwrap_or_default();
                self.push_arguments(json, Vec::new());
            }
        }
    }

    /// Text ends here because a tool call starts.
    fn leave_text(&mut self) {
        if self.state == State::Reasoning {
            self.defect(Defect::UnclosedReasoning { found: "a tool call" });
        }
        self.report_loose();
    }

    fn leave_out(&mut self, reader: &TagReader) {
        self.defect(Defect::StrayTag {
            found: shortened(&reader.spelled()),
            place: self.state.place(),
        });
        if self.state.is_text() {
            self.held
                .push_str(&"\n".repeat(std::mem::take(&mut self.trimmed)));
        }
    }

    fn report_loose(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        let found = loose.trim();
        if !found.is_empty() {
            self.defect(Defect::StrayText {
                found: shortened(found),
                place: self.state.place(),
            });
        }
    }

    fn stray_control(&mut self, spelled: &str) {
        self.defect(Defect::StrayControl {
            token: spelled.to_owned(),
            place: self.state.place(),
        });
    }

    fn defect(&mut self, defect: Defect) {
        self.pieces.push(Piece::Defect(defect));
    }
}

/// The `<` or `</` that `text` ends with: whether it closes, and its length.
fn opener(text: &str) -> Option<(bool, usize)> {
    [("</", true), ("<", false)]
        .into_iter()
        .find(|(opener, _)| text.ends_with(opener))
        .map(|(opener, closes)| (closes, opener.len()))
}

/// Number of line breaks `text` ends with, at most `max`.
fn trailing_newlines(text: &str, max: usize) -> usize {
    text.bytes()
        .rev()
        .take(max)
        .take_while(|&byte| byte == b'\n')
        .count()
}
