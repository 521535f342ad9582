use super::*;
use crate::ErrorKind;
use crate::hub::topic::Topic;

fn message(n: u8, bytes: usize) -> Message {
    // The name of the channel counts, too.
    Message::new(&Topic::channel("c"), b"c", &vec![n; bytes - 1])
}

fn queue(messages: usize, bytes: usize) -> Queue {
    Queue::new(Limits { messages, bytes })
}

fn lost() -> Error {
    Error::unknown(ErrorKind::ConnectionLost("test".into()))
}

/// What is read, in short: `3` a message, `-2` two missed, `away`, `gap 1`.
fn read(queue: &mut Queue) -> String {
    let mut told = Vec::new();
    while let Some(delivery) = queue.next() {
        told.push(match delivery {
            Delivery::Message(message) => message.payload()[0].to_string(),
            Delivery::Missed(count) => format!("-{count}"),
            Delivery::Away(_) => "away".to_owned(),
            Delivery::Gap(gap) => format!("gap {}", gap.losses),
            Delivery::Refused(_) => "refused".to_owned(),
        });
    }
    assert_eq!(queue.bytes, 0);
    told.join(" ")
}

/// A loss, and the way back.
fn flap(queue: &mut Queue) {
    let (since, losses) = queue.away(Instant::now(), &lost());
    queue.gap(Gap { losses, since, until: Instant::now() });
}

#[test]
fn the_oldest_go_first_and_are_counted_where_they_were() {
    let mut queue = queue(3, 1_000);
    (0..3).for_each(|n| queue.message(&message(n, 2)));
    assert_eq!(read(&mut queue), "0 1 2");
    (0..8).for_each(|n| queue.message(&message(n, 2)));
    assert_eq!(read(&mut queue), "-5 5 6 7");
    (0..4).for_each(|n| queue.message(&message(n, 2)));
    assert!(matches!(queue.next(), Some(Delivery::Missed(1))));
    assert!(matches!(queue.next(), Some(Delivery::Message(_))));
    (4..6).for_each(|n| queue.message(&message(n, 2)));
    assert_eq!(read(&mut queue), "-1 3 4 5");
}

#[test]
fn bytes_are_a_bound_too() {
    let mut queue = queue(100, 100);
    (0..3).for_each(|n| queue.message(&message(n, 33)));
    assert_eq!(queue.messages(), 3);
    queue.message(&message(3, 33));
    assert_eq!(queue.messages(), 3);
    queue.message(&message(4, 100));
    assert_eq!(read(&mut queue), "-4 4");
    queue.message(&message(5, 101));
    assert_eq!(queue.messages(), 1, "the newest stays");
    queue.message(&message(6, 50));
    assert_eq!(read(&mut queue), "-1 6");
}

#[test]
fn what_was_not_kept_is_told_where_it_came() {
    let mut queue = queue(4, 100);
    queue.message(&message(0, 2));
    queue.missed();
    queue.missed();
    queue.message(&message(1, 2));
    queue.missed();
    assert_eq!(read(&mut queue), "0 -2 1 -1");
    queue.missed();
    (0..5).for_each(|n| queue.message(&message(n, 2)));
    assert_eq!(read(&mut queue), "-2 1 2 3 4");
}

#[test]
fn no_loss_is_forgotten_however_slow_its_subscriber() {
    let mut queue = queue(3, 1_000);
    queue.message(&message(0, 2));
    flap(&mut queue);
    queue.message(&message(1, 2));
    // The first message gives way.
    assert_eq!(read(&mut queue), "-1 away gap 1 1");

    flap(&mut queue);
    queue.message(&message(2, 2));
    flap(&mut queue);
    (3..6).for_each(|n| queue.message(&message(n, 2)));
    assert_eq!(read(&mut queue), "-1 gap 2 3 4 5");

    // Lost, and not back yet.
    queue.away(Instant::now(), &lost());
    assert_eq!(read(&mut queue), "away");
}

#[test]
fn a_connection_that_comes_and_goes_fills_no_memory() {
    let mut queue = queue(3, 1_000);
    let begun = Instant::now();
    (0..10_000).for_each(|_| flap(&mut queue));
    assert_eq!(queue.items.len(), 2);
    assert!(matches!(queue.next(), Some(Delivery::Away(_))));
    flap(&mut queue);
    let Some(Delivery::Gap(gap)) = queue.next() else { panic!("no gap") };
    assert_eq!(gap.losses, 10_001);
    assert!(gap.since >= begun && gap.until > gap.since);
    assert!(queue.next().is_none());
}

#[test]
fn what_a_burst_needed_is_given_back() {
    let mut queue = queue(1_000, 100_000);
    (0..200).for_each(|n| queue.message(&message(n, 2)));
    read(&mut queue);
    assert_eq!(queue.items.capacity(), 0);
}
