//! Answers by what their clients saw of them, so that the next prompt repeats the tokens they were sampled as.
//!
//! Clients send answers back as text. Encoded again it need not give the tokens that were sampled, and a tool call is not even
//! written again letter by letter: its arguments come back as JSON. Either way the next prompt would part from what the cache
//! holds at the first such place. So the tokens of every answer are kept under what it showed: reasoning, content, and names and
//! arguments of its calls. White space around texts does not count, for some clients trim it; nor do the ids of calls, the spacing
//! of arguments and the order of their keys, which clients rewrite. Everything else does: what a client has edited is encoded as
//! it stands. Nor is an answer kept that was cut, or that departs from the output format, for then its tokens say something else
//! than what was shown.
//!
//! Reasoning that a prompt leaves out is left out whatever it was; such an answer is encoded again, which needs no memory
//! to come out the same every time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use blake3::Hasher;
use fathom_engine::answer::{Answer, FinishReason};
use fathom_prompt::{Conversation, Message, Tokenizer, ToolCall};
use parking_lot::Mutex;
use serde_json::Value;

/// Bytes of tokens and bookkeeping; an answer of a thousand tokens takes four thousand.
pub(crate) const BYTES_MAX: usize = 64 << 20;
/// What an answer takes beside its tokens: its keys, twice, and the maps around them.
const ENTRY_BYTES: usize = 200;

/// Answers of all users, the least recently used forgotten first.
pub(crate) struct Replay {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

type Key = [u8; 32];

#[derive(Default)]
struct Kept {
    answers: HashMap<Key, Entry>,
    /// Keys by when they were last used.
    by_use: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
}

struct Entry {
    ids: Arc<[u32]>,
    /// There is reasoning, or the marker that ends it, among them.
    thought: bool,
    used: u64,
}

/// Whose answers: of one model, to one user.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The engine's identity.
    pub(crate) model: &'a [u8; 32],
    /// The isolation id.
    pub(crate) isolation: &'a str,
}

/// What a prompt already has of the answer to it: the tokens from after its think marker on, and what they show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beginning {
    ids: Vec<u32>,
    reasoning: String,
    content: String,
}

impl Beginning {
    /// Of the prompt of `conversation`, which may end with an unfinished answer or an opened tool-call block.
    pub(crate) fn of(conversation: &Conversation, prompt: &[u32], tokenizer: &Tokenizer) -> Self {
        let assistant = tokenizer.special_id("<｜Assistant｜>");
        let begin = prompt.iter().rposition(|&id| Some(id) == assistant);
        // Behind it stands a think marker.
        let ids = begin.map(|begin| prompt[begin + 1..].get(1..).unwrap_or_default());
        let (reasoning, content) = match conversation.messages.last() {
            Some(Message::Assistant {
                reasoning_content,
                content,
                prefix: true,
                ..
            }) => (reasoning_content.clone().unwrap_or_default(), content.clone()),
            _ => Default::default(),
        };
        Self {
            ids: ids.unwrap_or_default().to_vec(),
            reasoning,
            content,
        }
    }
}

impl Replay {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            kept: Mutex::default(),
            bytes_max,
        }
    }

    /// Keeps `answer`, which continued `beginning`.
    pub(crate) fn remember(
        &self,
        scope: Scope,
        beginning: &Beginning,
        answer: &Answer,
        tokenizer: &Tokenizer,
    ) {
        let whole = match answer.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => {
                answer.parsed.defects.is_empty()
            }
            FinishReason::StopString(_) | FinishReason::Cancelled => false,
        };
        let reasoning = beginning.reasoning.clone() + &answer.parsed.reasoning;
        let content = beginning.content.clone() + &answer.parsed.content;
        let broken = [&reasoning, &content]
            .into_iter()
            .any(|text| text.contains('\u{FFFD}'));
        if !whole || broken {
            return;
        }
        let key = key(scope, &reasoning, &content, &answer.parsed.tool_calls);
        let ids: Arc<[u32]> = beginning.ids.iter().chain(&answer.tokens).copied().collect();
        let think_end = tokenizer.special_id("</think>");
        let thought = ids.iter().any(|&id| Some(id) == think_end);
        self.kept.lock().insert(key, ids, thought, self.bytes_max);
    }

    /// Gives the answers in `conversation` their tokens, where they are known and the prompt will show all of them.
    pub(crate) fn fill(&self, scope: Scope, conversation: &mut Conversation) {
        let last_question = conversation
            .messages
            .iter()
            .rposition(|message| matches!(message, Message::User { .. } | Message::Tool { .. }));
        let keeps_all = conversation.keep_reasoning || conversation.offers_tools();
        let thinks = conversation.thinking.is_on();
        for (index, message) in conversation.messages.iter_mut().enumerate() {
            let Message::Assistant {
                content,
                reasoning_content,
                tool_calls,
                prefix: false,
                sampled: sampled @ None,
                ..
            } = message
            else {
                continue;
            };
            let shows_reasoning = thinks && (keeps_all || last_question.is_none_or(|last| index > last));
            let reasoning = reasoning_content.as_deref().unwrap_or_default();
            let key = key(scope, reasoning, content, tool_calls);
            let known = self.kept.lock().get(&key, shows_reasoning);
            *sampled = known.map(|ids| ids.to_vec());
        }
    }
}

impl Kept {
    fn insert(&mut self, key: Key, ids: Arc<[u32]>, thought: bool, bytes_max: usize) {
        self.remove(&key);
        self.clock += 1;
        self.bytes += size(&ids);
        self.by_use.insert(self.clock, key);
        let entry = Entry {
            ids,
            thought,
            used: self.clock,
        };
        self.answers.insert(key, entry);
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.answers.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= size(&entry.ids);
        }
    }

    /// The tokens of an answer; those with reasoning only for prompts that show it.
    fn get(&mut self, key: &Key, shows_reasoning: bool) -> Option<Arc<[u32]>> {
        let entry = self.answers.get_mut(key)?;
        if entry.thought && !shows_reasoning {
            return None;
        }
        self.clock += 1;
        self.by_use.remove(&entry.used);
        entry.used = self.clock;
        self.by_use.insert(self.clock, *key);
        Some(Arc::clone(&entry.ids))
    }
}

fn size(ids: &[u32]) -> usize {
    size_of_val(ids) + ENTRY_BYTES
}

/// Names what an answer showed. Two that differ in more than said above have different names.
fn key(scope: Scope, reasoning: &str, content: &str, calls: &[ToolCall]) -> Key {
    let mut hasher = Hasher::new_derive_key("fathom 2026-11-22 what an answer showed");
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    text(scope.isolation);
    text(reasoning.trim());
    text(content.trim());
    for call in calls {
        text(&call.name);
        text(&canonical(&call.arguments));
    }
    hasher.update(scope.model);
    *hasher.finalize().as_bytes()
}

/// One text for all ways to write the same arguments.
fn canonical(arguments: &str) -> String {
    match serde_json::from_str::<Value>(arguments) {
        Ok(mut value) => {
            settle(&mut value);
            value.to_string()
        }
        Err(_) => arguments.to_owned(),
    }
}

/// Sorts keys, and writes whole numbers as such: JavaScript makes 1 of 1.0.
fn settle(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(settle);
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Number(number) => {
            /// Whole numbers up to here are the same in all languages.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            if let Some(float) = number
                .as_f64()
                .filter(|float| number.is_f64() && float.abs() < EXACT)
                && float.fract() == 0.0
            {
                *value = Value::from(float as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
