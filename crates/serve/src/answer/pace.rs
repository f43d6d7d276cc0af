//! How fast an answer comes, as its client sees it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

use fathom_engine::answer::{Event, Usage};
use prometheus_client::metrics::histogram::Histogram;

/// Measures an answer.
pub(super) struct Pace {
    arrived: Instant,
    queued: Option<Duration>,
    first_token: Option<Duration>,
    /// When the last token came; `None` if the client has held things up since.
    last: Option<Instant>,
    between: Histogram,
    /// What is known of its use before the engine says so.
    usage: Usage,
}

impl Pace {
    /// Of a request that arrived then; the waits between tokens go to `between`.
    pub(super) fn new(arrived: Instant, between: Histogram) -> Self {
        Self {
            arrived,
            queued: None,
            first_token: None,
            last: None,
            between,
            usage: Usage::default(),
        }
    }

    /// Notes an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Prefill(prefill) => {
                self.queued.get_or_insert_with(|| self.arrived.elapsed());
                self.usage.prompt = prefill.cached + prefill.done;
                self.usage.cached = prefill.cached;
            }
            // They come together with others.
            Event::ToolCallBegin { .. } | Event::ToolCallEnd { .. } => {}
            Event::Reasoning(_) | Event::Content(_) | Event::ToolCallArguments { .. } | Event::Tick => {
                let now = Instant::now();
                self.first_token
                    .get_or_insert_with(|| now.duration_since(self.arrived));
                if let Some(last) = self.last.replace(now) {
                    self.between.observe(now.duration_since(last).as_secs_f64());
                }
                self.usage.generated += 1;
                self.usage.reasoning += usize::from(matches!(event, Event::Reasoning(_)));
            }
        }
    }

    /// Waits for the client. If that takes time, the next wait for a token says nothing of this side.
    pub(super) async fn hold_up<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        let mut at_once = true;
        let done = poll_fn(|context| {
            let polled = waiting.as_mut().poll(context);
            at_once &= polled.is_ready();
            polled
        })
        .await;
        if !at_once {
            self.last = None;
        }
        done
    }

    /// Whether its prompt was begun.
    pub(super) fn has_begun(&self) -> bool {
        self.queued.is_some()
    }

    /// How long it waited until then, or until now.
    pub(super) fn queued(&self) -> Duration {
        self.queued.unwrap_or_else(|| self.arrived.elapsed())
    }

    /// From arrival to first token.
    pub(super) fn first_token(&self) -> Option<Duration> {
        self.first_token
    }

    /// From arrival to now.
    pub(super) fn total(&self) -> Duration {
        self.arrived.elapsed()
    }

    /// What was used as far as events show it: for answers that fail, of which the engine says nothing more.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use fathom_engine::answer::{Prefill, Text};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn a_wait_that_the_client_caused_is_not_counted() {
        let between = Histogram::new([1.0]);
        let mut pace = Pace::new(Instant::now(), between.clone());
        let prefill = Prefill {
            cached: 3,
            done: 2,
            total: 4,
        };
        assert!(!pace.has_begun());
        pace.note(&Event::Prefill(prefill));
        assert!(pace.has_begun() && pace.first_token().is_none());
        pace.note(&Event::Reasoning(Text::default()));
        pace.hold_up(std::future::ready(())).await;
        pace.note(&Event::Tick);
        pace.hold_up(tokio::task::yield_now()).await;
        pace.note(&Event::Content(Text::default()));
        pace.note(&Event::Tick);
        let mut registry = Registry::default();
        registry.register("between", "", between);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("between_count 2\n"), "{text}");
        let usage = Usage {
            prompt: 5,
            cached: 3,
            generated: 4,
            reasoning: 1,
        };
        assert_eq!(pace.usage(), usage);
    }
}
