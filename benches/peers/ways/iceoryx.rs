//! iceoryx2: publish/subscribe, request/response, each polled or with an event for each item, and an event alone.
//!
//! It is set up as its own benchmarks are: one publisher, one subscriber, no history, a buffer of one item, slices of the
//! length that is sent. Its payload begins at a cache line, as ours does.

use std::mem::MaybeUninit;

use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{Alignment, Node, ServiceName, ipc};

use super::{Place, Stamps, Sum, Way};
use crate::node;
use crate::pair::{Outcome, Wait};

/// Everything that it makes in the file system has the place's name, and lies in shared memory.
struct Base {
    node: Node<ipc::Service>,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
    wait: Wait,
    words: usize,
}

impl Base {
    fn connect(place: &Place, wait: Wait) -> Outcome<Base> {
        let node = node::node(&place.name)?;
        let (notifier, listener) = node::events(&node, place.side)?;
        Ok(Base { node, notifier, listener, wait, words: place.words })
    }

    /// Tells of what was sent, if the other one sleeps.
    fn wake(&self) -> Outcome {
        if self.wait != Wait::Polls {
            self.notifier.notify()?;
        }
        Ok(())
    }

    fn sleep(&self) -> Outcome {
        while self.listener.blocking_wait_one()?.is_none() {}
        Ok(())
    }

    /// There is one event for each item, and it comes after the item: who sleeps looks once.
    fn look<T>(&self, look: impl Fn() -> Outcome<Option<T>>) -> Outcome<T> {
        loop {
            if self.wait != Wait::Polls {
                self.sleep()?;
            }
            if let Some(item) = look()? {
                return Ok(item);
            }
        }
    }
}

fn write(words: &mut [MaybeUninit<u64>], seed: u64) {
    for (word, value) in words.iter_mut().zip(seed..) {
        word.write(value);
    }
}

// -------------------------------------------------------------------------------------------- publish/subscribe

struct Publish {
    items: Items,
    to: Publisher<ipc::Service, u64, ()>,
    from: Subscriber<ipc::Service, u64, ()>,
    base: Base,
}

/// Side 0 writes, side 1 reads.
enum Items {
    Out(Publisher<ipc::Service, [u64], ()>),
    In(Subscriber<ipc::Service, [u64], ()>),
}

pub fn publish(place: &Place, wait: Wait) -> Outcome<Box<dyn Way>> {
    let base = Base::connect(place, wait)?;
    let service = base.node.service_builder(&ServiceName::new("items")?).publish_subscribe::<[u64]>();
    let service = service.max_publishers(1).max_subscribers(1).history_size(0);
    let service = service.subscriber_max_buffer_size(1).enable_safe_overflow(true);
    let line = Alignment::new(64).ok_or("a power of two")?;
    let service = service.payload_alignment(line).open_or_create()?;
    let items = match place.side {
        0 => Items::Out(service.publisher_builder().initial_max_slice_len(place.words).create()?),
        _ => Items::In(service.subscriber_builder().create()?),
    };
    let word = |name| -> Outcome<_> {
        let service = base.node.service_builder(&ServiceName::new(name)?).publish_subscribe::<u64>();
        let service = service.max_publishers(1).max_subscribers(1).history_size(0);
        Ok(service.subscriber_max_buffer_size(1).enable_safe_overflow(true).open_or_create()?)
    };
    let (to, from) = node::ways(place.side);
    let (to, from) = (word(to)?.publisher_builder().create()?, word(from)?.subscriber_builder().create()?);
    Ok(Box::new(Publish { items, to, from, base }))
}

impl Way for Publish {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        let Items::Out(publisher) = &self.items else { return Err("side 0 writes".into()) };
        stamps.starts();
        let mut sample = publisher.loan_slice_uninit(self.base.words)?;
        write(sample.payload_mut(), seed);
        stamps.sends();
        // SAFETY: all of it was just written.
        unsafe { sample.assume_init() }.send()?;
        self.base.wake()
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        let Items::In(subscriber) = &self.items else { return Err("side 1 reads".into()) };
        let sample = self.base.look(|| Ok(subscriber.receive()?))?;
        stamps.received();
        let sum = Sum::of(sample.payload());
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.to.send_copy(8)?;
        self.base.wake()
    }

    fn hear(&mut self) -> Outcome {
        self.base.look(|| Ok(self.from.receive()?)).map(drop)
    }
}

// --------------------------------------------------------------------------------------------- request/response

type Asked = ActiveRequest<ipc::Service, [u64], (), u64, ()>;
type Asks = PendingResponse<ipc::Service, [u64], (), u64, ()>;

/// An item is a request; that it was read is said by a response.
struct Request {
    end: End,
    base: Base,
}

enum End {
    Client(Client<ipc::Service, [u64], (), u64, ()>, Option<Asks>),
    Server(Server<ipc::Service, [u64], (), u64, ()>, Option<Asked>),
}

pub fn request(place: &Place, wait: Wait) -> Outcome<Box<dyn Way>> {
    let base = Base::connect(place, wait)?;
    let service = base.node.service_builder(&ServiceName::new("sum")?).request_response::<[u64], u64>();
    let line = Alignment::new(64).ok_or("a power of two")?;
    let service = service.max_clients(1).max_servers(1).request_payload_alignment(line).open_or_create()?;
    let end = match place.side {
        0 => End::Client(service.client_builder().initial_max_slice_len(place.words).create()?, None),
        _ => End::Server(service.server_builder().create()?, None),
    };
    Ok(Box::new(Request { end, base }))
}

impl Request {
    fn ask(&mut self, words: usize, seed: u64, sends: impl FnOnce()) -> Outcome {
        let End::Client(client, pending) = &mut self.end else { return Err("side 0 asks".into()) };
        let mut request = client.loan_slice_uninit(words)?;
        write(request.payload_mut(), seed);
        sends();
        // SAFETY: all of it was just written.
        *pending = Some(unsafe { request.assume_init() }.send()?);
        self.base.wake()
    }
}

impl Way for Request {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        self.ask(self.base.words, seed, || stamps.sends())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        let End::Server(server, asked) = &mut self.end else { return Err("side 1 answers".into()) };
        let request = self.base.look(|| Ok(server.receive()?))?;
        stamps.received();
        let sum = Sum::of(request.payload());
        stamps.was_read();
        *asked = Some(request);
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        match &mut self.end {
            End::Client(..) => self.ask(1, 8, || ()),
            End::Server(_, asked) => {
                asked.take().ok_or("nobody asked")?.send_copy(8)?;
                self.base.wake()
            }
        }
    }

    fn hear(&mut self) -> Outcome {
        match &mut self.end {
            End::Client(_, pending) => {
                let pending = pending.take().ok_or("nothing was asked")?;
                self.base.look(|| Ok(pending.receive()?)).map(drop)
            }
            End::Server(server, asked) => {
                *asked = Some(self.base.look(|| Ok(server.receive()?))?);
                Ok(())
            }
        }
    }
}

// --------------------------------------------------------------------------------------------------- event alone

struct Event(Base);

pub fn event(place: &Place) -> Outcome<Box<dyn Way>> {
    Ok(Box::new(Event(Base::connect(place, Wait::Sleeps)?)))
}

impl Way for Event {
    fn give(&mut self, _: u64, _: &Stamps<'_>) -> Outcome {
        Err("an event carries nothing".into())
    }

    fn take(&mut self, _: &Stamps<'_>) -> Outcome<Sum> {
        Err("an event carries nothing".into())
    }

    fn say(&mut self) -> Outcome {
        self.0.wake()
    }

    fn hear(&mut self) -> Outcome {
        self.0.sleep()
    }
}
