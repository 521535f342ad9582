use super::*;
use crate::hub::mailbox::Limits;
use crate::value::server_error;

/// A board with a connection, and one subscriber whom the server has confirmed.
fn held() -> (Board, Topic, Arc<Mailbox>) {
    let (mut board, topic) = (Board::new(), Topic::channel("c"));
    board.up();
    let first = join(&mut board, &topic);
    assert_eq!(board.order(), Some((topic.clone(), true)));
    board.subscribed(&topic, &mut Wakers::new());
    assert!(first.is_open());
    (board, topic, first)
}

fn join(board: &mut Board, topic: &Topic) -> Arc<Mailbox> {
    let mailbox = Arc::new(Mailbox::new(Limits { messages: 8, bytes: 1_000 }, true));
    board.join(topic, &mailbox, true).unwrap();
    mailbox
}

#[test]
fn one_that_comes_back_while_the_server_unsubscribes_is_subscribed_again() {
    let (mut board, topic, first) = held();
    board.leave(&topic, &first);
    assert_eq!(board.order(), Some((topic.clone(), false)));

    let again = join(&mut board, &topic);
    assert_eq!(board.order(), None, "one command for a topic is under way at most");
    board.unsubscribed(&topic);
    assert!(!again.is_open() && board.has_work());
    assert_eq!(board.held(), [0; 3]);
    assert_eq!(board.order(), Some((topic.clone(), true)));
    board.subscribed(&topic, &mut Wakers::new());
    assert!(again.is_open());
    assert_eq!(board.held(), [1, 0, 0]);
    assert_eq!(board.order(), None);
}

#[test]
fn one_that_leaves_while_the_server_subscribes_is_unsubscribed() {
    let (mut board, topic) = (Board::new(), Topic::channel("c"));
    board.up();
    let mailbox = join(&mut board, &topic);
    assert_eq!(board.order(), Some((topic.clone(), true)));
    board.leave(&topic, &mailbox);
    assert_eq!(board.order(), None, "one command for a topic is under way at most");
    board.subscribed(&topic, &mut Wakers::new());
    assert_eq!(board.order(), Some((topic.clone(), false)));
    board.unsubscribed(&topic);
    assert_eq!(board.order(), None);
    assert!(board.topics.iter().all(HashMap::is_empty), "what nobody wants is forgotten");
}

#[test]
fn one_that_joins_while_the_server_is_asked_waits_for_its_answer_too() {
    let (mut board, topic) = (Board::new(), Topic::channel("c"));
    board.up();
    let first = join(&mut board, &topic);
    assert_eq!(first.standing(), Standing::Joining { asked: false });
    assert_eq!(board.order(), Some((topic.clone(), true)));
    let second = join(&mut board, &topic);
    assert_eq!(board.order(), None, "one command for a topic is under way at most");
    for mailbox in [&first, &second] {
        assert_eq!(mailbox.standing(), Standing::Joining { asked: true });
    }
    board.subscribed(&topic, &mut Wakers::new());
    assert!(first.is_open() && second.is_open());
    assert!(join(&mut board, &topic).is_open(), "the server has it");
    assert_eq!(board.order(), None);
}

#[test]
fn what_the_server_refuses_for_now_is_forgotten_where_nobody_wants_it_any_more() {
    let (mut board, topic) = (Board::new(), Topic::channel("c"));
    board.up();
    let busy = server_error("LOADING Redis is loading the dataset in memory", false);
    let first = join(&mut board, &topic);
    assert_eq!(board.order(), Some((topic.clone(), true)));
    board.leave(&topic, &first);
    assert_eq!(board.order(), None);
    assert!(!board.refused(&topic, &busy, &mut Wakers::new()));
    assert!(board.topics.iter().all(HashMap::is_empty));

    // Whoever is told so has it forgotten by leaving.
    let second = join(&mut board, &topic);
    assert_eq!(board.order(), Some((topic.clone(), true)));
    assert!(!board.refused(&topic, &busy, &mut Wakers::new()));
    assert_eq!(second.standing(), Standing::Done);
    board.leave(&topic, &second);
    assert_eq!(board.order(), None);
    assert!(board.topics.iter().all(HashMap::is_empty));
}
