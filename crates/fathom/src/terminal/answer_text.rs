//! An answer on the screen, while it is generated.

use std::io;

use fathom_engine::answer::Event;

use super::Pane;

/// Writes the pieces of one answer: the answer itself to one stream, the reasoning and tool calls before and after it,
/// dimmed, to the other. In a terminal both are the same screen; in a pipe the answer comes alone.
///
/// Empty lines at the edges of a part are left out, for the parts are set apart here.
pub(crate) struct AnswerText<'a, 'p> {
    answer: &'a mut Pane<'p>,
    asides: &'a mut Pane<'p>,
    part: Part,
    /// Line breaks held back until something follows them.
    breaks: usize,
}

/// What was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Reasoning,
    Content,
    ToolCall,
}

impl<'a, 'p> AnswerText<'a, 'p> {
    /// Nothing written yet.
    pub(crate) fn new(answer: &'a mut Pane<'p>, asides: &'a mut Pane<'p>) -> Self {
        Self {
            answer,
            asides,
            part: Part::Nothing,
            breaks: 0,
        }
    }

    /// Writes what `event` adds.
    pub(crate) fn show(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Reasoning(piece) => self.text(Part::Reasoning, &piece.text),
            Event::Content(piece) => self.text(Part::Content, &piece.text),
            Event::ToolCallBegin { name, .. } => {
                self.end_part()?;
                self.text(Part::ToolCall, &format!("tool call {name} "))
            }
            Event::ToolCallArguments { json, .. } => self.text(Part::ToolCall, json),
            Event::Prefill(_) | Event::ToolCallEnd { .. } | Event::Tick => Ok(()),
        }
    }

    /// Ends the last line.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.end_part()
    }

    fn text(&mut self, part: Part, text: &str) -> io::Result<()> {
        let text = if self.part == part {
            text
        } else {
            text.trim_start_matches('\n')
        };
        if text.is_empty() {
            return Ok(());
        }
        if self.part != part {
            self.begin_part(part)?;
        }
        let body = text.trim_end_matches('\n');
        let after = text.len() - body.len();
        if body.is_empty() {
            self.breaks += after;
            return Ok(());
        }
        let body = format!("{}{body}", "\n".repeat(self.breaks));
        self.breaks = after;
        match part {
            Part::Content => self.answer.text(&body),
            Part::Nothing | Part::Reasoning | Part::ToolCall => self.asides.dim_text(&body),
        }
    }

    fn begin_part(&mut self, part: Part) -> io::Result<()> {
        let follows = self.part != Part::Nothing;
        self.end_part()?;
        if follows && self.asides.is_terminal() {
            self.asides.text("\n")?;
        }
        // Where dimming does not show, a word must tell reasoning from answer.
        if part == Part::Reasoning && !self.asides.is_styled() {
            self.asides.text("thinking: ")?;
        }
        self.part = part;
        Ok(())
    }

    /// Ends the line of the current part.
    fn end_part(&mut self) -> io::Result<()> {
        self.breaks = 0;
        match std::mem::replace(&mut self.part, Part::Nothing) {
            Part::Nothing => Ok(()),
            Part::Content => self.answer.text("\n"),
            Part::Reasoning | Part::ToolCall => self.asides.text("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use fathom_engine::answer::Text;

    use super::*;

    fn reasoning(text: &str) -> Event {
        Event::Reasoning(Text {
            text: text.to_owned(),
            ..Text::default()
        })
    }

    fn content(text: &str) -> Event {
        Event::Content(Text {
            text: text.to_owned(),
            ..Text::default()
        })
    }

    /// What is written to both streams, in pipes and on one terminal.
    fn shown(terminal: bool, styled: bool, events: &[Event]) -> (String, String) {
        let (mut answer, mut asides) = (Vec::new(), Vec::new());
        {
            let mut answer = Pane::new(&mut answer, terminal, styled);
            let mut asides = Pane::new(&mut asides, terminal, styled);
            let mut text = AnswerText::new(&mut answer, &mut asides);
            for event in events {
                text.show(event).unwrap();
            }
            text.finish().unwrap();
        }
        (
            String::from_utf8(answer).unwrap(),
            String::from_utf8(asides).unwrap(),
        )
    }

    #[test]
    fn in_pipes_the_answer_comes_alone_and_plain() {
        let events = [
            reasoning("\nHm.\n"),
            reasoning("So.\n\n"),
            content("\n\nYes"),
            content(".\n"),
            Event::Tick,
        ];
        let (answer, asides) = shown(false, false, &events);
        assert_eq!(answer, "Yes.\n");
        assert_eq!(asides, "thinking: Hm.\nSo.\n");
    }

    #[test]
    fn a_terminal_shows_the_reasoning_dimmed_and_set_apart() {
        let events = [reasoning("Hm."), content("Yes.")];
        let (answer, asides) = shown(true, true, &events);
        assert_eq!(answer, "Yes.\n");
        assert_eq!(asides, "\x1b[2mHm.\x1b[0m\n\n");
    }

    #[test]
    fn line_breaks_inside_a_part_are_kept_and_trailing_ones_dropped() {
        let events = [content("a\n"), content("\n"), content("\nb\n"), content("\n")];
        assert_eq!(shown(false, false, &events).0, "a\n\n\nb\n");
    }

    #[test]
    fn tool_calls_are_named_each_on_its_line() {
        let begin = |index, name: &str| Event::ToolCallBegin {
            index,
            name: name.to_owned(),
        };
        let arguments = |index, json: &str| Event::ToolCallArguments {
            index,
            json: json.to_owned(),
        };
        let events = [
            content("Let me look."),
            begin(0, "weather"),
            arguments(0, "{\"city\":"),
            arguments(0, " \"Rome\"}"),
            Event::ToolCallEnd { index: 0 },
            begin(1, "time"),
            arguments(1, "{}"),
        ];
        let (answer, asides) = shown(false, false, &events);
        assert_eq!(answer, "Let me look.\n");
        assert_eq!(
            asides,
            "tool call weather {\"city\": \"Rome\"}\ntool call time {}\n"
        );
    }

    #[test]
    fn no_events_write_nothing() {
        assert_eq!(
            shown(true, true, &[Event::Tick, reasoning("\n\n")]),
            (String::new(), String::new())
        );
    }
}
