//! Keeps a hub's connection: opens it, lets it work, and opens the next one when it is gone.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Board;
use super::session::{Ended, Session};
use super::state::State;
use super::wire::open::open;
use crate::event::EventKind;
use crate::{Error, ErrorKind};

pub(super) fn run(state: Arc<State>) -> impl Future<Output = ()> + Send {
    // Made before the task is: one that its runtime drops without ever running it has ended, too.
    let finish = Finish(state);
    async move {
        let state = finish;
        tokio::select! {
            biased;
            () = state.0.ended.cancelled() => {}
            () = state.0.node.gate.closed() => {}
            () = keep(&state.0) => {}
        }
    }
}

/// Also where the runtime ends first, or the task panics: nobody waits for ever.
struct Finish(Arc<State>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Has no end of its own.
async fn keep(state: &State) {
    let backoff = &state.node.settings.backoff;
    let mut attempt = 0;
    let mut lost_at = Instant::now();
    loop {
        let Ended { error, ready_for, since } = one_generation(state).await;
        state.with(|board, wakers| board.down(since, &error, wakers));
        state.closed();
        if backoff.is_stable(ready_for) {
            attempt = 0;
        }
        if attempt == 0 {
            lost_at = Instant::now();
        }
        attempt += 1;
        let mut hurry = pin!(state.node.hurry.notified());
        // From here on it is heard, also by whom an event makes call `reconnect`.
        hurry.as_mut().enable();
        state.announce(EventKind::Error(error.clone()));
        match backoff.delay(attempt, lost_at.elapsed(), &error) {
            ControlFlow::Continue(delay) => {
                state.announce(EventKind::Reconnecting { attempt, delay });
                let _ = tokio::time::timeout(delay, hurry).await;
            }
            ControlFlow::Break(reason) => {
                let attempts = attempt - 1;
                let error =
                    Error::not_sent(ErrorKind::GaveUp { attempts, reason }).caused_by(error.kind());
                state.with(|board, wakers| board.gave_up(&error, wakers));
                state.announce(EventKind::GaveUp { attempts, error });
                hurry.await;
                attempt = 0;
                state.board(Board::again);
            }
        }
    }
}

async fn one_generation(state: &State) -> Ended {
    let target = &state.node.settings.target;
    let opened = open(target, state.settings.max_message);
    let opened = match tokio::time::timeout(target.connect_timeout, opened).await {
        Ok(opened) => opened,
        Err(_) => {
            let reason = format!("no answer within {:?}", target.connect_timeout);
            Err(Error::not_sent(ErrorKind::Connect(reason)))
        }
    };
    let wire = match opened {
        Ok(wire) => wire,
        Err(error) => return Ended { error, ready_for: Duration::ZERO, since: Instant::now() },
    };
    state.opened();
    state.board(Board::up);
    Session::new(state, wire).run().await
}
