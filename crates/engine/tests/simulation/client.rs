//! A client as a task: it asks, listens at its own pace, leaves when it likes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use fathom_engine::generation::{Event, GenerateError};
use fathom_engine::{Engine, Session, SessionError};

use crate::common::{Logprob, Task, turn};
use crate::judge::{Judge, Outcome, asked};
use crate::traffic::{Conversation, Corpus, Leaves, Request};

/// What clients share with the world.
pub(crate) struct Shared {
    pub(crate) corpus: Corpus,
    pub(crate) judge: RefCell<Judge>,
    pub(crate) conversations: RefCell<Vec<Rc<RefCell<Conversation>>>>,
    /// Clients that came to be since the last round.
    pub(crate) spawned: RefCell<Vec<Task<'static, ()>>>,
    pub(crate) outcomes: RefCell<Vec<Outcome>>,
    /// What must not have happened.
    pub(crate) wrong: RefCell<Vec<String>>,
}

/// The session a conversation goes on in after a start, and whether it is one that was saved: if there is one and it is
/// sound.
pub(crate) fn reopen(engine: &Arc<Engine>, conversation: &Conversation) -> (Session, bool) {
    match engine.restore_of(conversation.isolation, &conversation.file) {
        Ok((session, _)) => (session, true),
        Err(_) => (engine.session_of(conversation.isolation), false),
    }
}

/// A client that goes on with a conversation in `session`.
pub(crate) fn client(
    shared: Rc<Shared>,
    engine: Arc<Engine>,
    conversation: Rc<RefCell<Conversation>>,
    session: Session,
) -> Task<'static, ()> {
    Box::pin(async move {
        let mut session = session;
        loop {
            let request = {
                let mut conversation = conversation.borrow_mut();
                let (isolation, judge) = (conversation.isolation, shared.judge.borrow());
                let others = judge.seen(isolation, &mut conversation.random);
                conversation.request(&shared.corpus, &others)
            };
            let Some(request) = request else { return };
            pause(&conversation, 12).await;
            if request.fork {
                fork(&shared, &engine, &conversation, &mut session);
                // Should the request have to be made again, the fork is there already.
                if let Some(open) = &mut conversation.borrow_mut().open {
                    open.fork = false;
                }
            }
            if let Some(at) = request.rewind {
                session.rewind(at.min(session.len()));
            }
            let isolation = conversation.borrow().isolation;
            let number = shared.judge.borrow_mut().note(isolation, request.prompt.clone());
            let Some(outcome) = ask(&shared, &conversation, &mut session, &request, number).await else {
                continue;
            };
            // The next step brings the session home if it was left half-way.
            turn().await;
            shared
                .judge
                .borrow_mut()
                .extend(isolation, number, &outcome.tokens);
            let mut conversation = conversation.borrow_mut();
            // Without a state, saving would compute it, and wait for an engine that nobody drives.
            if session.kv_bytes() > 0
                && conversation.random.chance(25)
                && let Err(error) = session.save(&conversation.file, b"")
            {
                shared.wrong.borrow_mut().push(format!("saving: {error}"));
            }
            conversation.history = [&request.prompt[..], &outcome.tokens].concat();
            conversation.prompt = request.prompt;
            conversation.open = None;
            shared.outcomes.borrow_mut().push(outcome);
        }
    })
}

/// Lets some steps pass.
async fn pause(conversation: &RefCell<Conversation>, most: usize) {
    let turns = conversation.borrow_mut().random.below(most + 1);
    for _ in 0..turns {
        turn().await;
    }
}

fn fork(
    shared: &Rc<Shared>,
    engine: &Arc<Engine>,
    conversation: &Rc<RefCell<Conversation>>,
    session: &mut Session,
) {
    let name = shared.conversations.borrow().len();
    let fork = Rc::new(RefCell::new(conversation.borrow_mut().fork(name)));
    shared.conversations.borrow_mut().push(Rc::clone(&fork));
    let task = client(Rc::clone(shared), Arc::clone(engine), fork, session.fork());
    shared.spawned.borrow_mut().push(task);
}

/// Asks and listens. `None` if the request must be made again, or can never be.
async fn ask(
    shared: &Shared,
    conversation: &RefCell<Conversation>,
    session: &mut Session,
    request: &Request,
    number: usize,
) -> Option<Outcome> {
    let (name, isolation) = (conversation.borrow().name, conversation.borrow().isolation);
    let mut outcome = Outcome {
        name,
        isolation,
        number,
        request: request.clone(),
        tokens: Vec::new(),
        logprobs: Vec::new(),
        done: None,
    };
    let mut run = match session.generate(&request.prompt, &asked(request), request.ahead) {
        Ok(run) => run,
        Err(GenerateError::Session(SessionError::Busy(_))) => {
            turn().await;
            return None;
        }
        Err(GenerateError::Session(SessionError::Memory(error))) if error.needed > error.available => {
            conversation.borrow_mut().open = None;
            return None;
        }
        Err(error) => {
            shared
                .wrong
                .borrow_mut()
                .push(format!("client {name}: refused: {error}"));
            conversation.borrow_mut().open = None;
            return None;
        }
    };
    if let Leaves::Vanishes(polls) = request.leaves {
        // Some events may have come, and count.
        for _ in 0..polls {
            turn().await;
        }
        drop(run);
        return Some(outcome);
    }
    let mut events = 0;
    while let Some(event) = run.next().await {
        if let Event::Token { token, logprob } = event {
            outcome.tokens.push(token);
            outcome.logprobs.extend(logprob.as_ref().map(Logprob::from));
        }
        events += 1;
        if matches!(request.leaves, Leaves::Asks(after) if events == after + 1) {
            run.cancel();
        }
        if conversation.borrow_mut().random.chance(request.slowness) {
            // Some stay away for so long that the engine gives their place to others.
            let long = conversation.borrow_mut().random.chance(request.slowness / 6);
            pause(conversation, if long { 200 } else { 6 }).await;
        }
    }
    match run.finish().await {
        Ok(done) => outcome.done = Some(done),
        Err(error) => {
            let what = format!(
                "client {name}, prompt of {} tokens: {error}",
                request.prompt.len()
            );
            shared.wrong.borrow_mut().push(what);
        }
    }
    Some(outcome)
}
