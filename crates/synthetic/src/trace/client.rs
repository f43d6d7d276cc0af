//! The client that makes the requests of a trace.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Event, Part, Request, TraceOptions, tokens};
use crate::random::Random;

/// How often clients do something in 60 turns; what is rarer than once a trace is done once.
const PER_60_TURNS: [(Event, usize); 7] = [
    (Event::Edit, 3),
    (Event::Rewind, 3),
    (Event::Regenerate, 4),
    (Event::DropReasoning, 2),
    (Event::Clock, 2),
    (Event::ClearToolResult, 1),
    (Event::SubAgent, 2),
];

/// Turns before anything but messages and tool results happens: an edit needs something to edit.
const QUIET_TURNS: usize = 4;

/// Requests each sub-agent makes.
const SUB_AGENT_REQUESTS: usize = 3;

/// Tokens of the line that says what time it is.
const CLOCK_TOKENS: usize = 8;

/// How many user messages back an edit reaches at most.
const EDITS_BACK: usize = 4;

/// Tokens in the middle of a user message that an edit replaces.
const EDIT_TOKENS: usize = 3;

/// Of a hundred answers, those that call a tool.
const TOOL_CALLS_PERCENT: usize = 80;

/// Every request of a trace.
pub(super) fn requests(options: &TraceOptions, seed: u64) -> Vec<Request> {
    let mut random = Random::new(seed);
    let plan = plan(options.turns, &mut random);
    let mut client = Client {
        options,
        random,
        system: Arc::default(),
        clock: Arc::default(),
        requests: Vec::new(),
        conversations: 0,
    };
    client.run(&plan);
    client.requests
}

/// What happens in each turn; `None` is an ordinary turn.
fn plan(turns: usize, random: &mut Random) -> Vec<Option<Event>> {
    let mut plan = vec![None; turns];
    // The summary belongs where much has been said and some is still to come.
    let summary = turns * 2 / 3;
    if summary >= QUIET_TURNS {
        plan[summary] = Some(Event::Summarise);
    }
    let mut free: Vec<usize> = (QUIET_TURNS..turns).filter(|&turn| turn != summary).collect();
    for (event, count) in PER_60_TURNS {
        for _ in 0..(count * turns).div_ceil(60) {
            if !free.is_empty() {
                plan[free.swap_remove(random.below(free.len()))] = Some(event);
            }
        }
    }
    plan
}

struct Client<'a> {
    options: &'a TraceOptions,
    random: Random,
    /// The prompt up to the clock.
    system: Arc<[u32]>,
    /// The line with the time, which ends the system prompt.
    clock: Arc<[u32]>,
    requests: Vec<Request>,
    conversations: usize,
}

/// A message list as a client keeps it.
struct Conversation {
    number: usize,
    /// The request that led to it.
    parent: Option<usize>,
    messages: Vec<Message>,
}

struct Message {
    role: Role,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Tool,
    /// The answer to a request, and whether it called a tool.
    Assistant {
        request: usize,
        calls: bool,
    },
}

impl Conversation {
    /// The last request whose answer is in the conversation, and whether it called a tool.
    fn last_answer(&self) -> Option<(usize, bool)> {
        self.messages.iter().rev().find_map(|message| match message.role {
            Role::Assistant { request, calls } => Some((request, calls)),
            Role::User | Role::Tool => None,
        })
    }

    /// Positions of messages of a role.
    fn positions(&self, role: Role) -> Vec<usize> {
        (0..self.messages.len())
            .filter(|&at| self.messages[at].role == role)
            .collect()
    }
}

impl Client<'_> {
    fn run(&mut self, plan: &[Option<Event>]) {
        let start = self.options.start_tokens;
        let mut system = vec![self.options.structure.bos];
        system.extend_from_slice(&self.text(start * 3 / 5));
        self.system = system.into();
        self.tick();
        let files = self.user_message(start * 2 / 5);
        let mut main = self.conversation(None, files);
        self.ask(&mut main, Event::Start);
        let mut pending = Vec::new();
        for event in plan {
            pending.extend(*event);
            self.turn(&mut main, &mut pending);
        }
    }

    /// One turn: the first pending event that the conversation is long enough for, or else an ordinary one.
    fn turn(&mut self, main: &mut Conversation, pending: &mut Vec<Event>) {
        let planned = pending.iter().position(|&event| event == Event::Summarise);
        if planned.is_some() || self.could_outgrow(main) {
            planned.map(|at| pending.remove(at));
            self.compact(main);
            return;
        }
        let done = (0..pending.len()).find(|&at| self.change(main, pending[at]));
        let event = match done.map(|at| pending.remove(at)) {
            // The main conversation receives what its sub-agents found.
            Some(Event::SubAgent) => Event::ToolResult,
            Some(event) => event,
            None => self.go_on(main),
        };
        self.ask(main, event);
    }

    /// Prepares the prompt of an event; false, and nothing has changed, if the conversation is too short for it.
    fn change(&mut self, main: &mut Conversation, event: Event) -> bool {
        match event {
            Event::Edit => return self.edit(main),
            Event::Rewind => return self.rewind(main),
            Event::Regenerate => {
                main.messages.pop();
                return true;
            }
            Event::SubAgent => {
                let reports = self.delegate(main);
                main.messages.push(reports);
                return true;
            }
            Event::DropReasoning => self.drop_reasoning(main),
            Event::Clock => self.tick(),
            Event::ClearToolResult if self.clear_tool_result(main) => {}
            _ => return false,
        }
        self.go_on(main);
        true
    }

    /// Adds a tool result if the last answer called a tool, otherwise a user message.
    fn go_on(&mut self, conversation: &mut Conversation) -> Event {
        let (role, lengths, event) = match conversation.last_answer() {
            Some((_, true)) => (Role::Tool, &self.options.tool_tokens, Event::ToolResult),
            _ => (Role::User, &self.options.user_tokens, Event::Message),
        };
        let length = self.length(lengths);
        let message = Message {
            role,
            ..self.user_message(length)
        };
        conversation.messages.push(message);
        event
    }

    /// Changes a few tokens in the middle of a user message, not the first one, and drops what follows.
    fn edit(&mut self, conversation: &mut Conversation) -> bool {
        let candidates = conversation.positions(Role::User);
        let back = self.random.between(1, EDITS_BACK);
        let Some(&at) = candidates[1..].iter().nth_back(back - 1) else {
            return false;
        };
        let Some(Part::Tokens(tokens)) = conversation.messages[at].parts.first() else {
            return false;
        };
        let mut tokens = tokens.to_vec();
        let middle = tokens.len() / 2;
        for token in tokens.iter_mut().skip(middle.max(1)).take(EDIT_TOKENS) {
            *token = self.other_than(*token);
        }
        conversation.messages[at].parts = vec![Part::Tokens(tokens.into())];
        conversation.messages.truncate(at + 1);
        true
    }

    /// Goes back by two to five answers and says something else.
    fn rewind(&mut self, conversation: &mut Conversation) -> bool {
        let back = self.random.between(2, 5);
        let answers: Vec<usize> = (0..conversation.messages.len())
            .filter(|&at| matches!(conversation.messages[at].role, Role::Assistant { .. }))
            .collect();
        let Some(&at) = answers.len().checked_sub(back + 1).and_then(|i| answers.get(i)) else {
            return false;
        };
        conversation.messages.truncate(at + 1);
        let length = self.length(&self.options.user_tokens);
        let message = self.user_message(length);
        conversation.messages.push(message);
        true
    }

    /// Takes the reasoning out of every answer so far.
    fn drop_reasoning(&mut self, conversation: &mut Conversation) {
        let structure = self.options.structure;
        for message in &mut conversation.messages {
            if let Role::Assistant { request, .. } = message.role {
                let skip = reasoning(self.requests[request].answer.len());
                message.parts = vec![
                    Part::Tokens([structure.assistant, structure.think_end].into()),
                    Part::Answer { request, skip },
                    Part::Tokens([structure.eos].into()),
                ];
            }
        }
    }

    /// Puts a short remark in place of a tool result.
    fn clear_tool_result(&mut self, conversation: &mut Conversation) -> bool {
        let candidates = conversation.positions(Role::Tool);
        let Some(&at) = candidates.get(self.random.below(candidates.len())) else {
            return false;
        };
        conversation.messages[at].parts = self.user_message(4).parts;
        true
    }

    /// Another time in the system prompt, from now on.
    fn tick(&mut self) {
        self.clock = self.text(CLOCK_TOKENS).into();
    }

    /// Sub-agents side by side; returns the message that reports what they answered last.
    fn delegate(&mut self, main: &Conversation) -> Message {
        let parent = main.last_answer().map(|(request, _)| request);
        let mut agents: Vec<Conversation> = Vec::new();
        for _ in 0..self.options.sub_agents {
            let length = self.length(&self.options.tool_tokens);
            let task = self.user_message(length);
            agents.push(self.conversation(parent, task));
        }
        for step in 0..SUB_AGENT_REQUESTS {
            for agent in &mut agents {
                if step > 0 {
                    self.go_on(agent);
                }
                self.ask(agent, Event::SubAgent);
            }
        }
        let mut report = Message {
            role: Role::Tool,
            ..self.user_message(4)
        };
        for (request, _) in agents.iter().filter_map(Conversation::last_answer) {
            let skip = reasoning(self.requests[request].answer.len());
            report.parts.push(Part::Answer { request, skip });
        }
        report
    }

    /// Asks for a summary and goes on with it in a new conversation that shares only the system prompt.
    fn compact(&mut self, main: &mut Conversation) {
        let length = self.length(&self.options.user_tokens);
        let demand = self.user_message(length);
        main.messages.push(demand);
        let request = self.ask(main, Event::Summarise);
        let mut summary = self.user_message(4);
        let skip = reasoning(self.requests[request].answer.len());
        summary.parts.push(Part::Answer { request, skip });
        summary
            .parts
            .push(Part::Tokens(self.text(self.options.start_tokens / 10).into()));
        *main = self.conversation(Some(request), summary);
        self.ask(main, Event::Compacted);
    }

    /// Whether the next turn, at its longest, could exceed the context.
    fn could_outgrow(&self, main: &Conversation) -> bool {
        let options = self.options;
        let answers = options.answer_tokens.end() * (2 + options.sub_agents);
        let turn = answers
            + options.tool_tokens.end().max(options.user_tokens.end())
            + options.user_tokens.end()
            + 64;
        tokens(&self.prompt(main), &self.requests) + turn > options.context_tokens
    }

    fn conversation(&mut self, parent: Option<usize>, first: Message) -> Conversation {
        self.conversations += 1;
        Conversation {
            number: self.conversations - 1,
            parent,
            messages: vec![first],
        }
    }

    fn prompt(&self, conversation: &Conversation) -> Vec<Part> {
        let structure = self.options.structure;
        let mut parts = vec![
            Part::Tokens(Arc::clone(&self.system)),
            Part::Tokens(Arc::clone(&self.clock)),
        ];
        for message in &conversation.messages {
            parts.extend_from_slice(&message.parts);
        }
        parts.push(Part::Tokens([structure.assistant, structure.think_start].into()));
        parts
    }

    /// Sends the conversation and adds the answer to it.
    fn ask(&mut self, conversation: &mut Conversation, event: Event) -> usize {
        let structure = self.options.structure;
        let request = self.requests.len();
        let length = self.length(&self.options.answer_tokens);
        let mut answer = self.text(length);
        if let Some(end) = reasoning(length).checked_sub(1) {
            answer[end] = structure.think_end;
        }
        let calls = self.random.chance(TOOL_CALLS_PERCENT);
        if calls {
            answer[length * 3 / 4] = structure.tool_call;
            answer[length - 1] = structure.tool_call;
        }
        self.requests.push(Request {
            conversation: conversation.number,
            continues: conversation
                .last_answer()
                .map(|(request, _)| request)
                .or(conversation.parent),
            event,
            parts: self.prompt(conversation),
            answer: answer.into(),
        });
        conversation.messages.push(Message {
            role: Role::Assistant { request, calls },
            parts: vec![
                Part::Tokens([structure.assistant, structure.think_start].into()),
                Part::Answer { request, skip: 0 },
                Part::Tokens([structure.eos].into()),
            ],
        });
        request
    }

    fn user_message(&mut self, length: usize) -> Message {
        let mut tokens = vec![self.options.structure.user];
        tokens.extend_from_slice(&self.text(length));
        Message {
            role: Role::User,
            parts: vec![Part::Tokens(tokens.into())],
        }
    }

    fn text(&mut self, length: usize) -> Vec<u32> {
        let ids = &self.options.text;
        (0..length)
            .map(|_| ids.start + self.random.below(ids.len()) as u32)
            .collect()
    }

    /// Another id of text, if there is one.
    fn other_than(&mut self, token: u32) -> u32 {
        let ids = &self.options.text;
        let step = 1 + self.random.below(ids.len().saturating_sub(1)) as u32;
        ids.start + (token.saturating_sub(ids.start) + step) % ids.len().max(1) as u32
    }

    /// A length in the range; the cube of a uniform number leans to the lower end.
    fn length(&mut self, range: &RangeInclusive<usize>) -> usize {
        let uniform = self.random.next_u64() >> 48;
        let span = range.end().saturating_sub(*range.start()) as u64;
        let cube = (uniform * uniform * uniform) >> 16;
        *range.start() + (((span + 1) * cube) >> 32) as usize
    }
}

/// Tokens of an answer that are reasoning, with the token that ends it.
fn reasoning(answer: usize) -> usize {
    answer * 2 / 5
}
