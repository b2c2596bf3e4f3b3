//! iceoryx2 between the two processes: one service for the items of each size, and one each way for what is empty.

use std::mem::MaybeUninit;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{Alignment, Node, ServiceName, ipc};
use iceoryx2::sample::Sample;
use iceoryx2::sample_mut::SampleMut;

use crate::node;
use crate::pair::{Outcome, Wait};

/// One process's ends.
pub struct Rival {
    items: Vec<Items>,
    to: Publisher<ipc::Service, u64, ()>,
    from: Subscriber<ipc::Service, u64, ()>,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

/// Side 0 writes, side 1 reads.
enum Items {
    Out(Publisher<ipc::Service, [u64], ()>),
    In(Subscriber<ipc::Service, [u64], ()>),
}

impl Rival {
    /// Everything that it makes in the file system has the run's name, and lies in shared memory.
    pub fn connect(name: &str, side: usize, lens: &[usize]) -> Outcome<Rival> {
        let node = node::node(name)?;
        let (to, from) = node::ways(side);
        let (notifier, listener) = node::events(&node, side)?;
        let items = lens.iter().map(|len| Items::of(&node, side, *len)).collect::<Outcome<_>>()?;
        let word = |name| -> Outcome<_> {
            let service = node.service_builder(&ServiceName::new(name)?).publish_subscribe::<u64>();
            let service = service.max_publishers(1).max_subscribers(1).history_size(0);
            Ok(service.subscriber_max_buffer_size(1).enable_safe_overflow(true).open_or_create()?)
        };
        Ok(Rival {
            items,
            to: word(to)?.publisher_builder().create()?,
            from: word(from)?.subscriber_builder().create()?,
            notifier,
            listener,
            _node: node,
        })
    }

    /// An item of that size, written in place.
    pub fn fill(&self, which: usize, len: usize, seed: u64) -> Outcome<SampleMut<ipc::Service, [u64], ()>> {
        let Items::Out(publisher) = &self.items[which] else { return Err("side 0 writes".into()) };
        let mut sample = publisher.loan_slice_uninit(len)?;
        sample.payload_mut().fill(MaybeUninit::new(seed));
        // SAFETY: all of it was just written.
        Ok(unsafe { sample.assume_init() })
    }

    /// The next item of that size.
    pub fn receive(&self, which: usize, wait: Wait) -> Outcome<Sample<ipc::Service, [u64], ()>> {
        let Items::In(subscriber) = &self.items[which] else { return Err("side 1 reads".into()) };
        self.look(wait, || Ok(subscriber.receive()?))
    }

    /// Something empty.
    pub fn say(&self, wait: Wait) -> Outcome {
        self.to.send_copy(8)?;
        self.wake(wait)
    }

    pub fn hear(&self, wait: Wait) -> Outcome {
        self.look(wait, || Ok(self.from.receive()?)).map(drop)
    }

    /// Tells of what was sent, if the other one sleeps.
    pub fn wake(&self, wait: Wait) -> Outcome {
        if wait != Wait::Polls {
            self.notifier.notify()?;
        }
        Ok(())
    }

    /// Until the other one tells.
    pub fn sleep(&self) -> Outcome {
        while self.listener.blocking_wait_one()?.is_none() {}
        Ok(())
    }

    /// There is one event for each item, and it comes after the item: who sleeps looks once.
    fn look<T>(&self, wait: Wait, look: impl Fn() -> Outcome<Option<T>>) -> Outcome<T> {
        loop {
            if wait != Wait::Polls {
                self.sleep()?;
            }
            if let Some(item) = look()? {
                return Ok(item);
            }
        }
    }
}

impl Items {
    fn of(node: &Node<ipc::Service>, side: usize, len: usize) -> Outcome<Items> {
        let name = ServiceName::new(&format!("items of {len}"))?;
        let service = node.service_builder(&name).publish_subscribe::<[u64]>();
        let service = service.max_publishers(1).max_subscribers(1).history_size(0);
        let service = service.subscriber_max_buffer_size(1).enable_safe_overflow(true);
        let line = Alignment::new(64).ok_or("a power of two")?;
        let service = service.payload_alignment(line).open_or_create()?;
        Ok(match side {
            0 => Items::Out(service.publisher_builder().initial_max_slice_len(len).create()?),
            _ => Items::In(service.subscriber_builder().create()?),
        })
    }
}
