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
        let mut news = state.node.news();
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
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = hurry => {}
                    () = news.heard() => {}
                }
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
    let access = &state.node.settings.access;
    let opened = async {
        let target = state.node.target().await?;
        let place: Arc<str> = target.endpoint.to_string().into();
        let wire = open(&target, state.settings.max_message);
        Ok((state.node.unless_left(&place, wire).await?, place))
    };
    let opened = match tokio::time::timeout(access.connect_timeout, opened).await {
        Ok(opened) => opened,
        Err(_) => Err(access.no_answer()),
    };
    let (wire, place) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ended { error, ready_for: Duration::ZERO, since: Instant::now() },
    };
    state.opened(&place);
    state.board(Board::up);
    Session::new(state, wire).run(&place).await
}
